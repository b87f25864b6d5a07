//! A verdict as a line of text.

use std::fmt::Write as _;

use crate::{
    control::protocol::{End, EndKind, Outcome, Verdict},
    text::escape,
};

/// One line without its end, such as
/// `12:00:00.123 DROPPED ingress TCP production/debug (10.1.0.9:40000) -> production/api (10.1.0.5:8080): policy-denied, ...`.
#[must_use]
pub fn render(verdict: &Verdict) -> String {
    let mut line = String::new();
    let outcome = match verdict.verdict {
        Outcome::Allowed => "ALLOWED",
        Outcome::Dropped => "DROPPED",
    };
    let _ = write!(line, "{} {outcome} {} {}", verdict.time, verdict.direction, verdict.protocol);
    if let Some((kind, code)) = verdict.icmp {
        let _ = write!(line, " {kind}/{code}");
    }
    if !verdict.tcp_flags.is_empty() {
        let _ = write!(line, " [{}]", verdict.tcp_flags);
    }
    let _ = write!(line, " {} -> {}: {}", end(&verdict.source), end(&verdict.destination), verdict.reason);
    if !verdict.backends.is_empty() {
        let _ = write!(line, ", backends {}", verdict.backends.join(" "));
    }
    if !verdict.allowed_by.is_empty() {
        let parts: Vec<String> =
            verdict.allowed_by.iter().map(|p| format!("{} {}", p.policy, p.rule)).collect();
        let _ = write!(line, ", allowed by {}", parts.join(" and "));
    }
    if !verdict.isolated_by.is_empty() {
        let _ = write!(line, ", isolated by {}", verdict.isolated_by.join(" and "));
    }
    if !verdict.nearest.is_empty() {
        let _ = write!(line, " [{}]", verdict.nearest.join("; "));
    }
    if verdict.reply {
        line.push_str(" (reply)");
    }
    escape(&line).into_owned()
}

fn end(end: &End) -> String {
    let place = match (end.port, end.address.contains(':')) {
        (Some(port), true) => format!("[{}]:{port}", end.address),
        (Some(port), false) => format!("{}:{port}", end.address),
        (None, _) => end.address.clone(),
    };
    match end.kind {
        EndKind::Pod => format!("{} ({place})", end.name),
        EndKind::Service => format!("service/{} ({place})", end.name),
        EndKind::Node => format!("node/{} ({place})", end.name),
        EndKind::World => format!("world ({place})"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::PolicyPart;

    fn verdict() -> Verdict {
        let pod = |name: &str, address: &str, port| End {
            kind: EndKind::Pod,
            name: name.to_owned(),
            address: address.to_owned(),
            port: Some(port),
        };
        Verdict {
            time: "2026-01-01T12:00:00.123Z".to_owned(),
            verdict: Outcome::Dropped,
            reason: "policy-denied".to_owned(),
            direction: "ingress".to_owned(),
            endpoint: "n/b".to_owned(),
            protocol: "TCP".to_owned(),
            source: pod("n/a", "10.0.0.1", 4000),
            destination: pod("n/b", "fd00::2", 80),
            allowed_by: Vec::new(),
            isolated_by: vec!["n/deny".to_owned()],
            nearest: Vec::new(),
            backends: Vec::new(),
            reply: false,
            tcp_flags: "S".to_owned(),
            icmp: None,
            length: 60,
            slot: 16,
            revision: 1,
        }
    }

    #[test]
    fn a_line_names_both_ends_and_who_isolates() {
        assert_eq!(
            render(&verdict()),
            "2026-01-01T12:00:00.123Z DROPPED ingress TCP [S] n/a (10.0.0.1:4000) -> n/b ([fd00::2]:80): policy-denied, isolated by n/deny"
        );
    }

    #[test]
    fn a_line_names_the_rule_that_allowed() {
        let mut verdict = verdict();
        verdict.verdict = Outcome::Allowed;
        verdict.reason = "policy".to_owned();
        verdict.isolated_by.clear();
        verdict
            .allowed_by
            .push(PolicyPart { policy: "n/allow".to_owned(), rule: "spec.ingress[0]".to_owned() });
        assert!(render(&verdict).ends_with("policy, allowed by n/allow spec.ingress[0]"));
    }

    #[test]
    fn a_hostile_name_cannot_forge_a_line() {
        let mut verdict = verdict();
        verdict.source.name = "n/a\n12:00 ALLOWED\u{1b}[31m".to_owned();
        assert!(!render(&verdict).contains(['\n', '\u{1b}']));
    }
}
