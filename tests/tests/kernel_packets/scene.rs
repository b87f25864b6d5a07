//! What most tests begin with: a pod that is isolated in both directions, and three others.

use std::net::IpAddr;

use netpol_common::{
    Direction, Reason,
    packet::{SCTP, TCP, UDP},
    tables::{PORTS_ALL, PORTS_NONE, SET_CLOSED, SET_NONE},
};
use netpol_tests::kernel::{Pod, Seen, Tables};

/// Both families, IPv4 first.
pub(crate) const BOTH: [bool; 2] = [true, false];

pub(crate) const UNREPORTED: Seen = Seen::PassesUnreported;
pub(crate) const POLICY: Seen = Seen::Passes(Reason::Policy);
pub(crate) const NOT_ISOLATED: Seen = Seen::Passes(Reason::NotIsolated);
pub(crate) const DENIED: Seen = Seen::Drops(Reason::PolicyDenied);
pub(crate) const FLOW_DENIED: Seen = Seen::Drops(Reason::FlowDenied);

/// The address of a family.
fn one(v4: bool, last: u8) -> IpAddr {
    if v4 { IpAddr::from([10, 2, 0, last]) } else { format!("fd02::{last}").parse().unwrap() }
}

/// TCP 80, UDP 53 and SCTP 9 are allowed with it, in both directions.
pub(crate) fn friend(v4: bool) -> IpAddr {
    one(v4, 1)
}

/// Everything is allowed with it, in both directions.
pub(crate) fn confidant(v4: bool) -> IpAddr {
    one(v4, 2)
}

/// Nothing is allowed with it.
pub(crate) fn stranger(v4: bool) -> IpAddr {
    one(v4, 3)
}

/// The pod that is isolated, and its tables.
pub(crate) struct Scene {
    pub(crate) tables: Tables,
    pub(crate) pod: Pod,
    /// The policy set of both directions.
    pub(crate) set: u32,
    /// The class of the friend.
    pub(crate) friends: u32,
}

impl Scene {
    pub(crate) fn new() -> Self {
        Self::with(0, [0; 6])
    }

    /// With flags and a hardware address of the pod.
    pub(crate) fn with(flags: u32, hardware: [u8; 6]) -> Self {
        let mut tables = Tables::new();
        let pod = tables.pod_with(flags, hardware);
        let (friends, confidants) = (tables.class(), tables.class());
        let ports = tables.ports(&[(TCP, 80, 80), (UDP, 53, 53), (SCTP, 9, 9)]);
        let set = tables.set(PORTS_NONE, &[(friends, ports), (confidants, PORTS_ALL)]);
        for v4 in BOTH {
            tables.peer(friend(v4), friends, 0);
            tables.peer(confidant(v4), confidants, 0);
        }
        let mut scene = Self { tables, pod, set, friends };
        scene.isolate();
        scene
    }

    /// Both directions by the policy set.
    pub(crate) fn isolate(&mut self) {
        self.tables.judge_both_by(&self.pod, self.set);
    }

    /// Nothing is allowed any more.
    pub(crate) fn close(&mut self, direction: Direction) {
        self.tables.judge_by(&self.pod, direction, SET_CLOSED);
    }

    /// Everything is allowed.
    pub(crate) fn free(&mut self) {
        self.tables.judge_both_by(&self.pod, SET_NONE);
    }

    /// The pod sends.
    pub(crate) fn from(&mut self, frame: &[u8]) -> Seen {
        self.tables.from(&self.pod, frame)
    }

    /// The pod is sent something.
    pub(crate) fn to(&mut self, frame: &[u8]) -> Seen {
        self.tables.to(&self.pod, frame)
    }

    pub(crate) fn own(&self, v4: bool) -> IpAddr {
        self.pod.address(v4)
    }
}
