//! On a real cluster, the one that `NETPOL_CLUSTER` names.

mod alive;
mod cluster;
mod conformance;
mod demo;
mod deployed;
mod faults;
mod figures;
mod foreign;
mod held;
mod lives;
mod metrics;
mod network;
mod plugin;
mod remains;
mod scene;
mod start;
mod taint;
