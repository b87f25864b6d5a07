//! On a real cluster, the one that `NETPOL_CLUSTER` names.

mod alive;
mod cluster;
mod conformance;
mod demo;
mod faults;
mod figures;
mod foreign;
mod lives;
mod metrics;
mod network;
mod remains;
mod scene;
mod start;
mod taint;
