//! Verdicts, drop reasons and directions: small numbers with fixed meaning, since they cross the border, stand in
//! logs and are counted.

/// A direction in the sense of NetworkPolicy: ingress is into the pod.
///
/// tc sees it the other way round, from the host's end of the veth: a pod's egress arrives at tc ingress.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// Into the pod.
    Ingress = 0,
    /// Out of the pod.
    Egress = 1,
}

impl Direction {
    /// Both, ingress first: the order of every per-direction array.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];

    /// The index of this direction in per-direction arrays.
    #[inline(always)]
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// The other one.
    #[inline(always)]
    #[must_use]
    pub const fn reverse(self) -> Self {
        match self {
            Self::Ingress => Self::Egress,
            Self::Egress => Self::Ingress,
        }
    }

    /// "ingress" or "egress".
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $text:literal])+ $name:ident = $number:literal, $slug:literal;)*) => {
        /// Why a packet was allowed or dropped. Numbers are stable: they are never reused or renumbered.
        #[repr(u8)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum Reason { $($(#[doc = $text])+ $name = $number,)* }

        impl Reason {
            /// Every reason, in the order of its number.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The stable name in logs, metrics and the command line.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $slug,)* }
            }

            /// What it means, in a sentence for people.
            #[must_use]
            pub const fn text(self) -> &'static str {
                match self { $(Self::$name => concat!($($text),+).trim_ascii(),)* }
            }

            /// The reason of that number, if there is one.
            #[must_use]
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

reasons! {
    /// The endpoint is not isolated in the direction of the packet.
    NotIsolated = 0, "not-isolated";
    /// A rule of a policy allows it.
    Policy = 1, "policy";
    /// It belongs to a flow that was allowed.
    Flow = 2, "flow";
    /// The node's own traffic to its pod.
    Node = 3, "node";
    /// The pod reaches itself, possibly through a Service.
    Itself = 4, "itself";
    /// Neighbour discovery, MLD, IGMP, ARP, DHCP: without them there is no network.
    LinkControl = 5, "link-control";
    /// An ICMP error that quotes an allowed flow.
    IcmpError = 6, "icmp-error";
    /// A later fragment of a packet whose first fragment was allowed, or which cannot be delivered without it.
    Fragment = 7, "fragment";
    /// Judged where it arrives: every backend that the sender may not reach is a pod of this node.
    Deferred = 8, "deferred";

    /// The endpoint is isolated and no rule allows it.
    PolicyDenied = 64, "policy-denied";
    /// The flow was allowed once, and the policy that is in force now denies it.
    FlowDenied = 65, "flow-denied";
    /// The backends behind the Service are judged differently, and which one it will be is not known here.
    BackendsDiffer = 66, "backends-differ";
    /// An address of a Service range of which no Service is known (yet).
    UnknownFrontend = 67, "unknown-frontend";
    /// The Service has no backend.
    NoBackend = 68, "no-backend";
    /// The destination's node judged the sender's egress after translation, and denied it.
    SenderDenied = 69, "sender-denied";

    /// The source is not an address of the pod.
    SpoofedSource = 96, "spoofed-source";
    /// A hardware address that is not the pod's.
    SpoofedHardware = 97, "spoofed-hardware";
    /// ARP or neighbour discovery that speaks for somebody else.
    SpoofedNeighbour = 98, "spoofed-neighbour";
    /// An address that cannot be on the wire: loopback, IPv4-mapped IPv6, multicast as a source.
    MartianAddress = 99, "martian-address";
    /// Unicast for another pod, flooded by a bridge; dropped without an event.
    NotForThisPod = 100, "not-for-this-pod";
    /// A router's advertisement or redirect from a pod.
    RouterFromPod = 101, "router-from-pod";
    /// Source routing: IPv4 LSRR and SSRR, an IPv6 routing header with segments left.
    SourceRouted = 102, "source-routed";
    /// A VLAN tag, where tags are not switched on.
    Tagged = 103, "tagged";
    /// An ethertype other than ARP, IPv4 and IPv6.
    UnknownEthertype = 104, "unknown-ethertype";
    /// A header that cannot be parsed: too short, wrong version, impossible length.
    Malformed = 105, "malformed";
    /// More extension headers than are walked.
    TooManyHeaders = 106, "too-many-headers";
    /// A fragment whose offset lies inside the transport header, or a first one too short to hold it.
    FragmentOverlapsHeader = 107, "fragment-overlaps-header";
    /// A later fragment whose first one was dropped, or which nothing could ever complete.
    FragmentDenied = 108, "fragment-denied";

    /// The program does not know its endpoint; closed.
    UnknownEndpoint = 120, "unknown-endpoint";
    /// A table did not hold what another one named; closed.
    TableInconsistent = 121, "table-inconsistent";
}

/// Reasons below this number allow, the others drop.
pub const FIRST_DROP: u8 = 64;

/// Cells that an array indexed by reason needs.
pub const REASONS: usize = 128;

impl Reason {
    /// Whether a packet with this reason is dropped.
    #[inline(always)]
    #[must_use]
    pub const fn is_drop(self) -> bool {
        self as u8 >= FIRST_DROP
    }
}
