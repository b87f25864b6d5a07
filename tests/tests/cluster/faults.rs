//! Parts of the cluster fail by real means while traffic flows between its pods: what is enforced stays, and what has changed
//! meanwhile is in force soon after.

mod node;
mod scene;
mod server;
mod traffic;

pub(crate) use node::NoKubelet;
pub(crate) use server::Dead;
