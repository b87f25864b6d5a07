//! What is measured.

use netpol_common::{Direction, Reason};

use crate::frames::{Ends, Family, Kind, Range};
use crate::goals::{Bound, Goal};
use crate::world::{
    ALLOWED_PORT, CHUNKED, COMMON, COMMON_SILENT, Contents, DATAGRAMS, DENIED, DENIED_LOGGED, DENIED_PORT,
    EMPTY, FIRST, HOT, LOGGED, LOGGED_SLOTS, MANY, MANY_FLOWS, MANY_SLOTS, MANY_V6, UNSELECTED,
};

/// Few peers, few CIDRs.
const TEN: Contents = Contents { peers: 10, blocks: 10, classes: 10, port_sets: 4 };
/// A cluster of some size.
const THOUSAND: Contents = Contents { peers: 1000, blocks: 1000, classes: 64, port_sets: 16 };
/// A large cluster.
const HUNDRED_THOUSAND: Contents = Contents { peers: 100_000, blocks: 10_000, classes: 64, port_sets: 16 };
/// One policy.
const ONE_POLICY: Contents = Contents { peers: 1000, blocks: 1, classes: 1, port_sets: 1 };
/// A thousand policies, each with other peers and other ports.
const THOUSAND_POLICIES: Contents = Contents { peers: 1000, blocks: 1, classes: 1000, port_sets: 1000 };
/// As many peers as the pods with many flows have.
const MANY_PEERS: Contents = Contents { peers: MANY_FLOWS, blocks: 1, classes: 64, port_sets: 16 };

/// Which packets are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Packets {
    /// The same one again and again.
    Same,
    /// Each of another peer out of this many; and of another port if that is said.
    Random { peers: u32, slots: u32, ports: bool },
}

/// What must have happened to the packets, or the figure is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// They pass, and none is counted: they belong to known flows, or nobody judges them.
    Uncounted,
    /// Each is counted for this reason.
    Counted(Reason),
    /// So, and each is reported by an event too.
    Logged(Reason),
}

/// One figure.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Case {
    /// What it is chosen and compared by.
    pub(crate) name: &'static str,
    /// What it is, for people.
    pub(crate) what: &'static str,
    /// Over which tables.
    pub(crate) contents: Contents,
    /// The first endpoint and its peer.
    pub(crate) ends: Ends,
    /// How the packet passes the pod.
    pub(crate) direction: Direction,
    /// What it is to its flow.
    pub(crate) kind: Kind,
    /// Which packets.
    pub(crate) packets: Packets,
    /// What becomes of them.
    pub(crate) expected: Expected,
    /// Slots that take turns, round by round; events of one slot are limited.
    pub(crate) turns: u32,
}

const IN: Direction = Direction::Ingress;
const OUT: Direction = Direction::Egress;
const ALLOWED: Expected = Expected::Counted(Reason::Policy);

impl Case {
    /// A packet of a flow that is known, the same one each time.
    const fn known(name: &'static str, what: &'static str, family: Family, direction: Direction) -> Self {
        let ends =
            Ends { family, slot: HOT, range: Range::Peers, peer: 1, opened: direction, port: ALLOWED_PORT };
        let (kind, packets, expected) = (Kind::Ack, Packets::Same, Expected::Uncounted);
        Self { name, what, contents: THOUSAND, ends, direction, kind, packets, expected, turns: 1 }
    }

    /// Packets that open connections with peers of a range.
    const fn first(name: &'static str, what: &'static str, family: Family, contents: Contents) -> Self {
        let ends = Ends { family, slot: FIRST, range: Range::Peers, peer: 0, opened: IN, port: ALLOWED_PORT };
        let packets = Packets::Random { peers: contents.peers, slots: 1, ports: true };
        Self {
            name,
            what,
            contents,
            ends,
            direction: IN,
            kind: Kind::Syn,
            packets,
            expected: ALLOWED,
            turns: 1,
        }
    }

    /// The same to another slot.
    const fn at(self, slot: u32) -> Self {
        Self { ends: Ends { slot, ..self.ends }, ..self }
    }

    /// The same to addresses that only CIDRs speak of.
    const fn in_blocks(self) -> Self {
        let packets = Packets::Random { peers: self.contents.blocks * 256, slots: 1, ports: true };
        Self { ends: Ends { range: Range::Blocks, ..self.ends }, packets, ..self }
    }

    /// The same, opened by the pod.
    const fn out(self) -> Self {
        Self { ends: Ends { opened: OUT, ..self.ends }, direction: OUT, ..self }
    }

    /// The same to a port that nothing allows.
    const fn denied(self) -> Self {
        let expected = Expected::Counted(Reason::PolicyDenied);
        Self { ends: Ends { slot: DENIED, port: DENIED_PORT, ..self.ends }, expected, ..self }
    }

    const fn over(self, contents: Contents) -> Self {
        Self { contents, ..self }
    }

    const fn of(self, kind: Kind) -> Self {
        Self { kind, ..self }
    }

    const fn same(self) -> Self {
        Self { packets: Packets::Same, ..self }
    }

    const fn logged(self, slot: u32, reason: Reason) -> Self {
        let expected = Expected::Logged(reason);
        Self { ends: Ends { slot, ..self.ends }, expected, turns: LOGGED_SLOTS, ..self }
    }

    const fn many(self) -> Self {
        let packets = Packets::Random { peers: MANY_FLOWS, slots: MANY_SLOTS, ports: false };
        let slot = if matches!(self.ends.family, Family::V4) { MANY } else { MANY_V6 };
        Self { ends: Ends { slot, peer: 0, ..self.ends }, packets, contents: MANY_PEERS, ..self }
    }

    /// The same through the classifier of the common shape.
    const fn common(self) -> Self {
        // Whether there are no events of known flows is seen only where others have them.
        let silent = matches!(self.expected, Expected::Counted(_));
        let slot = if silent { COMMON_SILENT } else { COMMON };
        Self { ends: Ends { slot, ..self.ends }, turns: 1, ..self }
    }

    /// Whether it goes through the classifier of the common shape.
    pub(crate) const fn is_common(&self) -> bool {
        self.ends.slot >= COMMON
    }
}

/// All figures, in the order of the table.
pub(crate) fn all() -> Vec<Case> {
    use Family::{V4, V6};
    vec![
        Case::known("entry", "an endpoint's entry, calling the empty classifier", V4, OUT).at(EMPTY),
        Case::known("source-check-v4", "pod that no policy selects, IPv4", V4, OUT).at(UNSELECTED),
        Case::known("source-check-v6", "pod that no policy selects, IPv6", V6, OUT).at(UNSELECTED),
        Case::known("established-from-pod-v4", "established, from the pod, IPv4", V4, OUT),
        Case::known("established-from-pod-v6", "established, from the pod, IPv6", V6, OUT),
        Case::known("established-to-pod-v4", "established, to the pod, IPv4", V4, IN),
        Case::known("established-to-pod-v6", "established, to the pod, IPv6", V6, IN),
        Case::known("established-10-peers", "established, 10 peers", V4, IN).over(TEN),
        Case::known("established-100k-peers", "established, 100k peers", V4, IN).over(HUNDRED_THOUSAND),
        Case::known("established-64k-flows-v4", "established, 64k live flows at random, IPv4", V4, IN).many(),
        Case::known("established-64k-flows-v6", "established, 64k live flows at random, IPv6", V6, IN).many(),
        Case::first("first-same", "first packet, the same again, 1k peers", V4, THOUSAND).same(),
        Case::first("first-10-peers", "first packet, 10 peers at random", V4, TEN),
        Case::first("first-1k-peers", "first packet, 1k peers at random", V4, THOUSAND),
        Case::first("first-1k-peers-v6", "first packet, 1k peers at random, IPv6", V6, THOUSAND),
        Case::first("first-100k-peers", "first packet, 100k peers at random", V4, HUNDRED_THOUSAND),
        Case::first("first-100k-peers-v6", "first packet, 100k peers at random, IPv6", V6, HUNDRED_THOUSAND),
        Case::first("first-out-1k-peers", "first packet, from the pod, 1k peers", V4, THOUSAND).out(),
        Case::first("first-udp", "first packet, UDP, 1k peers", V4, THOUSAND).at(DATAGRAMS).of(Kind::Udp),
        Case::first("first-chunked", "first packet, port set of many ranges, 1k peers", V4, THOUSAND)
            .at(CHUNKED),
        Case::first("first-10-cidrs", "first packet, 10 CIDRs at random", V4, TEN).in_blocks(),
        Case::first("first-1k-cidrs", "first packet, 1k CIDRs at random", V4, THOUSAND).in_blocks(),
        Case::first("first-10k-cidrs", "first packet, 10k CIDRs at random", V4, HUNDRED_THOUSAND).in_blocks(),
        Case::first("first-10k-cidrs-v6", "first packet, 10k CIDRs at random, IPv6", V6, HUNDRED_THOUSAND)
            .in_blocks(),
        Case::first("first-1-policy", "first packet, 1 policy, 1k peers", V4, ONE_POLICY),
        Case::first("first-1k-policies", "first packet, 1k policies, 1k peers", V4, THOUSAND_POLICIES),
        Case::first("first-logged", "first packet, an event for each, 1k peers", V4, THOUSAND)
            .logged(LOGGED, Reason::Policy),
        Case::first("first-logged-100k", "first packet, an event for each, 100k peers", V4, HUNDRED_THOUSAND)
            .logged(LOGGED, Reason::Policy),
        Case::first("denied-same", "denied, the same again, events limited", V4, THOUSAND).denied().same(),
        Case::first("denied-1k-peers", "denied, 1k peers, events limited", V4, THOUSAND).denied(),
        Case::first("denied-100k-peers", "denied, 100k peers, events limited", V4, HUNDRED_THOUSAND).denied(),
        Case::first("denied-logged", "denied, an event for each, 1k peers", V4, THOUSAND)
            .denied()
            .logged(DENIED_LOGGED, Reason::PolicyDenied),
        Case::known("common-established", "the common shape: established", V4, IN).common(),
        Case::known(
            "common-established-64k",
            "the common shape: established, 64k live flows at random",
            V4,
            IN,
        )
        .many()
        .common(),
        Case::first("common-first", "the common shape: first packet, 1k peers", V4, THOUSAND).common(),
        Case::first(
            "common-first-logged",
            "the common shape: first packet, an event for each, 1k peers",
            V4,
            THOUSAND,
        )
        .logged(LOGGED, Reason::Policy)
        .common(),
        Case::first(
            "common-first-logged-100k",
            "the common shape: first packet, an event for each, 100k peers",
            V4,
            HUNDRED_THOUSAND,
        )
        .logged(LOGGED, Reason::Policy)
        .common(),
        Case::first("common-denied", "the common shape: denied, no events, 1k peers", V4, THOUSAND)
            .denied()
            .common(),
        Case::first(
            "common-denied-logged",
            "the common shape: denied, an event for each, 1k peers",
            V4,
            THOUSAND,
        )
        .denied()
        .logged(DENIED_LOGGED, Reason::PolicyDenied)
        .common(),
    ]
}

/// Two figures beside each other, each without what the empty classifier costs; beside that one alone, as it is.
#[derive(Clone, Copy)]
pub(crate) struct Comparison {
    pub(crate) goal: Goal,
    /// The name of the one.
    pub(crate) this: &'static str,
    /// The name of the other.
    pub(crate) that: &'static str,
}

/// All comparisons.
pub(crate) const COMPARISONS: [Comparison; 18] = {
    use Bound::{AtMost, None, Within};
    const fn compare(
        line: &'static str,
        name: &'static str,
        what: &'static str,
        (this, that): (&'static str, &'static str),
        must: Bound,
        moonshot: Bound,
    ) -> Comparison {
        let goal = Goal::told(name, what, "").of(line).must(must).moonshot(moonshot);
        Comparison { goal, this, that }
    }
    [
        compare(
            "M1",
            "m1-hot",
            "established, hot: ours / the common shape",
            ("established-to-pod-v4", "common-established"),
            AtMost(0.35),
            AtMost(0.25),
        ),
        compare(
            "M1",
            "m1-64k",
            "established, over 64k live flows: ours / the common shape",
            ("established-64k-flows-v4", "common-established-64k"),
            AtMost(0.7),
            AtMost(0.6),
        ),
        compare(
            "M1",
            "m1-v6",
            "established, to the pod: IPv6 / IPv4",
            ("established-to-pod-v6", "established-to-pod-v4"),
            AtMost(1.25),
            AtMost(1.1),
        ),
        compare(
            "M1",
            "m1-v6-from",
            "established, from the pod: IPv6 / IPv4",
            ("established-from-pod-v6", "established-from-pod-v4"),
            AtMost(1.25),
            AtMost(1.1),
        ),
        compare(
            "M2",
            "m2-1k",
            "first packet, an event each, 1k peers: ours / the common shape",
            ("first-logged", "common-first-logged"),
            AtMost(0.6),
            AtMost(0.35),
        ),
        compare(
            "M2",
            "m2-100k",
            "first packet, an event each, 100k peers: ours / the common shape",
            ("first-logged-100k", "common-first-logged-100k"),
            AtMost(0.35),
            AtMost(0.2),
        ),
        compare(
            "M2",
            "m2-silent",
            "first packet, no events, 1k peers: ours / the common shape",
            ("first-1k-peers", "common-first"),
            None,
            None,
        ),
        compare(
            "M3",
            "m3-silent",
            "denied, no events: ours / the common shape",
            ("denied-1k-peers", "common-denied"),
            AtMost(0.3),
            AtMost(0.22),
        ),
        compare(
            "M3",
            "m3-logged",
            "denied, an event each: ours / the common shape",
            ("denied-logged", "common-denied-logged"),
            AtMost(0.5),
            AtMost(0.38),
        ),
        compare(
            "M4",
            "m4-peers",
            "first packet: 100k peers / 10",
            ("first-100k-peers", "first-10-peers"),
            AtMost(1.5),
            AtMost(1.2),
        ),
        compare(
            "M4",
            "m4-policies",
            "first packet: 1k policies / 1",
            ("first-1k-policies", "first-1-policy"),
            AtMost(1.05),
            AtMost(1.0),
        ),
        compare(
            "M4",
            "m4-cidrs",
            "first packet: 10k CIDRs / 10",
            ("first-10k-cidrs", "first-10-cidrs"),
            AtMost(3.0),
            AtMost(1.5),
        ),
        compare(
            "M4",
            "m4-established",
            "established: 100k peers / 10",
            ("established-100k-peers", "established-10-peers"),
            Within(0.95, 1.05),
            Within(0.995, 1.005),
        ),
        compare(
            "M9",
            "m9-v4",
            "pod that no policy selects, beside one that is isolated, IPv4: times empty",
            ("source-check-v4", ALONE),
            AtMost(1.2),
            AtMost(1.2),
        ),
        compare(
            "M9",
            "m9-v6",
            "pod that no policy selects, beside one that is isolated, IPv6: times empty",
            ("source-check-v6", ALONE),
            AtMost(1.2),
            AtMost(1.2),
        ),
        compare(
            "",
            "established-many-one",
            "established: 64k flows / one",
            ("established-64k-flows-v4", "established-to-pod-v4"),
            None,
            None,
        ),
        compare(
            "",
            "first-v6-v4",
            "first packet: IPv6 / IPv4",
            ("first-1k-peers-v6", "first-1k-peers"),
            None,
            None,
        ),
        compare(
            "",
            "first-logged-silent",
            "first packet: an event each / none",
            ("first-logged", "first-1k-peers"),
            None,
            None,
        ),
    ]
};

/// The name that stands for the empty classifier alone.
pub(crate) const ALONE: &str = "empty";
