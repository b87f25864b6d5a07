//! What decides on a node, and the programs that write the rules of the kernel's own firewalls there.

use std::time::Instant;

use anyhow::{Context as _, Result, anyhow};
use netpol_tests::{Namespace, command};

use super::rules::{Policy, Rules};
use super::{ipset, nftables};

/// What decides on a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Engine {
    Nothing,
    Ours,
    Ipset,
    Nftables,
}

/// A program that reads its input to the end.
pub(super) struct Run {
    /// The program, and what it is called with.
    pub(super) arguments: &'static [&'static str],
    pub(super) input: String,
}

impl Engine {
    /// What writes all rules; nothing where no program has to be run for that.
    pub(super) fn load(self, rules: &Rules) -> Result<Vec<Run>> {
        match self {
            Self::Nothing | Self::Ours => Ok(Vec::new()),
            Self::Ipset => ipset::load(rules),
            Self::Nftables => nftables::load(rules),
        }
    }

    /// What writes one policy that has changed.
    pub(super) fn update(self, rules: &Rules, policy: &Policy) -> Result<Vec<Run>> {
        match self {
            Self::Nothing | Self::Ours => Ok(Vec::new()),
            Self::Ipset => ipset::update(rules, policy),
            Self::Nftables => nftables::update(rules, policy),
        }
    }

    /// What removes all rules.
    pub(super) fn unload(self) -> Vec<Run> {
        match self {
            Self::Nothing | Self::Ours => Vec::new(),
            Self::Ipset => ipset::unload(),
            Self::Nftables => nftables::unload(),
        }
    }
}

/// Runs some one after the other; seconds from the start of the first to the end of the last.
pub(super) fn run(node: &Namespace, runs: &[Run]) -> Result<f64> {
    // On a thread that is in the namespace already: what enters it is no part of the programs' time.
    node.run(|| {
        let begun = Instant::now();
        for Run { arguments, input } in runs {
            let (program, arguments) = arguments.split_first().context("no program")?;
            // Without the input, which is long.
            command::feed(program, arguments, input).map_err(|error| anyhow!("{}", error.root_cause()))?;
        }
        Ok(begun.elapsed().as_secs_f64())
    })?
}
