//! Names of what packets carry as numbers: IP protocols, ICMP messages, TCP flags.

use netpol_common::packet::{ICMP, ICMPV6, TCP};

/// By IANA's numbers. What is missing here is written `protocol-253`.
const PROTOCOLS: [(u8, &str); 20] = [
    (1, "ICMP"),
    (2, "IGMP"),
    (4, "IPIP"),
    (6, "TCP"),
    (8, "EGP"),
    (17, "UDP"),
    (33, "DCCP"),
    (41, "IPv6-in-IP"),
    (46, "RSVP"),
    (47, "GRE"),
    (50, "ESP"),
    (51, "AH"),
    (58, "ICMPv6"),
    (89, "OSPF"),
    (94, "IP-in-IP"),
    (103, "PIM"),
    (108, "IPComp"),
    (112, "VRRP"),
    (132, "SCTP"),
    (136, "UDPLite"),
];
const UNNAMED: &str = "protocol-";

/// An IP protocol's name.
#[must_use]
pub fn protocol_name(number: u8) -> String {
    PROTOCOLS
        .iter()
        .find(|(n, _)| *n == number)
        .map_or_else(|| format!("{UNNAMED}{number}"), |(_, name)| (*name).to_owned())
}

/// The protocol that a name, in whatever case, or a number stands for.
#[must_use]
pub fn protocol_number(text: &str) -> Option<u8> {
    let named = PROTOCOLS.iter().find(|(_, name)| name.eq_ignore_ascii_case(text)).map(|(number, _)| *number);
    named.or_else(|| text.strip_prefix(UNNAMED).unwrap_or(text).parse().ok())
}

/// The names that protocols may be asked for by.
pub fn protocol_names() -> impl Iterator<Item = &'static str> {
    PROTOCOLS.iter().map(|(_, name)| *name)
}

/// What an ICMP message is; empty for other protocols.
#[must_use]
pub fn icmp_name(protocol: u8, kind: u8, code: u8) -> String {
    let name = match (protocol, kind) {
        (ICMP, 0) | (ICMPV6, 129) => "echo-reply",
        (ICMP, 8) | (ICMPV6, 128) => "echo-request",
        (ICMP, 3) => match code {
            1 => "host-unreachable",
            3 => "port-unreachable",
            4 => "fragmentation-needed",
            9 | 10 | 13 => "prohibited",
            _ => "unreachable",
        },
        (ICMPV6, 1) => match code {
            1 => "prohibited",
            4 => "port-unreachable",
            _ => "unreachable",
        },
        (ICMP, 5) | (ICMPV6, 137) => "redirect",
        (ICMP, 11) | (ICMPV6, 3) => "time-exceeded",
        (ICMP, 12) | (ICMPV6, 4) => "parameter-problem",
        (ICMP, 13) => "timestamp-request",
        (ICMP, 14) => "timestamp-reply",
        (ICMPV6, 2) => "packet-too-big",
        (ICMPV6, 130..=132 | 143) => "multicast-listener",
        (ICMP, 9) | (ICMPV6, 134) => "router-advertisement",
        (ICMP, 10) | (ICMPV6, 133) => "router-solicitation",
        (ICMPV6, 135) => "neighbour-solicitation",
        (ICMPV6, 136) => "neighbour-advertisement",
        (ICMP | ICMPV6, _) => return format!("type-{kind}-code-{code}"),
        _ => "",
    };
    name.to_owned()
}

/// TCP's flags as letters: FIN, SYN, RST, PSH, ACK, URG, ECE, CWR. Empty for other protocols.
#[must_use]
pub fn flag_letters(protocol: u8, flags: u8) -> String {
    if protocol != TCP {
        return String::new();
    }
    "FSRPAUEC"
        .chars()
        .enumerate()
        .filter(|(bit, _)| flags >> bit & 1 != 0)
        .map(|(_, letter)| letter)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_protocol_can_be_asked_for_by_the_name_it_is_shown_under() {
        for number in 0..=255 {
            assert_eq!(protocol_number(&protocol_name(number)), Some(number));
            assert_eq!(protocol_number(&number.to_string()), Some(number));
        }
        assert_eq!(protocol_number("udp"), Some(17));
        assert_eq!(protocol_number("tpc"), None);
        assert_eq!(protocol_number("256"), None);
    }

    #[test]
    fn icmp_messages_and_flags_have_names() {
        assert_eq!(icmp_name(ICMP, 8, 0), "echo-request");
        assert_eq!(icmp_name(ICMPV6, 128, 0), "echo-request");
        assert_eq!(icmp_name(ICMP, 200, 7), "type-200-code-7");
        assert_eq!(icmp_name(TCP, 8, 0), "");
        assert_eq!((flag_letters(TCP, 0x12), flag_letters(17, 0x12)), ("SA".to_owned(), String::new()));
    }
}
