//! What a real network does to packets: Services in every form, the node between pods and their callers, the kubelet, the
//! path between nodes.
//!
//! The questions are asked by probers inside the pods. Every denial has its control: the same question without the policy.

mod kubelet;
mod names;
mod node_ports;
mod path;
mod rolling;
mod services;
