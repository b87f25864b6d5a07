//! The kernel's own conntrack: every connection that the node routes, translates or makes, while any rule of
//! netfilter there asks for states.

use std::{io, net::IpAddr};

use netlink_packet_core::Nla as _;
use netlink_packet_netfilter::{
    NetfilterHeader, NetfilterMessage, NetfilterMessageInner, NetfilterProtoFamily,
    conntrack::{
        ConntrackAttribute, ConntrackMessage, IPTuple, ProtoInfo, ProtoInfoTCP, ProtoTuple, Status,
        Tuple as TuplePart,
    },
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use netpol_common::packet::{ICMP, ICMPV6, SCTP, TCP, UDP};

use super::{
    connection::{Connection, Tuple},
    netlink::dump,
};

/// `CTA_PROTO_ICMP_ID`, `CTA_PROTO_ICMP_TYPE` and their like for ICMPv6, of the kernel's nfnetlink_conntrack.h.
const ICMP_ID: u16 = 4;
const ICMP_TYPE: u16 = 5;
const ICMPV6_ID: u16 = 7;
const ICMPV6_TYPE: u16 = 8;

/// Types of ICMP that ask: echo and timestamp; as in the classifiers' parser.
const QUERIES: [u8; 2] = [8, 13];
/// Of ICMPv6: echo.
const QUERIES_V6: [u8; 1] = [128];

/// `enum tcp_conntrack`: from `LAST_ACK` to `CLOSE` both ends have closed, or one has reset.
const BOTH_CLOSED: std::ops::RangeInclusive<u8> = 6..=8;

/// Reads the whole table; says how many entries it has.
pub(super) fn connections(each: &mut dyn FnMut(Connection)) -> io::Result<usize> {
    let mut entries = 0;
    // Both families at once: for each question the kernel walks all of its table, which takes milliseconds also when it is
    // empty.
    let header = NetfilterHeader::new(NetfilterProtoFamily::Unspec, 0, 0);
    let request = NetfilterMessage::new(header, ConntrackMessage::Get(Vec::new()));
    dump(NETLINK_NETFILTER, request, &mut |message| {
        if let NetfilterMessageInner::Conntrack(ConntrackMessage::New(attributes)) = message.inner {
            entries += 1;
            connection(&attributes).into_iter().for_each(&mut *each);
        }
    })?;
    Ok(entries)
}

/// One entry; `None` for what has no flow among ours, such as ICMP that does not ask.
pub(super) fn connection(attributes: &[ConntrackAttribute]) -> Option<Connection> {
    let (mut original, mut reply, mut answered, mut closing) = (None, None, false, false);
    for attribute in attributes {
        match attribute {
            ConntrackAttribute::CtaTupleOrig(parts) => original = Some(tuple(parts)?),
            ConntrackAttribute::CtaTupleReply(parts) => reply = Some(tuple(parts)?),
            ConntrackAttribute::CtaStatus(status) => answered = status.contains(Status::SeenReply),
            ConntrackAttribute::CtaProtoInfo(infos) => {
                closing = infos.iter().any(|info| {
                    let ProtoInfo::TCP(parts) = info else { return false };
                    parts
                        .iter()
                        .any(|part| matches!(part, ProtoInfoTCP::State(state) if BOTH_CLOSED.contains(state)))
                });
            }
            _ => {}
        }
    }
    let ((proto, mut original, asks), (_, mut reply, _)) = (original?, reply?);
    if proto == ICMP || proto == ICMPV6 {
        if !asks {
            return None;
        }
        // An identifier is the sender's port of the question, and so the receiver's of the answer.
        (original.dst_port, reply.src_port, reply.dst_port) = (0, 0, reply.src_port);
    }
    Some(Connection { proto, original, reply, answered, closing })
}

/// A tuple, its protocol, and whether it is a question of ICMP.
fn tuple(parts: &[TuplePart]) -> Option<(u8, Tuple, bool)> {
    let (mut src, mut dst) = (None::<IpAddr>, None::<IpAddr>);
    let (mut proto, mut src_port, mut dst_port, mut asks) = (None, 0, 0, false);
    for part in parts {
        match part {
            TuplePart::Ip(parts) => {
                for part in parts {
                    match part {
                        IPTuple::SourceAddress(address) => src = Some(*address),
                        IPTuple::DestinationAddress(address) => dst = Some(*address),
                        _ => {}
                    }
                }
            }
            TuplePart::Proto(parts) => {
                for part in parts {
                    match part {
                        ProtoTuple::Protocol(number) => proto = Some(u8::from(*number)),
                        ProtoTuple::SourcePort(port) => src_port = *port,
                        ProtoTuple::DestinationPort(port) => dst_port = *port,
                        ProtoTuple::Other(attribute) => {
                            let mut bytes = vec![0; attribute.value_len()];
                            attribute.emit_value(&mut bytes);
                            match (attribute.kind(), bytes.as_slice()) {
                                (ICMP_ID | ICMPV6_ID, [high, low]) => {
                                    src_port = u16::from_be_bytes([*high, *low]);
                                }
                                (ICMP_TYPE, [kind]) => asks = QUERIES.contains(kind),
                                (ICMPV6_TYPE, [kind]) => asks = QUERIES_V6.contains(kind),
                                _ => {}
                            }
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    let proto = proto?;
    // Other protocols have no ports among ours, whatever conntrack tells them apart by.
    if !matches!(proto, TCP | UDP | SCTP | ICMP | ICMPV6) {
        (src_port, dst_port) = (0, 0);
    }
    Some((proto, Tuple { src: src?.into(), dst: dst?.into(), src_port, dst_port }, asks))
}
