//! What would become of a flow: from the objects, for a running agent and for a folder; and, where an agent runs, what
//! the first packet of it meets in the kernel's tables.

mod text;

use anyhow::Context as _;
use netpol_common::packet;
use netpol_policy::{
    model::Protocol,
    spec::{Cluster, Payload},
    why::{self, End, FlowExplanation, Outcome},
};
use serde_json::{Value, json};

use crate::control::protocol::{Explanation, LivePath, MatrixQuestion, Question};

/// What the live tables say of each address of a flow; nothing, where no agent runs.
pub type Live<'a> = dyn Fn(&FlowExplanation) -> Vec<LivePath> + 'a;

/// Answers a question.
///
/// # Errors
/// When an end or the port is not written as they are, or an end does not exist.
pub fn answer(
    cluster: &Cluster,
    live: Option<&Live<'_>>,
    question: &Question,
) -> anyhow::Result<Explanation> {
    let question = why::Question {
        source: question.source.parse::<End>()?,
        destination: question.destination.parse::<End>()?,
        payload: payload(&question.port)?,
    };
    let explanation = why::explain(cluster, &question)?;
    let Some(live) = live else {
        return Ok(Explanation {
            passes: explanation.outcome == Outcome::Allowed,
            text: explanation.to_string(),
            explanation: serde_json::to_value(&explanation)?,
        });
    };
    let paths: Vec<Vec<LivePath>> = explanation.flows.iter().map(live).collect();
    with_live(&explanation, &paths)
}

/// What the objects say, with what the live tables say of each flow.
///
/// # Errors
/// When it cannot be written as JSON.
pub fn with_live(explanation: &why::Explanation, paths: &[Vec<LivePath>]) -> anyhow::Result<Explanation> {
    let mut value = serde_json::to_value(explanation)?;
    let allowed = explanation.outcome == Outcome::Allowed;
    let all = || paths.iter().flatten();
    value["liveDiffers"] = Value::Bool(all().any(|path| !path.differences.is_empty()));
    if let Some(flows) = value["flows"].as_array_mut() {
        for (flow, paths) in flows.iter_mut().zip(paths) {
            flow["live"] = serde_json::to_value(paths).context("cannot write what the live tables say")?;
        }
    }
    Ok(Explanation {
        passes: allowed && !all().any(LivePath::is_dropped),
        text: explanation.text(&text::remarks(explanation, paths)),
        explanation: value,
    })
}

/// Answers a question about every pair of a namespace.
///
/// # Errors
/// When the port is not written as one, or there are no pods.
pub fn matrix(
    cluster: &Cluster,
    live: Option<&Live<'_>>,
    question: &MatrixQuestion,
) -> anyhow::Result<Explanation> {
    let port = question.port.as_deref().map(payload).transpose()?;
    let mut differs = |flow: &FlowExplanation| {
        live.is_some_and(|live| live(flow).iter().any(|path| !path.differences.is_empty()))
    };
    let matrix = why::matrix(cluster, &question.namespace, port, &mut differs)?;
    let explanation = json!({"matrix": matrix});
    Ok(Explanation { passes: true, text: matrix.to_string(), explanation })
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
