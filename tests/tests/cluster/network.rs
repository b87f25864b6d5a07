//! What a real network does to packets: Services by addresses of nodes and from outside, ports of the host, names.
//!
//! The questions are asked by probers inside the pods. Every denial has its control: the same question without the policy.

mod names;
mod node_ports;
mod scene;
