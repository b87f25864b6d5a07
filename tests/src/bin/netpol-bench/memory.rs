//! What the kernel keeps in memory: for each address of a peer, and for a node at default sizes.

use std::fs;
use std::os::fd::{AsFd as _, AsRawFd as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use aya::maps::MapData;
use netpol_agent::datapath::{Datapath, Options, Sizes};
use netpol_common::{Addr, tables::FIRST_CLASS, tables::FIRST_SLOT, tables::Peer};
use netpol_policy::engine::TableOp;

use crate::frames::{Family, Range};
use crate::goals::{Answer, Bound, Goal, Only};
use crate::pins::Pins;
use crate::statistics::Figure;

const PEER: Goal = Goal::told("m7-kernel-peer", "kernel memory for each address of 100,000 peers", "bytes")
    .of("M7")
    .must(Bound::AtMost(100.0))
    .moonshot(Bound::AtMost(50.0));
const NODE: Goal = Goal::told(
    "m7-kernel-node",
    "kernel memory of a node of 110 pods, default sizes, nothing in them",
    "MiB",
)
.of("M7");
const FLOWS: Goal = Goal::told("m7-kernel-pod", "of it for the flows of each isolated pod", "MiB").of("M7");

/// Pods of the node: as many as Kubernetes recommends at most.
const LOCAL: u32 = 110;
/// Peers' addresses.
const PEERS: u32 = 100_000;

/// All goals.
pub(crate) fn all() -> impl Iterator<Item = Goal> {
    [PEER, NODE, FLOWS].into_iter()
}

/// Measures what of it is wanted.
pub(crate) fn run(only: &Only) -> Result<Vec<Answer>> {
    if !all().any(|goal| only.wants_goal(&goal)) {
        return Ok(Vec::new());
    }
    let pins = Pins::new()?;
    let bpffs = pins.folder().join("memory");
    let (mut datapath, _) = Datapath::open(Options { bpffs: bpffs.clone(), ..Options::default() })?;
    let tables = charged(&bpffs)?;
    for slot in (FIRST_SLOT..).take(LOCAL as usize) {
        datapath.make_flow_table(slot)?;
    }
    let node = charged(&bpffs)?;
    let peers = |number| {
        let addr: Addr = Range::Peers.address(Family::V4, number).into();
        TableOp::Peer(Peer { addr, class: FIRST_CLASS + number % 64, flags: 0 })
    };
    let operations: Vec<TableOp> = (0..PEERS.min(Sizes::default().peers)).map(peers).collect();
    let refused = datapath.apply(&operations);
    if let Some((operation, error)) = refused.into_iter().next() {
        return Err(error).with_context(|| format!("the kernel refused {operation:?}"));
    }
    // Both tables of addresses: the one has its memory from the start, the other takes it as it fills.
    let addresses: u64 = ["PEER_BUCKETS", "PEERS"]
        .into_iter()
        .map(|name| charged_for(&bpffs.join("maps").join(name)))
        .sum::<Result<u64>>()?;
    let mebibytes = |bytes: u64| bytes as f64 / f64::from(1 << 20);
    let answers = [
        Answer { goal: PEER, figure: Figure::exact(addresses as f64 / operations.len() as f64) },
        Answer { goal: NODE, figure: Figure::exact(mebibytes(node)) },
        Answer { goal: FLOWS, figure: Figure::exact(mebibytes((node - tables) / u64::from(LOCAL))) },
    ];
    Ok(answers.into_iter().filter(|answer| only.wants_goal(&answer.goal)).collect())
}

/// Bytes that the kernel has charged for all maps below a folder of pins.
pub(crate) fn charged(folder: &Path) -> Result<u64> {
    let mut all = 0;
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            all += charged(&path)?;
        } else {
            // Links have pins, too.
            all += charged_for(&path).unwrap_or_default();
        }
    }
    Ok(all)
}

/// Bytes that the kernel has charged for a map.
fn charged_for(pin: &Path) -> Result<u64> {
    let map = MapData::from_pin(pin).with_context(|| format!("cannot open {}", pin.display()))?;
    let about = format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd());
    let text = fs::read_to_string(&about).with_context(|| format!("cannot read {about}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("memlock:"));
    Ok(line.context("the kernel tells no memlock")?.trim().parse()?)
}
