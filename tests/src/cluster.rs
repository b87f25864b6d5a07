//! A real Kubernetes on one machine: its control plane alone, for tests of what the API says, or whole, with nodes whose
//! pods are real.
//!
//! ```text
//!   up ─ anchor (first of a process namespace; the control plane's network, a bridge in it)
//!          ├ etcd, kube-apiserver, kube-controller-manager, kube-scheduler
//!          └ node-1 … (namespaces of its own: processes, network, mounts, control groups)
//!               └ containerd, kubelet, kube-proxy, pods
//! ```
//!
//! It needs root and the programs that `cargo xtask setup` builds. Nothing of the machine's own network, rules or
//! settings is touched, and whatever dies, nothing is left: namespaces, mounts and interfaces live only as long as the anchor's
//! descendants, and these only as long as the anchor.

mod agents;
mod anchor;
mod binaries;
mod cgroups;
pub mod control_plane;
mod credentials;
mod flags;
mod foreign;
mod fork;
mod guards;
pub mod images;
mod manifests;
mod node;
mod node_init;
mod node_parts;
mod options;
mod part;
pub mod plain;
mod pods;
mod prober;
mod process;
mod running;
mod state;
mod supervisor;
pub mod up;
mod uplink;

pub use agents::Agents;
pub use anchor::run as run_anchor;
pub use binaries::{VERSION as KUBERNETES, find as program};
pub use control_plane::ControlPlane;
pub use foreign::Foreign;
pub use guards::{exclusive, shared};
pub use node::Node;
pub use node_init::run as run_node;
pub use options::{Cni, Family, Options, Proxy};
pub use part::{NodePart, Part, PartHandle};
pub use pods::{Pod, PodDraft, TestNamespace};
pub use prober::Prober;
pub use process::Process;
pub use running::Cluster;
