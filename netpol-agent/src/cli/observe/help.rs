//! What `netpol observe --help` and `--reasons` say of verdicts.

use std::fmt::Write as _;

use netpol_common::Reason;

use crate::text::Columns;

/// Below the flags.
pub(in crate::cli) const SHORT: &str = "\
A filter may be repeated: values of one flag are alternatives, different flags must all be met. --help says more, also what \
the fields of JSON are.";

const FIELDS: [(&str, &str); 29] = [
    ("type", "verdict; gap where verdicts are missing"),
    ("node", "whose agent says so, with `kubectl netpol`"),
    ("time", "RFC 3339, UTC; of repeated denials the last"),
    ("verdict", "allowed, dropped"),
    ("reason", "why, by a stable name of the list below"),
    ("direction", "ingress (into the pod that judged), egress"),
    ("endpoint", "the pod that judged, NAMESPACE/NAME; its interface while the pod is not known"),
    ("protocol", "TCP, UDP, SCTP, ICMP, ICMPv6, another name, protocol-253"),
    ("source, destination", "the ends: of the packet, also where it carries a forged address"),
    ("  .kind", "pod, service, node, world"),
    ("  .name", "NAMESPACE/NAME of a pod or Service, a node's name"),
    ("  .address, .port", "as the packet has them; no port where the protocol has none"),
    ("  .labels", "a pod's labels at that time"),
    ("count", "packets of this flow that were denied; 1 for what was allowed"),
    ("first", "when the first of them was, if there are several"),
    ("atLeast", "true: there may have been more, as a gap says"),
    ("allowedBy", "rules that allowed: .policy, .number from 1, .rule as a path such as spec.ingress[0]"),
    ("isolatedBy", "of what policies denied: those that isolate the pod"),
    (
        "nearest",
        "how near each came: .policy, .number, .rule, .miss (port, peer, peer-and-port, void), .text",
    ),
    ("closed", "true: nothing is known of the endpoint's pod, or its policies found no room"),
    ("changedSince", "true: a policy, label or address has changed since; which rule decided is not known"),
    ("backends", "of a flow to a Service: what it was judged by, ADDRESS:PORT with the pod's name"),
    ("reply", "true: the packet is a reply of its flow"),
    ("tcpFlags", "letters: FIN, SYN, RST, PSH, ACK, URG, ECE, CWR"),
    ("icmp", "what the message is, such as echo-request"),
    ("length", "bytes of the packet"),
    ("slot, revision", "of the endpoint: its number in `netpol status`; what changes with its policies"),
    (
        "gap: cause",
        "ring-full, rate-limit (more denials than a pod may report in a second), slow-reader, agent-ended (before it told of them)",
    ),
    (
        "gap: count, since, time",
        "how many verdicts are missing, exactly, and of when; .endpoint if of one pod only",
    ),
];

/// All of it.
pub(in crate::cli) fn long() -> String {
    let mut text = String::from(
        "\
A filter may be repeated: values of one flag are alternatives, different flags must all be met.
  --from production/ --to-port 80 --to-port 443    # from pods of production, to either port
--not FLAG=VALUE takes away what that flag would show; it may be repeated, and none of them may be met.
  --not protocol=udp --not to=world    # no UDP, and nothing to the outside

An END is NAMESPACE/NAME of a pod, NAMESPACE/ for its pods and Services, a label as KEY=VALUE or NAMESPACE/KEY=VALUE, \
svc/NAMESPACE/NAME, node, node/NAME, world, an address or a CIDR. A name without a namespace is of `default`.

Allowed packets are told of once for each flow, dropped ones up to a rate for each pod. What is beyond it, or found no room, \
is told of as a gap, with its exact number. Denials that repeat, of one protocol with the same addresses and ports at both \
ends, are one verdict: x12 says how many there were, x12+ that there may have been more.

Fields of JSON (-o json, or where the output is no terminal); those that say nothing are left out:
",
    );
    for (name, meaning) in FIELDS {
        let _ = writeln!(text, "  {name:<24} {meaning}");
    }
    text.push_str("\nReasons:\n");
    for line in reasons().lines() {
        let _ = writeln!(text, "  {line}");
    }
    text
}

/// What each reason means.
pub(in crate::cli) fn reasons() -> String {
    let mut table = Columns::new(&["REASON", "VERDICT", "MEANING"]);
    for reason in Reason::ALL {
        let verdict = if reason.is_drop() { "dropped" } else { "allowed" };
        table.row([reason.name(), verdict, reason.text()]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_and_every_field_is_explained() {
        let text = long();
        for reason in Reason::ALL {
            assert!(text.contains(reason.name()) && reason.text().ends_with('.'), "{}", reason.name());
        }
        let everything = crate::verdicts::text::tests::everything();
        let fields = serde_json::to_value(&everything).unwrap();
        for name in fields.as_object().unwrap().keys() {
            assert!(FIELDS.iter().any(|(names, _)| names.split(", ").any(|n| n == name)), "{name}");
        }
    }
}
