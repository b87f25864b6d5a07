//! Sizes of the tables, as flags and in the file.

use clap::Args;
use serde::Deserialize;

use crate::datapath::Sizes;

/// Sizes of the tables; in the file they stand in `[tables]`, without `table-`.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[command(
    next_help_heading = "Sizes of the tables, in entries (taken when a table is made; a pinned one keeps its size)"
)]
pub struct Tables {
    /// Addresses of pods and Services [default: 131072]
    #[arg(long = "table-peers", value_name = "ENTRIES")]
    pub peers: Option<u32>,
    /// CIDRs of policies [default: 32768]
    #[arg(long = "table-prefixes", value_name = "ENTRIES")]
    pub prefixes: Option<u32>,
    /// Different combinations of policies that select local pods [default: 8192]
    #[arg(long = "table-policy-sets", value_name = "ENTRIES")]
    pub policy_sets: Option<u32>,
    /// Rows: peer classes that a policy set treats otherwise than any peer [default: 262144]
    #[arg(long = "table-rules", value_name = "ENTRIES")]
    pub rules: Option<u32>,
    /// Different sets of ports [default: 8192]
    #[arg(long = "table-port-sets", value_name = "ENTRIES")]
    pub port_sets: Option<u32>,
    /// Chunks of 512 ports, for port sets of more than seven ranges [default: 65536]
    #[arg(long = "table-port-chunks", value_name = "ENTRIES")]
    pub port_chunks: Option<u32>,
    /// Address, port and protocol of Services [default: 65536]
    #[arg(long = "table-frontends", value_name = "ENTRIES")]
    pub frontends: Option<u32>,
    /// Sets of backends [default: 65536]
    #[arg(long = "table-backends", value_name = "ENTRIES")]
    pub backends: Option<u32>,
    /// Flows of one pod, half-open ones too; rounded up to a power of two [default: 16384]
    #[arg(long = "table-flows-per-pod", value_name = "ENTRIES")]
    pub flows_per_pod: Option<u32>,
    /// Fragmented packets of the node that are under way [default: 8192]
    #[arg(long = "table-fragments", value_name = "ENTRIES")]
    pub fragments: Option<u32>,
    /// Bytes of each CPU's ring of verdicts; a power of two [default: 262144]
    #[arg(long = "table-ring-bytes", value_name = "BYTES")]
    pub ring_bytes: Option<u32>,
}

impl Tables {
    pub(super) fn or(self, other: &Self) -> Self {
        Self {
            peers: self.peers.or(other.peers),
            prefixes: self.prefixes.or(other.prefixes),
            policy_sets: self.policy_sets.or(other.policy_sets),
            rules: self.rules.or(other.rules),
            port_sets: self.port_sets.or(other.port_sets),
            port_chunks: self.port_chunks.or(other.port_chunks),
            frontends: self.frontends.or(other.frontends),
            backends: self.backends.or(other.backends),
            flows_per_pod: self.flows_per_pod.or(other.flows_per_pod),
            fragments: self.fragments.or(other.fragments),
            ring_bytes: self.ring_bytes.or(other.ring_bytes),
        }
    }

    pub(super) fn sizes(&self) -> Sizes {
        let default = Sizes::default();
        Sizes {
            peers: self.peers.unwrap_or(default.peers),
            prefixes: self.prefixes.unwrap_or(default.prefixes),
            policy_sets: self.policy_sets.unwrap_or(default.policy_sets),
            rules: self.rules.unwrap_or(default.rules),
            port_sets: self.port_sets.unwrap_or(default.port_sets),
            port_chunks: self.port_chunks.unwrap_or(default.port_chunks),
            frontends: self.frontends.unwrap_or(default.frontends),
            backends: self.backends.unwrap_or(default.backends),
            flows_per_pod: self.flows_per_pod.unwrap_or(default.flows_per_pod),
            fragments: self.fragments.unwrap_or(default.fragments),
            ring_bytes: self.ring_bytes.unwrap_or(default.ring_bytes),
        }
    }
}
