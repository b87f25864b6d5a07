//! The first hook on a running pod: its open connections are in no table of flows yet. They are taken over, with who
//! opened them, before the pod is enforced; then what the policies allow lives on, and what they deny stops, whoever
//! speaks first.
//!
//! From the kernel's own conntrack; and where that is blind, from the sockets of the pod, if we may enter its network
//! namespace. What neither says is judged by whoever speaks first until it reopens, and `status` says so.

mod connection;
mod conntrack;
mod netlink;
mod sockets;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashMap},
    fs, io,
    path::{Path, PathBuf},
};

use aya::programs::{TestRun as _, TestRunOptions};
use netpol_common::{
    Addr,
    flow::{FlowKey, Origin, STATE_CLOSING, table::TICK_MASK},
    tables::{ENDPOINT_LIVE, Endpoint, FIRST_SLOT, SLOTS},
};
use netpol_policy::engine::{Cidr, HookLevel, TableOp};

pub(super) use self::connection::OpenFlow;
use self::connection::Places;
pub(crate) use self::netlink::dump as netlink_dump;
use super::{Datapath, Error, object};

/// Where a pod hangs, as far as its open connections have to do with it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Surroundings {
    /// The file of its network namespace.
    pub namespace: Option<PathBuf>,
    /// Whether it reaches other pods by a bridge.
    pub bridged: bool,
}

/// What became of the connections that a pod had open when it was first hooked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TakenOver {
    /// Taken from the table of an agent whose tables had another layout.
    pub table: usize,
    /// Taken from the kernel's conntrack.
    pub conntrack: usize,
    /// Taken from the pod's sockets.
    pub sockets: usize,
    /// Beyond the pod's quota: these must reopen.
    pub refused: usize,
    /// Why there may be others, which are judged by whoever speaks first until they reopen.
    pub unknown: Option<String>,
}

/// What is kept for it.
#[derive(Debug, Default)]
pub(super) struct Takeover {
    /// By interface index.
    surroundings: BTreeMap<u32, Surroundings>,
    /// Read before the hooks of a batch, by slot.
    found: BTreeMap<u32, Found>,
    /// By slot.
    done: BTreeMap<u32, TakenOver>,
    fault: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The table of an earlier agent, whose layout was another one.
    Table,
    Conntrack,
    Sockets,
}

/// One pod's open flows.
#[derive(Debug, Default)]
struct Found {
    flows: HashMap<FlowKey, (OpenFlow, Source)>,
    unknown: Option<String>,
}

impl Found {
    /// Those that are closing come last, where there is not room for all.
    fn by_worth(&self) -> Vec<(OpenFlow, Source)> {
        let mut flows: Vec<_> = self.flows.values().copied().collect();
        flows.sort_by_key(|(open, _)| open.flow.state == STATE_CLOSING);
        flows
    }

    /// Adds what the pod's sockets say, where conntrack says nothing of the same flow.
    fn add_sockets(&mut self, namespace: Option<&Path>, slot: u32, why: &str, reader: &Reader) {
        let read = match namespace {
            Some(namespace) => sockets::connections(namespace),
            None => Err(io::Error::other("nobody says which network namespace is the pod's")),
        };
        match read {
            Ok(connections) => {
                let flows = connections.iter().flat_map(|c| c.flows(&reader.places, reader.now));
                for (_, open) in flows.flatten().filter(|(of, _)| *of == slot) {
                    if reader.conntrack_failed && is_privileged(open.flow.origin) {
                        // Masqueraded packets carry the node's address too, and only conntrack would tell.
                        continue;
                    }
                    self.flows.entry(open.key).or_insert((open, Source::Sockets));
                }
            }
            Err(error) => {
                self.unknown = Some(format!(
                    "{why}, and the pod's sockets cannot be read ({error}): that needs CAP_SYS_ADMIN and the pod's network namespace"
                ));
            }
        }
    }
}

/// What reading needs to know.
struct Reader {
    places: Places,
    now: u32,
    conntrack_failed: bool,
}

const fn is_privileged(origin: u8) -> bool {
    origin == Origin::Node as u8 || origin == Origin::Itself as u8
}

/// The slots whose interfaces get the full classifiers, with their interfaces.
fn full_hooks(operations: &[TableOp]) -> BTreeMap<u32, u32> {
    let full = |operation: &TableOp| match operation {
        TableOp::Hook { slot, ifindex, level: HookLevel::Full } => Some((*slot, *ifindex)),
        _ => None,
    };
    operations.iter().filter_map(full).collect()
}

/// Whether packets between ports of a bridge pass netfilter, in this network namespace.
fn bridges_are_filtered() -> bool {
    let on = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/net/bridge/{name}"));
        text.is_ok_and(|text| text.trim() != "0")
    };
    on("bridge-nf-call-iptables") && on("bridge-nf-call-ip6tables")
}

/// An endpoint's own addresses.
fn own(endpoint: &Endpoint) -> impl Iterator<Item = Addr> {
    let v4 = (endpoint.v4 != 0).then(|| Addr::from_v4_word(endpoint.v4));
    let v6 = (!endpoint.v6.is_unspecified()).then_some(endpoint.v6);
    v4.into_iter().chain(v6)
}

impl Datapath {
    /// Says where pods hang, by the index of the host's interface.
    pub fn set_surroundings(&mut self, surroundings: BTreeMap<u32, Surroundings>) {
        self.takeover.surroundings = surroundings;
    }

    /// What became of the connections that were open when a slot was hooked first; `None` when an earlier agent did, or
    /// the interface was closed from the beginning.
    #[must_use]
    pub fn taken_over(&self, slot: u32) -> Option<&TakenOver> {
        self.takeover.done.get(&slot)
    }

    /// Why the open connections could not be read when they were last asked for.
    #[must_use]
    pub fn takeover_fault(&self) -> Option<&str> {
        self.takeover.fault.as_deref()
    }

    /// Forgets what is known of a slot, which another pod may get.
    pub(super) fn forget_takeover(&mut self, slot: u32) {
        self.takeover.done.remove(&slot);
    }

    /// Reads the open connections of every pod that a batch hooks first, at once; returns their slots.
    pub(super) fn read_open(&mut self, operations: &[TableOp]) -> Vec<u32> {
        let mut hooks = full_hooks(operations);
        hooks.retain(|slot, _| !self.has_flow_table(*slot));
        let slots = hooks.keys().copied().collect();
        // Behind a gate nothing could open.
        hooks.retain(|_, ifindex| !self.is_closed(*ifindex));
        self.takeover.found = self.find_open(&hooks, operations);
        slots
    }

    /// What [`read_open`](Self::read_open) has found for a slot, the best first.
    pub(super) fn open_flows(&self, slot: u32) -> Vec<OpenFlow> {
        let found = self.takeover.found.get(&slot).map(Found::by_worth).unwrap_or_default();
        found.into_iter().map(|(open, _)| open).collect()
    }

    /// Reads them once more for the slots that were hooked, for what has opened in between, before there was anything
    /// that could have seen it. What our programs know already stays, unless they have taken its first packet for the
    /// opening of a flow by the wrong end.
    pub(super) fn finish_takeover(&mut self, hooked: &BTreeMap<u32, u32>, operations: &[TableOp]) {
        self.takeover.found.clear();
        for (slot, found) in self.find_open(hooked, operations) {
            let Some(mut table) = self.takeover_of(slot) else { continue };
            let mut taken = TakenOver { unknown: found.unknown.clone(), ..TakenOver::default() };
            for (open, source) in found.by_worth() {
                if !table.take_over(&open) {
                    taken.refused += 1;
                    continue;
                }
                match source {
                    Source::Table => taken.table += 1,
                    Source::Conntrack => taken.conntrack += 1,
                    Source::Sockets => taken.sockets += 1,
                }
            }
            self.takeover.done.insert(slot, taken);
        }
    }

    /// Every open flow of some slots. Those without an address, of which nobody knows yet whose they are, have none.
    fn find_open(&mut self, hooks: &BTreeMap<u32, u32>, operations: &[TableOp]) -> BTreeMap<u32, Found> {
        if hooks.is_empty() {
            return BTreeMap::new();
        }
        let places = self.places(operations);
        let addressed = |slot: &u32| places.slots.values().any(|of| of == slot);
        let mut found: BTreeMap<u32, Found> =
            hooks.keys().filter(|slot| addressed(slot)).map(|slot| (*slot, Found::default())).collect();
        if found.is_empty() {
            return found;
        }
        self.takeover.fault = None;
        let now = match self.clock() {
            Ok(now) => now,
            Err(error) => {
                self.blind(&mut found, &format!("the time cannot be read: {:#}", anyhow::Error::new(error)));
                return found;
            }
        };
        let entries = conntrack::connections(&mut |connection| {
            for (slot, open) in connection.flows(&places, now).into_iter().flatten() {
                if let Some(found) = found.get_mut(&slot) {
                    found.flows.insert(open.key, (open, Source::Conntrack));
                }
            }
        });
        for (slot, found) in &mut found {
            // What our own programs have seen is more than conntrack tells.
            for (key, flow) in self.aside.flows(*slot) {
                let idle = now.wrapping_sub(flow.last_seen) & TICK_MASK;
                if idle <= self.timeouts.of(key.proto, flow.state) {
                    found.flows.insert(key, (OpenFlow { key, flow }, Source::Table));
                }
            }
        }
        let reader = Reader { places, now, conntrack_failed: entries.is_err() };
        let blind = match &entries {
            Ok(0) => Some("the kernel's conntrack holds nothing".to_owned()),
            Ok(_) => None,
            Err(error) => {
                let why = format!("the kernel's conntrack cannot be read ({error})");
                self.takeover.fault = Some(why.clone());
                Some(why)
            }
        };
        let unfiltered =
            (!bridges_are_filtered()).then_some("packets within a bridge pass no netfilter here");
        for (slot, found) in &mut found {
            let around = hooks.get(slot).and_then(|ifindex| self.takeover.surroundings.get(ifindex));
            let bridged = around.is_some_and(|around| around.bridged);
            if let Some(why) = blind.as_deref().or(unfiltered.filter(|_| bridged)) {
                found.add_sockets(around.and_then(|a| a.namespace.as_deref()), *slot, why, &reader);
            }
        }
        found
    }

    fn blind(&mut self, found: &mut BTreeMap<u32, Found>, why: &str) {
        self.takeover.fault = Some(why.to_owned());
        for found in found.values_mut() {
            found.unknown = Some(why.to_owned());
        }
    }

    /// Whose addresses are which: as the tables have it, and as a batch is about to write it.
    fn places(&self, operations: &[TableOp]) -> Places {
        let mut places = Places::default();
        let endpoints = (FIRST_SLOT..SLOTS).filter_map(|slot| Some((slot, self.tables.endpoints.get(slot)?)));
        let written = operations.iter().filter_map(|operation| match operation {
            TableOp::Endpoint { slot, value } => Some((*slot, **value)),
            _ => None,
        });
        for (slot, endpoint) in endpoints.chain(written).filter(|(_, e)| e.flags & ENDPOINT_LIVE != 0) {
            places.slots.extend(own(&endpoint).map(|addr| (addr, slot)));
        }
        for (key, _) in self.tables.sources.iter().flatten() {
            let data = key.data().0;
            let cidr = Cidr::around(data.addr, key.prefix_len().saturating_sub(32) as u8);
            places.ranges.push((cidr, u32::from_be(data.slot)));
        }
        // An address that cannot be listed is taken for a peer's, and judged.
        for interface in nix::ifaddrs::getifaddrs().into_iter().flatten() {
            let Some(address) = interface.address else { continue };
            let v4 = address.as_sockaddr_in().map(|a| Addr::from(a.ip()));
            places.node.extend(v4.or_else(|| address.as_sockaddr_in6().map(|a| Addr::from(a.ip()))));
        }
        places
    }

    /// The time as the classifiers have it.
    fn clock(&mut self) -> Result<u32, Error> {
        let program = object::program(&mut self.object, object::CLOCK)?;
        // The shortest frame that every kernel takes.
        let options = TestRunOptions { data_in: Some(&[0; 64]), ..TestRunOptions::default() };
        let ran = program
            .test_run(options)
            .map_err(|source| Error::Program { name: object::CLOCK.to_owned(), source })?;
        Ok(ran.return_value)
    }
}
