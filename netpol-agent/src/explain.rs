//! What would become of a flow, from the objects alone: the same for a running agent and for a folder.

use netpol_common::packet;
use netpol_policy::{
    model::Protocol,
    spec::{Cluster, Payload},
    why::{self, End, Outcome},
};

use crate::control::protocol::{Explanation, Question};

/// Answers a question.
///
/// # Errors
/// When an end or the port is not written as they are, or an end does not exist.
pub fn answer(cluster: &Cluster, question: &Question) -> anyhow::Result<Explanation> {
    let question = why::Question {
        source: question.source.parse::<End>()?,
        destination: question.destination.parse::<End>()?,
        payload: payload(&question.port)?,
    };
    let explanation = why::explain(cluster, &question)?;
    Ok(Explanation {
        passes: explanation.outcome == Outcome::Allowed,
        text: explanation.to_string(),
        explanation: serde_json::to_value(&explanation)?,
    })
}

/// `PORT/PROTOCOL` (TCP without one), `ICMP`, `ICMPv6`, or `proto/NUMBER`.
///
/// # Errors
/// When it is none of these.
pub fn payload(text: &str) -> anyhow::Result<Payload> {
    let wrong = || {
        anyhow::anyhow!(
            "{text:?} is no port: write PORT/TCP, PORT/UDP, PORT/SCTP, ICMP, ICMPv6 or proto/NUMBER"
        )
    };
    let lower = text.to_ascii_lowercase();
    match lower.as_str() {
        "icmp" => return Ok(Payload::Other(packet::ICMP)),
        "icmpv6" => return Ok(Payload::Other(packet::ICMPV6)),
        _ => {}
    }
    let (port, protocol) = lower.split_once('/').unwrap_or((&lower, "tcp"));
    if port == "proto" {
        let number: u8 = protocol.parse().map_err(|_| wrong())?;
        anyhow::ensure!(
            !matches!(number, packet::TCP | packet::UDP | packet::SCTP),
            "protocol {number} has ports: write PORT/TCP, PORT/UDP or PORT/SCTP"
        );
        return Ok(Payload::Other(number));
    }
    let protocol =
        Protocol::ALL.into_iter().find(|p| p.name().eq_ignore_ascii_case(protocol)).ok_or_else(wrong)?;
    Ok(Payload::Port(protocol, port.parse().map_err(|_| wrong())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_has_a_protocol_and_tcp_is_meant_without_one() {
        assert_eq!(payload("8080/TCP").unwrap(), Payload::Port(Protocol::Tcp, 8080));
        assert_eq!(payload("53/udp").unwrap(), Payload::Port(Protocol::Udp, 53));
        assert_eq!(payload("80").unwrap(), Payload::Port(Protocol::Tcp, 80));
        assert_eq!(payload("icmp").unwrap(), Payload::Other(1));
        assert_eq!(payload("proto/47").unwrap(), Payload::Other(47));
        for wrong in ["", "tcp", "80/http", "70000/TCP", "TCP/80", "proto/6", "-1"] {
            assert!(payload(wrong).is_err(), "{wrong}");
        }
    }
}
