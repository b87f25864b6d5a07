//! How full the tables are.

use std::collections::BTreeMap;

use netpol_policy::engine::{Engine, TableOp};

use crate::{control::protocol::TableLine, datapath::Sizes};

/// Entries that the kernel holds, and how many fit into a table that is made with these sizes.
pub(super) fn lines(engine: &Engine, sizes: &Sizes) -> BTreeMap<String, TableLine> {
    let used = engine.tables().entries();
    let line = |name: &str, used: usize, size: u32| {
        let change: isize = engine
            .refused()
            .iter()
            .filter_map(of_refused)
            .filter(|(of, _)| *of == name)
            .map(|(_, change)| change)
            .sum();
        (name.to_owned(), TableLine { used: used.saturating_add_signed(change), size: size as usize })
    };
    BTreeMap::from([
        line("peers", used.peers, sizes.all_peers()),
        line("prefixes", used.prefixes, sizes.prefixes),
        line("policy-sets", used.policy_sets, sizes.policy_sets),
        line("rules", used.rules, sizes.all_rules()),
        line("port-sets", used.port_sets, sizes.port_sets),
        line("port-chunks", used.port_chunks, sizes.port_chunks),
        line("frontends", used.frontends, sizes.frontends),
        line("backends", used.backends, sizes.backends),
    ])
}

/// How many entries more a table holds than it should, since the kernel has refused an operation.
const fn of_refused(operation: &TableOp) -> Option<(&'static str, isize)> {
    Some(match operation {
        TableOp::Peer(_) => ("peers", -1),
        TableOp::RemovePeer(_) => ("peers", 1),
        TableOp::Prefix { .. } => ("prefixes", -1),
        TableOp::RemovePrefix(_) => ("prefixes", 1),
        TableOp::PolicySet { .. } => ("policy-sets", -1),
        TableOp::RemovePolicySet { .. } => ("policy-sets", 1),
        TableOp::Rule(_) => ("rules", -1),
        TableOp::RemoveRule(_) => ("rules", 1),
        TableOp::PortSet { .. } => ("port-sets", -1),
        TableOp::RemovePortSet { .. } => ("port-sets", 1),
        TableOp::Frontend(_) => ("frontends", -1),
        TableOp::RemoveFrontend(_) => ("frontends", 1),
        TableOp::Backends(_) => ("backends", -1),
        TableOp::RemoveBackends(_) => ("backends", 1),
        _ => return None,
    })
}
