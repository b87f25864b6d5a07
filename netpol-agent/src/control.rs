//! The socket by which the command line asks the agent: [`protocol`] is what is said, [`server`] the agent's side,
//! [`client`] the command line's.

pub mod client;
pub mod protocol;
pub mod server;
