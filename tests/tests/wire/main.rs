//! Real packets between network namespaces. Every denial has its positive control: without the policy the same packet
//! arrives.

mod agent;
mod alive;
mod bridges;
mod changes;
mod errors;
mod explain;
mod forged;
mod found;
mod fragments;
mod gates;
mod hooks;
mod laboratory;
mod node;
mod node_ports;
mod observing;
mod pods;
mod protocols;
mod replaced;
mod services;
mod setup;
mod start;
mod switches;
mod takeover;
mod verdicts;
