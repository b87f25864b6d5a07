//! What a node and the kernel hold for its agent.

use std::collections::BTreeSet;
use std::fs;

use anyhow::{Context as _, Result};
use netpol_tests::cluster::{Agents, Node};
use netpol_tests::held::pins;

/// Where an agent pins, as its node sees it.
pub(super) const PINS: &str = "/sys/fs/bpf/netpol";

/// What is counted of a node.
#[derive(Debug)]
pub(super) struct Held {
    /// Pinned maps, links and programs, by their path.
    pins: BTreeSet<String>,
    /// Filters of every interface, as tc lists them.
    filters: BTreeSet<String>,
    /// Open files of the agent.
    files: usize,
}

impl Held {
    pub(super) fn of(agents: &Agents, node: &Node) -> Result<Self> {
        let pins = pins(&node.path(PINS))?.into_iter().map(|pin| pin.display().to_string()).collect();
        let pid = agents.part(node).pid().context("no agent runs")?;
        let files = fs::read_dir(format!("/proc/{pid}/fd")).context("cannot read an agent's files")?.count();
        let mut filters = BTreeSet::new();
        let links = node.command("ip", &["-brief", "link", "show"])?;
        for name in links.lines().filter_map(|line| line.split([' ', '@']).next()) {
            for side in ["ingress", "egress"] {
                // An interface that goes meanwhile has none.
                let said = node.command("tc", &["filter", "show", "dev", name, side]).unwrap_or_default();
                filters.extend(said.lines().map(|line| format!("{name} {side} {line}")));
            }
        }
        Ok(Self { pins, filters, files })
    }

    /// Whether nothing is here that was not there.
    pub(super) fn is_no_more_than(&self, before: &Self) -> bool {
        self.pins == before.pins && self.filters == before.filters && self.files <= before.files
    }
}
