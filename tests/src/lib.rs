//! The laboratory: a node, its pods and the world beside it as network namespaces of one machine, with real servers,
//! real clients and the real agent. The demo and the tests on the wire are built from it.
//!
//! It needs root. Nothing of the machine's own network is touched: no interface, route, sysctl or table outside the
//! namespaces that it makes, and those are removed when it is dropped, when the process is interrupted, and, where
//! neither could happen, by the next laboratory that is built.

pub mod bpf;
pub mod cluster;
pub mod command;
pub mod conformance;
pub mod damage;
pub mod deadline;
pub mod deploy;
pub mod etcd;
pub mod held;
pub mod kernel;
pub mod laboratory;
pub mod load;
pub mod packet;
pub mod probe;
pub mod raw;
pub mod relay;
pub mod say;
pub mod serve;
pub mod stat;
pub mod steady;
pub mod yaml;

pub use deadline::eventually;
pub use laboratory::{
    Agent, Laboratory, Link, Namespace, Pod, PodSpec, Proxy, ServicePort, ServiceSpec, Setup, Start,
};
pub use probe::Outcome;
pub use say::{counted, figure, not_run};
