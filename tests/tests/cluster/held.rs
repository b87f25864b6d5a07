//! What a node and the kernel hold for its agent.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use netpol_tests::cluster::Node;
use netpol_tests::deadline::wait_for;
use netpol_tests::held::pins;

/// How long it may take after the last start of a pod until links hold what filters do at first.
const BY_LINKS: Duration = Duration::from_secs(60);

/// Where an agent pins, as its node sees it.
pub(super) const PINS: &str = "/sys/fs/bpf/netpol";

/// The same as this machine reaches it.
pub(super) fn pins_of(node: &Node) -> PathBuf {
    node.path(PINS)
}

/// What is counted of a node.
#[derive(Debug)]
pub(super) struct Held {
    /// Pinned maps, links and programs, by their path.
    pins: BTreeSet<String>,
    /// Filters of every interface, as tc lists them.
    filters: BTreeSet<String>,
}

impl Held {
    pub(super) fn of(node: &Node) -> Result<Self> {
        let pins = pins(&pins_of(node))?.into_iter().map(|pin| pin.display().to_string()).collect();
        let mut filters = BTreeSet::new();
        let links = node.command("ip", &["-brief", "link", "show"])?;
        for name in links.lines().filter_map(|line| line.split([' ', '@']).next()) {
            for side in ["ingress", "egress"] {
                // An interface that goes meanwhile has none.
                let said = node.command("tc", &["filter", "show", "dev", name, side]).unwrap_or_default();
                filters.extend(said.lines().map(|line| format!("{name} {side} {line}")));
            }
        }
        Ok(Self { pins, filters })
    }

    /// The same once no pod starts any more: then no filter of the agent is left.
    pub(super) fn at_rest(node: &Node) -> Result<Self> {
        wait_for("links hold what pods carry", BY_LINKS, || {
            let held = Self::of(node).ok()?;
            (!held.filters.iter().any(|line| line.contains("netpol_entry"))).then_some(())
        })?;
        // Links may have come after the pins were read and before the filters were.
        Self::of(node)
    }

    /// Whether nothing is here that was not there, and every table still is; pods of an earlier test may have gone since, with
    /// what they had.
    pub(super) fn is_within(&self, before: &Self) -> bool {
        let tables = |held: &Self| -> BTreeSet<String> {
            held.pins.iter().filter(|pin| pin.contains("/maps/")).cloned().collect()
        };
        self.pins.is_subset(&before.pins)
            && self.filters.is_subset(&before.filters)
            && tables(self) == tables(before)
            && self.pins.iter().any(|pin| pin.contains("/links/"))
    }
}
