//! A packet, as far as a decision needs it: what the parser leaves of it.

use crate::addr::Addr;

/// IP protocol numbers that are treated by name.
pub const ICMP: u8 = 1;
/// IGMP.
pub const IGMP: u8 = 2;
/// TCP.
pub const TCP: u8 = 6;
/// UDP.
pub const UDP: u8 = 17;
/// ICMP for IPv6.
pub const ICMPV6: u8 = 58;
/// SCTP.
pub const SCTP: u8 = 132;

/// TCP flag: the sender has closed.
pub const TCP_FIN: u8 = 1;
/// TCP flag: the sender opens.
pub const TCP_SYN: u8 = 2;
/// TCP flag: reset.
pub const TCP_RST: u8 = 4;
/// TCP flag: acknowledges.
pub const TCP_ACK: u8 = 16;

/// A whole packet, or one that has no transport header to look for.
pub const KIND_WHOLE: u8 = 0;
/// The first fragment: holds the transport header.
pub const KIND_FIRST_FRAGMENT: u8 = 1;
/// A later fragment: no ports.
pub const KIND_LATER_FRAGMENT: u8 = 2;

/// An ICMP query (echo, timestamp): `src_port` holds the identifier.
pub const ICMP_QUERY: u8 = 1;
/// The answer to one: `dst_port` holds the identifier.
pub const ICMP_REPLY: u8 = 2;
/// An error: `quoted_*` hold the flow that it speaks of.
pub const ICMP_ERROR: u8 = 3;
/// Any other type: no flow.
pub const ICMP_OTHER: u8 = 4;

/// Link control that always passes: neighbour discovery, MLD, IGMP, DHCP.
pub const LINK_CONTROL: u8 = 1;
/// Link control that speaks for an address: a neighbour advertisement, whose target is in `quoted_src`.
pub const LINK_CONTROL_ADVERTISES: u8 = 2;
/// Link control of a server to its clients: what DHCP answers. Only towards a pod.
pub const LINK_CONTROL_SERVES: u8 = 3;

/// What the parser found. Always filled in whole; a plain struct of integers, as the verifier likes it.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// Source.
    pub src: Addr,
    /// Destination.
    pub dst: Addr,
    /// Source of the packet that an ICMP error quotes; the target of a neighbour advertisement.
    pub quoted_src: Addr,
    /// Destination of the packet that an ICMP error quotes.
    pub quoted_dst: Addr,
    /// Identification of a fragmented packet.
    pub fragment_id: u32,
    /// The packet's length in bytes.
    pub length: u32,
    /// Host order.
    pub src_port: u16,
    /// Host order.
    pub dst_port: u16,
    /// Host order.
    pub quoted_src_port: u16,
    /// Host order.
    pub quoted_dst_port: u16,
    /// IP protocol number behind all extension headers.
    pub proto: u8,
    /// `KIND_*`.
    pub kind: u8,
    /// TCP flags; 0 for other protocols.
    pub tcp_flags: u8,
    /// `ICMP_*` for ICMP and ICMPv6; 0 for other protocols.
    pub icmp_kind: u8,
    /// ICMP type.
    pub icmp_type: u8,
    /// ICMP code.
    pub icmp_code: u8,
    /// Protocol of the packet that an ICMP error quotes; 0 when it quotes nothing usable.
    pub quoted_proto: u8,
    /// `LINK_CONTROL_*`; 0 for everything else.
    pub link_control: u8,
}

/// Whether TCP's flags (0 for other protocols) are those of a SYN without ACK.
#[inline(always)]
#[must_use]
pub const fn is_syn(tcp_flags: u8) -> bool {
    tcp_flags & (TCP_SYN | TCP_ACK) == TCP_SYN
}

impl Packet {
    /// A SYN without ACK: it opens a connection and is always judged anew.
    #[inline(always)]
    #[must_use]
    pub const fn is_pure_syn(&self) -> bool {
        self.proto == TCP && is_syn(self.tcp_flags)
    }
}
