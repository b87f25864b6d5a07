//! From a connection that somebody else has tracked to the flows that the pods at its ends would have of it. Pure.

use std::collections::{HashMap, HashSet};

use netpol_common::{
    Addr,
    flow::{Flow, FlowKey, Origin, STATE_CLOSING, STATE_ESTABLISHED, STATE_OPENING},
    packet::{SCTP, TCP},
};
use netpol_policy::engine::Cidr;

/// What packets of one direction carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::datapath) struct Tuple {
    pub(in crate::datapath) src: Addr,
    pub(in crate::datapath) dst: Addr,
    /// The identifier of an ICMP query, which its sender has; 0 on the other side.
    pub(in crate::datapath) src_port: u16,
    pub(in crate::datapath) dst_port: u16,
}

/// An open connection or exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::datapath) struct Connection {
    /// IP protocol number.
    pub(in crate::datapath) proto: u8,
    /// As who opened it sends.
    pub(in crate::datapath) original: Tuple,
    /// As the other end answers: not the reverse of `original` where addresses are translated.
    pub(in crate::datapath) reply: Tuple,
    /// Both ends have spoken.
    pub(in crate::datapath) answered: bool,
    /// Reset, or closed from both ends.
    pub(in crate::datapath) closing: bool,
}

/// Whose addresses are which.
#[derive(Debug, Default)]
pub(in crate::datapath) struct Places {
    /// Each endpoint's own.
    pub(in crate::datapath) slots: HashMap<Addr, u32>,
    /// What endpoints may speak with beside them.
    pub(in crate::datapath) ranges: Vec<(Cidr, u32)>,
    /// The node's.
    pub(in crate::datapath) node: HashSet<Addr>,
}

impl Places {
    fn slot(&self, addr: &Addr) -> Option<u32> {
        let within = |(cidr, _): &&(Cidr, u32)| Cidr::around(*addr, cidr.bits()) == *cidr;
        let range = || self.ranges.iter().filter(within).max_by_key(|(cidr, _)| cidr.bits());
        self.slots.get(addr).copied().or_else(|| range().map(|(_, slot)| *slot))
    }
}

/// A flow that belongs into an endpoint's table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::datapath) struct OpenFlow {
    pub(in crate::datapath) key: FlowKey,
    pub(in crate::datapath) flow: Flow,
}

impl Connection {
    /// What the pods at its ends would know of it, by slot, had they been hooked when it was opened: at most two flows.
    ///
    /// They carry no revision, so that each is judged by the policies in force with its next packet.
    pub(in crate::datapath) fn flows(&self, places: &Places, now: u32) -> [Option<(u32, OpenFlow)>; 2] {
        let Self { original, reply, .. } = self;
        let opener = places.slot(&original.src);
        // The pod that opened it sees it as it sends.
        let of_client = opener.filter(|_| original.src != original.dst).map(|slot| {
            let key = key(self.proto, (original.src, original.src_port), (original.dst, original.dst_port));
            (slot, self.flow(key, Origin::Pod, 0, now))
        });
        // The pod that answers sees it as it answers.
        let of_server = places.slot(&reply.src).filter(|_| reply.src != reply.dst).and_then(|slot| {
            let key = key(self.proto, (reply.src, reply.src_port), (reply.dst, reply.dst_port));
            let (origin, sender) = self.opened_by(slot, opener, places)?;
            Some((slot, self.flow(key, origin, sender, now)))
        });
        [of_client, of_server]
    }

    /// Who opened the flow that the pod in `slot` answers, and the local pod whose egress is to be judged there too.
    fn opened_by(&self, slot: u32, opener: Option<u32>, places: &Places) -> Option<(Origin, u16)> {
        let origin = match opener {
            Some(opener) if opener == slot => Origin::Itself,
            Some(opener) => return Some((Origin::Peer, opener as u16)),
            None if places.node.contains(&self.original.src) => Origin::Node,
            None => return Some((Origin::Peer, 0)),
        };
        // Both always pass, and a source can be forged: only a handshake shows that it was not. Without one the next
        // packet from there, which is recognised by more than its address, opens the flow.
        let proven = self.answered && (self.proto == TCP || self.proto == SCTP);
        proven.then_some((origin, 0))
    }

    fn flow(&self, key: FlowKey, origin: Origin, sender: u16, now: u32) -> OpenFlow {
        let state = match (self.answered, self.closing) {
            (_, true) => STATE_CLOSING,
            (true, false) => STATE_ESTABLISHED,
            (false, false) => STATE_OPENING,
        };
        let flow = Flow {
            // No endpoint has this revision.
            revision: 0,
            generation: 0,
            backends: 0,
            last_seen: now,
            sender_revision: 0,
            sender,
            origin: origin as u8,
            state,
            denied: 0,
            fins: 0,
        };
        OpenFlow { key, flow }
    }
}

const fn key(proto: u8, pod: (Addr, u16), peer: (Addr, u16)) -> FlowKey {
    FlowKey { pod: pod.0, peer: peer.0, pod_port: pod.1, peer_port: peer.1, proto, reserved: [0; 3] }
}
