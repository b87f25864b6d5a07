//! What a node and the kernel hold for its agent.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use aya::maps::{MapInfo, loaded_maps};
use aya::programs::links::{FdLink, PinnedLink};
use aya::programs::{ProgramInfo, loaded_links, loaded_programs};
use netpol_tests::cluster::{Agents, Node};
use netpol_tests::deadline::wait_for;

use crate::scene::PATIENCE;

/// Where an agent pins, as its node sees it.
const PINS: &str = "/sys/fs/bpf/netpol";

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
        let pins = pins(node)?.into_iter().map(|pin| pin.display().to_string()).collect();
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

/// All that is pinned on a node, as this machine reaches it.
fn pins(node: &Node) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    let mut folders = vec![node.path(PINS)];
    while let Some(folder) = folders.pop() {
        let entries = fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for entry in entries.flatten() {
            if entry.file_type()?.is_dir() { folders.push(entry.path()) } else { found.push(entry.path()) }
        }
    }
    Ok(found)
}

/// The numbers that the kernel gives to maps, links and programs; none is given twice.
#[derive(Debug, Default)]
pub(super) struct Ids {
    maps: BTreeSet<u32>,
    links: BTreeSet<u32>,
    programs: BTreeSet<u32>,
}

impl Ids {
    /// Notes all that is pinned on a node now, and what its links run.
    pub(super) fn note(&mut self, node: &Node) -> Result<()> {
        for pin in pins(node)? {
            // One that goes meanwhile is noted by nobody.
            drop(self.note_pin(&pin));
        }
        Ok(())
    }

    fn note_pin(&mut self, pin: &Path) -> Result<()> {
        // Opening a pin does not tell what it is.
        match pin.parent().and_then(Path::file_name).and_then(|folder| folder.to_str()) {
            Some("links") => {
                let info = FdLink::from(PinnedLink::from_pin(pin)?).info()?;
                self.links.insert(info.id());
                self.programs.insert(info.program_id());
            }
            Some("programs") => drop(self.programs.insert(ProgramInfo::from_pin(pin)?.id())),
            _ => drop(self.maps.insert(MapInfo::from_pin(pin)?.id())),
        }
        Ok(())
    }

    pub(super) fn len(&self) -> usize {
        self.maps.len() + self.links.len() + self.programs.len()
    }

    /// Waits until of all that was noted the kernel has only what is pinned still.
    pub(super) fn wait_until_gone(&self, nodes: &[Node]) -> Result<()> {
        let mut still = Self::default();
        for node in nodes {
            still.note(node)?;
        }
        let mut left = Vec::new();
        let gone = wait_for("the kernel has let go", PATIENCE, || {
            let now = Self::loaded().ok()?;
            let of = |all: &BTreeSet<u32>, now: &BTreeSet<u32>, still: &BTreeSet<u32>| -> Vec<u32> {
                all.iter().filter(|id| now.contains(id) && !still.contains(id)).copied().collect()
            };
            left = vec![
                ("maps", of(&self.maps, &now.maps, &still.maps)),
                ("links", of(&self.links, &now.links, &still.links)),
                ("programs", of(&self.programs, &now.programs, &still.programs)),
            ];
            left.iter().all(|(_, ids)| ids.is_empty()).then_some(())
        });
        gone.with_context(|| format!("left are {left:?}"))?;
        ensure!(!still.maps.is_empty() && !still.links.is_empty(), "nothing is pinned: {still:?}");
        Ok(())
    }

    /// All that the kernel has, of whomever.
    fn loaded() -> Result<Self> {
        let mut all = Self::default();
        // What goes while it is listed cannot be asked for.
        all.maps.extend(loaded_maps().flatten().map(|map| map.id()));
        all.links.extend(loaded_links().flatten().map(|link| link.id()));
        all.programs.extend(loaded_programs().flatten().map(|program| program.id()));
        ensure!(!all.maps.is_empty() && !all.programs.is_empty(), "the kernel lists nothing");
        Ok(all)
    }
}
