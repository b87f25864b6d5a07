//! What the issue asks in figures, on a real node: how soon a change is in force, and what the path costs.

mod latency;
mod local_pods;
mod traffic;
