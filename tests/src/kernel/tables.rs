//! Tables written entry by entry, and pods to judge by them; what was written goes when they are dropped.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use netpol_common::{
    Addr, Direction,
    tables::{
        BACKENDS_OVERFLOW, Backend, BackendSet, CHUNK_PORTS, ENDPOINT_LIVE, ENDPOINT_RESERVED, Endpoint,
        FIRST_BACKENDS, FIRST_CLASS, FIRST_PORT_SET, FIRST_SET, Frontend, FrontendKey, INLINE_RANGES,
        Interface, MAX_BACKENDS, MemberKey, PORTS_FLAG_CHUNKS, Peer, PolicySet, PortChunk, PortChunkKey,
        PortRange, PortSet, Prefix, Rule, RuleKey, SET_NONE, SLOTS, judgement, proto_bit,
    },
};
use netpol_policy::engine::TableOp;

use super::Held;

/// A local pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pod {
    /// Its slot.
    pub slot: u32,
    /// Its IPv4 address.
    pub v4: IpAddr,
    /// Its IPv6 address.
    pub v6: IpAddr,
    /// Its interface's index, known to nobody unless [`Tables::interface`] says it.
    pub ifindex: u32,
}

impl Pod {
    /// Its address of a family.
    #[must_use]
    pub const fn address(&self, v4: bool) -> IpAddr {
        if v4 { self.v4 } else { self.v6 }
    }
}

/// Empty tables, to be filled.
pub struct Tables {
    pub(super) kernel: Held,
    /// What takes back what was written, in the order of writing.
    undo: Vec<TableOp>,
    interfaces: Vec<u32>,
    revision: u32,
    ports: u32,
    sets: u32,
    classes: u32,
    backends: u32,
}

impl Default for Tables {
    fn default() -> Self {
        Self::new()
    }
}

impl Tables {
    /// Empty tables.
    #[must_use]
    pub fn new() -> Self {
        let mut kernel = Held::new();
        kernel.forget_events();
        Self {
            kernel,
            undo: Vec::new(),
            interfaces: Vec::new(),
            revision: 0,
            ports: FIRST_PORT_SET,
            sets: FIRST_SET,
            classes: FIRST_CLASS,
            backends: FIRST_BACKENDS,
        }
    }

    /// Writes an entry as the agent would.
    pub fn write(&mut self, op: &TableOp) {
        let failed = self.kernel.datapath.apply(std::slice::from_ref(op));
        assert!(failed.is_empty(), "{failed:?}");
    }

    fn write_with(&mut self, op: &TableOp, undo: TableOp) {
        self.write(op);
        self.undo.push(undo);
    }

    /// A pod that no policy selects.
    pub fn pod(&mut self) -> Pod {
        self.pod_with(0, [0; 6])
    }

    /// A pod with `ENDPOINT_*` flags and a hardware address.
    pub fn pod_with(&mut self, flags: u32, hardware: [u8; 6]) -> Pod {
        let slot = self.kernel.next_slot;
        assert!(slot < SLOTS, "no slot is left");
        self.kernel.next_slot += 1;
        let [.., high, low] = slot.to_be_bytes();
        let pod = Pod {
            slot,
            v4: Ipv4Addr::new(10, 1, high, low).into(),
            v6: Ipv6Addr::new(0xfd00, 1, 0, 0, 0, 0, 0, slot as u16).into(),
            ifindex: 1000 + slot,
        };
        let value = Endpoint {
            judgements: [0; 2],
            v6: pod.v6.into(),
            v4: Addr::from(pod.v4).0[3],
            flags: flags | ENDPOINT_LIVE,
            hardware,
            reserved: [0; ENDPOINT_RESERVED],
        };
        self.kernel.datapath.make_flow_table(slot).expect("tables of flows");
        self.write_with(
            &TableOp::Endpoint { slot, value: Box::new(value) },
            TableOp::RemoveEndpoint { slot },
        );
        for direction in Direction::ALL {
            self.judge_by(&pod, direction, SET_NONE);
        }
        pod
    }

    /// Switches a direction of a pod to a policy set, under a new revision.
    pub fn judge_by(&mut self, pod: &Pod, direction: Direction, set: u32) {
        self.revision += 1;
        let judgement = judgement(set, self.revision);
        self.write(&TableOp::Judgement { slot: pod.slot, direction, judgement });
    }

    /// Both directions at once.
    pub fn judge_both_by(&mut self, pod: &Pod, set: u32) {
        for direction in Direction::ALL {
            self.judge_by(pod, direction, set);
        }
    }

    /// A port set of ranges of (protocol, low, high); as many as [`INLINE_RANGES`] stand inline, more in chunks.
    pub fn ports(&mut self, ranges: &[(u8, u16, u16)]) -> u32 {
        let id = self.ports;
        self.ports += 1;
        let mut value = PortSet::NONE;
        let mut chunks = Vec::new();
        if ranges.len() <= INLINE_RANGES {
            for (place, &(proto, low, high)) in ranges.iter().enumerate() {
                value.put(place, proto, PortRange { low, high });
            }
        } else {
            value.flags = PORTS_FLAG_CHUNKS;
            value.protos = ranges.iter().fold(0, |bits, (proto, ..)| bits | proto_bit(*proto));
            chunks = in_chunks(id, ranges);
        }
        let undo = TableOp::RemovePortSet { id, chunks: chunks.clone() };
        self.write_with(&TableOp::PortSet { id, value: Box::new(value), chunks }, undo);
        id
    }

    /// A policy set: the port set for any peer, and rows of (class, port set).
    pub fn set(&mut self, any_peer: u32, rows: &[(u32, u32)]) -> u32 {
        let id = self.sets;
        self.sets += 1;
        self.write_with(
            &TableOp::PolicySet { id, value: PolicySet { any_peer } },
            TableOp::RemovePolicySet { id },
        );
        for &(class, port_set) in rows {
            self.row(id, class, port_set);
        }
        id
    }

    /// One row of a policy set.
    pub fn row(&mut self, set: u32, class: u32, port_set: u32) {
        let key = RuleKey { set, class };
        self.write_with(&TableOp::Rule(Rule { key, port_set }), TableOp::RemoveRule(key));
    }

    /// A class that nobody has yet.
    pub const fn class(&mut self) -> u32 {
        self.classes += 1;
        self.classes - 1
    }

    /// What is known of an address.
    pub fn peer(&mut self, address: IpAddr, class: u32, flags: u32) {
        let addr = address.into();
        self.write_with(&TableOp::Peer(Peer { addr, class, flags }), TableOp::RemovePeer(addr));
    }

    /// What is known of a prefix.
    pub fn prefix(&mut self, net: &str, class: u32, flags: u32) {
        let cidr = net.parse::<IpNet>().expect("a prefix").into();
        self.write_with(
            &TableOp::Prefix { cidr, value: Prefix { class, flags } },
            TableOp::RemovePrefix(cidr),
        );
    }

    /// The generation of an address moves on.
    pub fn bump(&mut self, address: IpAddr) {
        self.write(&TableOp::Generation(address.into()));
    }

    /// A set of backends of (class, port, flags); more than fit become an overflow.
    pub fn backends(&mut self, backends: &[(u32, u16, u16)]) -> u32 {
        let id = self.backends;
        self.backends += 1;
        let mut set = BackendSet { id, count: 0, flags: 0, backends: [Backend::UNUSED; MAX_BACKENDS] };
        if backends.len() > MAX_BACKENDS {
            set.flags = BACKENDS_OVERFLOW;
        }
        for (place, &(class, port, flags)) in set.backends.iter_mut().zip(backends) {
            *place = Backend { class, port, flags };
            set.count += 1;
        }
        self.write_with(&TableOp::Backends(Box::new(set)), TableOp::RemoveBackends(id));
        id
    }

    /// A frontend.
    pub fn frontend(&mut self, address: IpAddr, port: u16, proto: u8, backends: u32) {
        let key = FrontendKey { addr: address.into(), port, proto, reserved: 0 };
        self.write_with(&TableOp::Frontend(Frontend { key, backends }), TableOp::RemoveFrontend(key));
    }

    /// The pod is one of the backends.
    pub fn member(&mut self, backends: u32, pod: &Pod) {
        let key = MemberKey { backends, slot: pod.slot };
        self.write_with(&TableOp::Member(key), TableOp::RemoveMember(key));
    }

    /// The pod may speak with these addresses too, if its flags say so.
    pub fn source(&mut self, pod: &Pod, net: &str) {
        let cidr = net.parse::<IpNet>().expect("a prefix").into();
        let slot = pod.slot;
        self.write_with(&TableOp::Source { slot, cidr }, TableOp::RemoveSource { slot, cidr });
    }

    /// What packets from an interface say of their sender.
    pub fn interface(&mut self, ifindex: u32, kind: u32, slot: u32) {
        self.kernel.pins.set_interface(Interface { ifindex, kind, slot });
        self.interfaces.push(ifindex);
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        self.undo.reverse();
        let undo = std::mem::take(&mut self.undo);
        let failed = self.kernel.datapath.apply(&undo);
        for ifindex in &self.interfaces {
            self.kernel.pins.remove_interface(*ifindex);
        }
        assert!(failed.is_empty() || std::thread::panicking(), "{failed:?}");
    }
}

/// The chunks of ranges.
fn in_chunks(port_set: u32, ranges: &[(u8, u16, u16)]) -> Vec<PortChunk> {
    let mut chunks = std::collections::BTreeMap::new();
    for &(proto, low, high) in ranges {
        for port in low..=high {
            let chunk = port / CHUNK_PORTS;
            let key = PortChunkKey { port_set, chunk, proto, reserved: 0 };
            let entry = chunks.entry((proto, chunk)).or_insert(PortChunk { key, ports: [0; 8] });
            let bit = port % CHUNK_PORTS;
            entry.ports[usize::from(bit / 64)] |= 1 << (bit % 64);
        }
    }
    chunks.into_values().collect()
}
