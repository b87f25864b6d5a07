//! When idle flows are forgotten, as flags and in the file.

use clap::Args;
use netpol_common::flow::{Timeouts, ticks};
use serde::Deserialize;

/// Timeouts; in the file they stand in `[timeouts]`, without `timeout-`.
#[derive(Args, Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "kebab-case")]
#[command(
    next_help_heading = "Seconds of silence after which a flow is forgotten and its next packet judged as new"
)]
pub struct FlowTimeouts {
    /// A TCP connection that both ends speak on [default: 85899, a day]
    #[arg(long = "timeout-tcp-established", value_name = "SECONDS")]
    pub tcp_established: Option<u32>,
    /// A TCP connection of which only one direction was seen [default: 128]
    #[arg(long = "timeout-tcp-opening", value_name = "SECONDS")]
    pub tcp_opening: Option<u32>,
    /// A TCP connection that was reset or closed [default: 10]
    #[arg(long = "timeout-tcp-closing", value_name = "SECONDS")]
    pub tcp_closing: Option<u32>,
    /// UDP and every other protocol, both directions seen [default: 193]
    #[arg(long = "timeout-established", value_name = "SECONDS")]
    pub established: Option<u32>,
    /// UDP and every other protocol, one direction seen [default: 32]
    #[arg(long = "timeout-opening", value_name = "SECONDS")]
    pub opening: Option<u32>,
}

impl FlowTimeouts {
    pub(super) fn or(self, other: &Self) -> Self {
        Self {
            tcp_established: self.tcp_established.or(other.tcp_established),
            tcp_opening: self.tcp_opening.or(other.tcp_opening),
            tcp_closing: self.tcp_closing.or(other.tcp_closing),
            established: self.established.or(other.established),
            opening: self.opening.or(other.opening),
        }
    }

    pub(super) fn resolve(&self) -> anyhow::Result<Timeouts> {
        let or = |given: Option<u32>, default: u32| match given {
            None => Ok(default),
            // The kernel counts in ticks of 1.07 s, and refreshes a flow's time every fourth.
            Some(seconds) if seconds >= 10 => Ok(ticks(u64::from(seconds) * 1_000_000_000)),
            Some(seconds) => anyhow::bail!(
                "a timeout of {seconds} s is too short: flows are counted in steps of 4 s; give at least 10"
            ),
        };
        let default = Timeouts::DEFAULT;
        Ok(Timeouts {
            tcp_established: or(self.tcp_established, default.tcp_established)?,
            tcp_opening: or(self.tcp_opening, default.tcp_opening)?,
            tcp_closing: or(self.tcp_closing, default.tcp_closing)?,
            established: or(self.established, default.established)?,
            opening: or(self.opening, default.opening)?,
        })
    }
}
