//! What the live tables say, in words, beside what the objects say.

use netpol_policy::why::{self, FlowExplanation, Remarks};

use crate::{
    control::protocol::{LivePath, LiveSide, LiveVerdict, Outcome},
    text::escape,
};

/// The words beside an answer: the differences at its top, and below each side what a packet meets there.
pub(super) fn remarks(explanation: &why::Explanation, paths: &[Vec<LivePath>]) -> Remarks {
    let all = || paths.iter().flatten();
    let mut head: Vec<String> = Vec::new();
    for difference in all().flat_map(|path| &path.differences) {
        let line = format!("differs: {}", escape(difference));
        if !head.contains(&line) {
            head.push(line);
        }
    }
    let asked = all().any(|path| path.egress.passes().or(path.ingress.passes()).is_some());
    let outcome = match (asked, head.is_empty()) {
        (false, true) => "",
        (true, true) => " (live: the same)",
        (_, false) => " (live: DIFFERS)",
    };
    let sides = explanation.flows.iter().zip(paths).map(|(flow, paths)| {
        [sides(flow, paths, |path| &path.egress), sides(flow, paths, |path| &path.ingress)]
    });
    Remarks { outcome: outcome.to_owned(), head, sides: sides.collect() }
}

/// A line for one side, or one for each pair of addresses where they differ.
fn sides(flow: &FlowExplanation, paths: &[LivePath], side: fn(&LivePath) -> &LiveSide) -> Vec<String> {
    let mut texts: Vec<(String, Vec<&LivePath>)> = Vec::new();
    for path in paths {
        let Some(text) = side_text(side(path)) else { continue };
        match texts.iter_mut().find(|(known, _)| *known == text) {
            Some((_, of)) => of.push(path),
            None => texts.push((text, vec![path])),
        }
    }
    let several = texts.len() > 1;
    let line = |(text, of): (String, Vec<&LivePath>)| {
        let pair = |path: &&LivePath| match (path.source, path.destination) {
            (Some(source), Some(destination)) => format!("{source} -> {destination}"),
            (one, other) => one.or(other).map_or_else(String::new, |address| address.to_string()),
        };
        let pairs: Vec<String> = of.iter().map(pair).collect();
        let place =
            if several || flow.is_of_world() { format!(" ({})", pairs.join(", ")) } else { String::new() };
        format!("live{place}: {text}")
    };
    texts.into_iter().map(line).collect()
}

fn side_text(side: &LiveSide) -> Option<String> {
    match side {
        LiveSide::NoPod => None,
        LiveSide::Elsewhere { why, .. } => Some(format!("not judged here: {}", escape(why))),
        LiveSide::Unhooked { why } => Some(format!("passes, since nothing judges: {}", escape(why))),
        LiveSide::Judged(verdict) => Some(verdict_text(verdict)),
    }
}

fn verdict_text(verdict: &LiveVerdict) -> String {
    let LiveVerdict { verdict, reason, meaning, policies, peer, ports, backends, known_flows, denied_flows } =
        verdict;
    let passes = if *verdict == Outcome::Allowed { "passes" } else { "dropped" };
    let mut text = format!("{passes} ({reason}): {meaning}");
    if !policies.is_empty() {
        let allow = if policies.len() == 1 { "allows" } else { "allow" };
        let names = policies.join(", ");
        text += &if peer.is_empty() {
            format!("; judged by {names}")
        } else {
            format!("; {names} {allow} {ports} with {}", peer.join(", also "))
        };
    }
    if !backends.is_empty() {
        text += &format!("; the backends are {}", backends.join(", "));
    }
    match (known_flows, denied_flows) {
        (0, _) => {}
        (known, 0) => text += &format!("; flows of these ends that it remembers: {known}"),
        (known, denied) => {
            text += &format!("; flows of these ends that it remembers: {known}, {denied} of them denied");
        }
    }
    escape(&text).into_owned()
}
