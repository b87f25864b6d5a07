//! A real Kubernetes on one machine: its control plane alone, for tests of what the API says, or whole, with nodes whose
//! pods are real.
//!
//! It needs root and the programs that `cargo xtask setup` builds. Nothing of the machine's own network, rules or
//! control groups is touched, and nothing is left.

mod binaries;
pub mod control_plane;
mod credentials;
mod flags;
mod process;

pub use control_plane::ControlPlane;
pub use process::Process;
