use super::*;
use crate::control::protocol::{Cause, Nearest, PolicyPart};

fn pod(name: &str, address: &str, port: u16) -> End {
    End {
        kind: EndKind::Pod,
        name: name.to_owned(),
        address: address.to_owned(),
        port: Some(port),
        labels: [("app".to_owned(), name.rsplit('/').next().unwrap().to_owned())].into(),
    }
}

/// A denial: from the pod `n/a`, port 4000, to `n/b`, port 80, at noon.
pub(crate) fn denied() -> Verdict {
    Verdict {
        time: "2026-01-01T12:00:00.123Z".parse().unwrap(),
        verdict: Outcome::Dropped,
        reason: "policy-denied".to_owned(),
        direction: "ingress".to_owned(),
        endpoint: "n/b".to_owned(),
        protocol: "TCP".to_owned(),
        source: pod("n/a", "10.0.0.1", 4000),
        destination: pod("n/b", "fd00::2", 80),
        count: 1,
        first: None,
        at_least: false,
        allowed_by: Vec::new(),
        isolated_by: vec!["n/deny".to_owned()],
        nearest: Vec::new(),
        closed: false,
        changed_since: false,
        backends: Vec::new(),
        reply: false,
        tcp_flags: "S".to_owned(),
        icmp: String::new(),
        length: 60,
        slot: 16,
        revision: 1,
    }
}

fn allowed() -> Verdict {
    let part = PolicyPart { policy: "n/allow".to_owned(), number: 1, rule: "spec.ingress[0]".to_owned() };
    Verdict {
        verdict: Outcome::Allowed,
        reason: "policy".to_owned(),
        isolated_by: Vec::new(),
        allowed_by: vec![part],
        ..denied()
    }
}

/// Every field says something.
pub(crate) fn everything() -> Verdict {
    Verdict {
        count: 12,
        first: Some("2026-01-01T11:59:50Z".parse().unwrap()),
        at_least: true,
        nearest: vec![Nearest {
            policy: "n/deny".to_owned(),
            number: Some(2),
            rule: "spec.ingress[1].ports".to_owned(),
            miss: "port".to_owned(),
            text: "rule 2 of n/deny matches the peer, not the port: 8080/TCP allowed, 80/TCP asked"
                .to_owned(),
        }],
        closed: true,
        changed_since: true,
        backends: vec!["n/b (10.0.0.2:80)".to_owned()],
        reply: true,
        icmp: "echo-request".to_owned(),
        ..Verdict { allowed_by: allowed().allowed_by, ..denied() }
    }
}

fn gap() -> Gap {
    Gap {
        time: "2026-01-01T12:00:01Z".parse().unwrap(),
        since: "2026-01-01T12:00:00Z".parse().unwrap(),
        cause: Cause::RateLimit,
        count: 744,
        endpoint: "n/b".to_owned(),
    }
}

/// The line of a verdict, without titles.
fn line(verdict: &Verdict, wide: bool) -> String {
    let text = Lines::new(wide, false).verdict(None, verdict);
    text.split_once('\n').unwrap().1.to_owned()
}

#[test]
fn columns_name_both_ends_and_who_isolates() {
    assert_eq!(
        Lines::new(false, false).verdict(None, &denied()),
        "\
TIME (UTC)          VERDICT  DIR      PROTO   SOURCE                    DESTINATION               WHY
01-01 12:00:00.123  DROPPED  ingress  TCP S   n/a:4000                  n/b:80                    policy-denied, isolated by n/deny
"
    );
}

#[test]
fn columns_name_the_rule_that_allowed_as_people_count() {
    assert!(line(&allowed(), false).ends_with("policy, allowed by rule 1 of n/allow\n"));
}

#[test]
fn wide_lines_say_all_there_is_to_say() {
    let text = line(&everything(), true);
    for part in [
        "2026-01-01T12:00:00.123Z",
        "n/a (10.0.0.1:4000)",
        "n/b ([fd00::2]:80)",
        "policy-denied: The endpoint is isolated and no rule allows it.",
        "    isolated by n/deny\n",
        "    rule 2 of n/deny matches the peer, not the port: 8080/TCP allowed, 80/TCP asked\n",
        "    allowed by rule 1 of n/allow (spec.ingress[0])\n",
        "    judged by the backends n/b (10.0.0.2:80)\n",
        "    closed:",
        "has changed since",
        "    a reply of its flow\n",
        "    at least 12 packets since 2026-01-01T11:59:50.000Z\n",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[test]
fn repeated_denials_are_counted_in_their_line() {
    let mut verdict = denied();
    assert!(!line(&verdict, false).contains("x1"));
    verdict.count = 12;
    assert!(line(&verdict, false).ends_with("isolated by n/deny, x12\n"));
    verdict.at_least = true;
    assert!(line(&verdict, false).ends_with("isolated by n/deny, x12+\n"));
}

#[test]
fn other_ends_have_names_too() {
    let mut verdict = denied();
    let end = |kind, name: &str| End { kind, name: name.to_owned(), ..pod("", "192.0.2.1", 53) };
    for (end, text) in [
        (end(EndKind::World, ""), "world 192.0.2.1:53 "),
        (end(EndKind::Node, "n1"), "node/n1:53 "),
        (end(EndKind::Service, "n/s"), "svc/n/s:53 "),
        (End { port: None, ..end(EndKind::Pod, "n/p") }, "n/p "),
    ] {
        verdict.source = end;
        assert!(line(&verdict, false).contains(text), "{}", line(&verdict, false));
    }
}

#[test]
fn columns_stay_as_wide_as_they_have_been_and_a_very_long_name_breaks_none() {
    let mut lines = Lines::new(false, false);
    let mut verdict = denied();
    verdict.source.name = "namespace/a-pod-with-a-long-name".to_owned();
    let first = lines.verdict(None, &verdict);
    let column = |text: &str| text.lines().last().unwrap().find("n/b:80").unwrap();
    verdict.source.name = "n/a".to_owned();
    assert_eq!(column(&first), column(&lines.verdict(None, &verdict)));
    verdict.source.name = "x".repeat(300);
    let _wide = lines.verdict(None, &verdict);
    verdict.source.name = "n/a".to_owned();
    assert!(column(&lines.verdict(None, &verdict)) < 120);
}

#[test]
fn the_titles_stand_there_once() {
    let mut lines = Lines::new(false, false);
    assert_eq!(lines.verdict(None, &denied()).lines().count(), 2);
    assert_eq!(lines.verdict(None, &denied()).lines().count(), 1);
}

#[test]
fn colours_are_only_where_they_are_asked_for_and_change_no_letter() {
    for (verdict, colour) in [(denied(), "\u{1b}[31m"), (allowed(), "\u{1b}[32m")] {
        for wide in [false, true] {
            let plain = Lines::new(wide, false).verdict(None, &verdict);
            let painted = Lines::new(wide, true).verdict(None, &verdict);
            assert!(!plain.contains('\u{1b}') && painted.contains(colour), "{painted:?}");
            let mut stripped = String::new();
            for part in painted.split('\u{1b}') {
                stripped.push_str(
                    part.split_once('m').filter(|(code, _)| code.starts_with('[')).map_or(part, |s| s.1),
                );
            }
            assert_eq!(stripped, plain);
        }
    }
}

#[test]
fn a_gap_says_how_many_of_what_and_what_to_do() {
    assert_eq!(
        Lines::new(false, false).gap(None, &gap()),
        "-- 744 verdicts of n/b are missing here: between 01-01 12:00:00.000 and 01-01 12:00:01.000 they were more than a \
         pod may report in a second (`netpol status` counts them all)\n"
    );
}

#[test]
fn where_several_are_asked_each_line_says_the_node() {
    let mut lines = Lines::new(false, false);
    let text = lines.verdict(Some("a-node-of-long-name"), &denied());
    let (titles, line) = text.split_once('\n').unwrap();
    assert!(titles.starts_with("TIME (UTC)          NODE"), "{text}");
    let place = line.find("a-node-of-long-name").unwrap();
    assert!(line.contains("a-node-of-long-name  DROPPED"), "{text}");
    assert_eq!(lines.verdict(Some("n1"), &denied()).find("n1"), Some(place));
    assert!(lines.gap(Some("n1"), &gap()).starts_with("-- n1: 744 verdicts of n/b are missing"));
}

#[test]
fn hostile_names_forge_no_line_and_move_no_cursor_in_any_form() {
    const HOSTILE: &str = "n/a\n12:00 ALLOWED\u{1b}[31m\u{202e}\u{9b}2J\u{7f}\r";
    let mut verdict = everything();
    verdict.source.name = HOSTILE.to_owned();
    verdict.endpoint = HOSTILE.to_owned();
    verdict.isolated_by = vec![HOSTILE.to_owned()];
    verdict.nearest[0].text = HOSTILE.to_owned();
    verdict.allowed_by[0].policy = HOSTILE.to_owned();
    verdict.backends = vec![HOSTILE.to_owned()];
    verdict.reason = HOSTILE.to_owned();
    let missing = Gap { endpoint: HOSTILE.to_owned(), ..gap() };
    let mut all = vec![Lines::new(false, false).gap(None, &missing)];
    all.push(crate::text::escape_json(&serde_json::to_string(&verdict).unwrap()).into_owned());
    all.push(crate::text::escape_json(&serde_json::to_string(&missing).unwrap()).into_owned());
    for wide in [false, true] {
        let text = line(&verdict, wide);
        assert!(text.lines().skip(1).all(|line| line.starts_with("    ")), "{text}");
        all.push(text);
    }
    for text in all {
        assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{9b}', '\u{7f}', '\r']), "{text:?}");
        assert!(!text.contains("\n12:00"), "{text:?}");
    }
}
