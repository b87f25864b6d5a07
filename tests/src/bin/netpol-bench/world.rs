//! Tables of a size, filled as the compiler would fill them, and the classifiers over them.

use std::net::IpAddr;

use anyhow::{Context as _, Result, bail};
use netpol_agent::datapath::{Classifier, CommonShape, Datapath, Events, Measured, Options, Sizes, TestRun};
use netpol_common::{
    Addr, Direction,
    packet::{TCP, UDP},
    tables::{
        CHUNK_PORTS, ENDPOINT_LIVE, ENDPOINT_RESERVED, Endpoint, FIRST_CLASS, FIRST_PORT_SET, FIRST_SET,
        FIRST_SLOT, INLINE_RANGES, PORTS_FLAG_CHUNKS, PORTS_NONE, Peer, PolicySet, PortChunk, PortChunkKey,
        PortRange, PortSet, Prefix, Rule, RuleKey, judgement,
    },
};
use netpol_policy::engine::{Cidr, TableOp};

use crate::frames::{Ends, Family, Kind, Range};
use crate::pins::Pins;

/// The port that is allowed to every class, in the last range of its port set.
pub(crate) const ALLOWED_PORT: u16 = 8080;
/// A port that nothing allows.
pub(crate) const DENIED_PORT: u16 = 9999;

/// Slots that share many live IPv4 flows.
pub(crate) const MANY: u32 = 128;
/// Slots that share many live IPv6 flows.
pub(crate) const MANY_V6: u32 = MANY + MANY_SLOTS;
/// How many each of these are; a power of two.
pub(crate) const MANY_SLOTS: u32 = 64;
/// Live flows of each of them: so few that no bucket of a table overflows.
pub(crate) const MANY_FLOWS: u32 = 1024;
/// The slot of the flow that is always the same.
pub(crate) const HOT: u32 = 32;
/// The slot of new connections.
pub(crate) const FIRST: u32 = 33;
/// The slot of denied packets.
pub(crate) const DENIED: u32 = 34;
/// The slot of new UDP flows.
pub(crate) const DATAGRAMS: u32 = 35;
/// The slot whose policy set has port sets of many ranges.
pub(crate) const CHUNKED: u32 = 36;
/// The slot of a pod that no policy selects.
pub(crate) const UNSELECTED: u32 = 37;
/// Slots whose classifier is the empty one.
pub(crate) const EMPTY: u32 = 64;
/// Slots of allowed packets with an event for each.
pub(crate) const LOGGED: u32 = 96;
/// Slots of denied packets with an event for each.
pub(crate) const DENIED_LOGGED: u32 = 104;
/// How many slots each of these two has: they take turns, since events of one slot are limited.
pub(crate) const LOGGED_SLOTS: u32 = 8;
/// One more than the last slot that is an endpoint's.
const END: u32 = MANY_V6 + MANY_SLOTS;
/// Slots of the common shape's classifier, as many as share many flows.
pub(crate) const COMMON: u32 = END;
/// The same without events.
pub(crate) const COMMON_SILENT: u32 = COMMON + MANY_SLOTS;

/// The policy set of every endpoint but one.
const SET: u32 = FIRST_SET;
/// The policy set of [`CHUNKED`].
const CHUNKED_SET: u32 = FIRST_SET + 1;

/// Room for addresses, in all worlds: as many as the largest has, of both families.
const PEERS: u32 = 1 << 18;

/// How full the tables are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Contents {
    /// Pods of the cluster, each with an address of both families.
    pub(crate) peers: u32,
    /// CIDRs of both families.
    pub(crate) blocks: u32,
    /// Peer classes, of which every policy set has a row for each: as many as policies that select the endpoint, when
    /// each of them speaks of other peers.
    pub(crate) classes: u32,
    /// Port sets that the rows take in turn.
    pub(crate) port_sets: u32,
}

/// Tables, classifiers and rings.
pub(crate) struct World {
    pub(crate) datapath: Datapath,
    pub(crate) events: Events,
    /// The common shape over the same contents, with events and without, where it is measured.
    common: [Option<CommonShape>; 2],
    contents: Contents,
}

impl World {
    /// Loads the classifiers over new tables in a folder of pins, and fills them.
    pub(crate) fn build(pins: &Pins, name: &str, contents: &Contents, empty: &mut Measured) -> Result<Self> {
        let options = Options {
            bpffs: pins.folder().join(name),
            sizes: Sizes { peers: PEERS, ..Sizes::default() },
            ..Options::default()
        };
        let (mut datapath, _) = Datapath::open(options)?;
        let events = datapath.events()?;
        let refused = datapath.apply(&operations(contents));
        if let Some((operation, error)) = refused.into_iter().next() {
            return Err(error).with_context(|| format!("the kernel refused {operation:?}"));
        }
        for slot in FIRST_SLOT..END {
            let is_empty = (EMPTY..LOGGED).contains(&slot);
            for direction in Direction::ALL {
                let name = match (is_empty, slot) {
                    (true, _) => "empty",
                    (false, UNSELECTED) => "source_check",
                    (false, _) => "short_way",
                };
                datapath.install(slot, direction, name, empty)?;
            }
        }
        Ok(Self { datapath, events, common: [None, None], contents: *contents })
    }

    /// The classifier of the common shape in some slot, over as many peers, each with the ports that the port set has here.
    pub(crate) fn common(&mut self, slot: u32) -> Result<&mut CommonShape> {
        let silent = slot >= COMMON_SILENT;
        if self.common[usize::from(silent)].is_none() {
            let mut made = CommonShape::load(!silent)?;
            for number in 0..self.contents.peers {
                let IpAddr::V4(peer) = Range::Peers.address(Family::V4, number) else { bail!("not IPv4") };
                made.allow(peer, &listed_ports(number))?;
            }
            for slot in (slot..).take(MANY_SLOTS as usize) {
                self.datapath.install(slot, Direction::Ingress, "common_shape", made.program())?;
            }
            self.common[usize::from(silent)] = Some(made);
        }
        self.common[usize::from(silent)].as_mut().context("it was made before")
    }

    /// Opens flows of the common shape: their first packets are heard.
    pub(crate) fn establish_common(&mut self, ends: &Ends, slots: u32, peers: u32) -> Result<()> {
        let common = self.common(ends.slot)?;
        for slot in (ends.slot..).take(slots as usize) {
            for peer in (ends.peer..).take(peers as usize) {
                let frame = Ends { slot, peer, ..*ends }.frame(Direction::Ingress, Kind::Syn);
                let run = TestRun {
                    classifier: Classifier::ToPod,
                    slot,
                    ingress_ifindex: INTERFACE,
                    tag: 0,
                    frame: &frame,
                    repeat: 1,
                };
                if !common.run(run)?.passes() {
                    bail!("the common shape drops what its table allows: {ends:?}");
                }
            }
        }
        common.drain()?;
        Ok(())
    }

    /// Opens a flow: both of its ends are heard once.
    pub(crate) fn establish(&mut self, flow: &Ends) -> Result<()> {
        let back = flow.opened.reverse();
        for (direction, kind) in [(flow.opened, Kind::Syn), (back, Kind::SynAck), (flow.opened, Kind::Ack)] {
            let classifier = match direction {
                Direction::Egress => Classifier::FromPod,
                Direction::Ingress => Classifier::ToPod,
            };
            let frame = flow.frame(direction, kind);
            let run = TestRun {
                classifier,
                slot: flow.slot,
                ingress_ifindex: INTERFACE,
                tag: 0,
                frame: &frame,
                repeat: 1,
            };
            if !self.datapath.test_run(run)?.passes() {
                bail!("{classifier:?} drops a {kind:?} that the tables allow: {flow:?}");
            }
        }
        Ok(())
    }

    /// Opens all flows of [`MANY`] or [`MANY_V6`].
    pub(crate) fn establish_many(&mut self, family: Family) -> Result<()> {
        let first = if family == Family::V4 { MANY } else { MANY_V6 };
        for slot in first..first + MANY_SLOTS {
            for peer in 0..MANY_FLOWS {
                let (range, opened) = (Range::Peers, Direction::Ingress);
                self.establish(&Ends { family, slot, range, peer, opened, port: ALLOWED_PORT })?;
            }
        }
        Ok(())
    }
}

/// Where packets come from: no interface that is known.
pub(crate) const INTERFACE: u32 = 7;

fn operations(contents: &Contents) -> Vec<TableOp> {
    let mut operations = Vec::new();
    for number in 0..contents.port_sets {
        operations.push(TableOp::PortSet {
            id: FIRST_PORT_SET + number,
            value: Box::new(inline_ports(number)),
            chunks: Vec::new(),
        });
    }
    let chunked = FIRST_PORT_SET + contents.port_sets;
    operations.push(chunked_ports(chunked));
    for set in [SET, CHUNKED_SET] {
        operations.push(TableOp::PolicySet { id: set, value: PolicySet { any_peer: PORTS_NONE } });
        for number in 0..contents.classes {
            let port_set = if set == SET { FIRST_PORT_SET + number % contents.port_sets } else { chunked };
            operations
                .push(TableOp::Rule(Rule { key: RuleKey { set, class: FIRST_CLASS + number }, port_set }));
        }
    }
    for family in [Family::V4, Family::V6] {
        for number in 0..contents.blocks {
            let bits = 120; // of the 16-byte form: 256 addresses
            let first: Addr = Range::Blocks.address(family, number * 256).into();
            let value = Prefix { class: FIRST_CLASS + number % contents.classes, flags: 0 };
            operations.push(TableOp::Prefix { cidr: Cidr::around(first, bits), value });
        }
        for number in 0..contents.peers {
            let addr = Range::Peers.address(family, number).into();
            operations.push(TableOp::Peer(Peer {
                addr,
                class: FIRST_CLASS + number % contents.classes,
                flags: 0,
            }));
        }
    }
    for slot in FIRST_SLOT..END {
        operations.extend(endpoint(slot));
    }
    operations
}

fn endpoint(slot: u32) -> Vec<TableOp> {
    let v4: Addr = Range::Pods.address(Family::V4, slot).into();
    let value = Endpoint {
        judgements: [0; 2],
        v6: Range::Pods.address(Family::V6, slot).into(),
        v4: v4.0[3],
        flags: ENDPOINT_LIVE,
        hardware: [0; 6],
        reserved: [0; ENDPOINT_RESERVED],
    };
    let set = if slot == CHUNKED { CHUNKED_SET } else { SET };
    let mut operations = vec![TableOp::Endpoint { slot, value: Box::new(value) }];
    for direction in Direction::ALL {
        operations.push(TableOp::Judgement { slot, direction, judgement: judgement(set, 1) });
    }
    operations
}

/// Three ranges, as a rule with a few ports has; `number` makes it another one.
fn inline_ports(number: u32) -> PortSet {
    let mut set = PortSet::NONE;
    let ports = [(TCP, 20_000 + number as u16), (UDP, ALLOWED_PORT), (TCP, ALLOWED_PORT)];
    for (place, (proto, port)) in ports.into_iter().enumerate() {
        set.put(place, proto, PortRange { low: port, high: port });
    }
    set
}

/// The same as the common shape lists it.
fn listed_ports(number: u32) -> [[u32; 3]; 3] {
    let (other, allowed) = (20_000 + number % 16, ALLOWED_PORT.into());
    [[TCP.into(), other, other], [UDP.into(), allowed, allowed], [TCP.into(), allowed, allowed]]
}

/// All ranges inline, which do not match, and a chunk that does.
fn chunked_ports(id: u32) -> TableOp {
    let mut value = PortSet { flags: PORTS_FLAG_CHUNKS, ..PortSet::NONE };
    for place in 0..INLINE_RANGES {
        let port = 20_000 + place as u16;
        value.put(place, TCP, PortRange { low: port, high: port });
    }
    let key = PortChunkKey { port_set: id, chunk: ALLOWED_PORT / CHUNK_PORTS, proto: TCP, reserved: 0 };
    let mut ports = [0; 8];
    ports[usize::from(ALLOWED_PORT % CHUNK_PORTS / 64)] |= 1 << (ALLOWED_PORT % 64);
    TableOp::PortSet { id, value: Box::new(value), chunks: vec![PortChunk { key, ports }] }
}
