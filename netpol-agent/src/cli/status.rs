//! `netpol status`.

use std::{
    fmt::Write as _,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Args;
use netpol_policy::model::BREAK_GLASS;

use super::{Ask, Format, output, policy::in_force};
use crate::{
    control::{
        client::{AskError, ask_one},
        protocol::{
            BreakGlassLine, EndpointLine, EnforcerLine, RepairedLine, Request, Response, Status,
            UndecidedLine, UnenforcedLine,
        },
    },
    sources::{WatchState, Watched},
    text::{Columns, escape},
};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// Wait until the agent is there and ready, so long at most; it is a failure when it is not
    #[arg(long, value_name = "SECONDS")]
    wait: Option<u64>,
    #[command(flatten)]
    ask: Ask,
}

/// How often a waiting command asks.
const PERIOD: Duration = Duration::from_millis(50);

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let end = Instant::now() + Duration::from_secs(arguments.wait.unwrap_or_default());
    let waits = arguments.wait.is_some();
    let status = loop {
        let answer = ask_one(&arguments.ask.socket, &Request::Status);
        let late = !waits || Instant::now() >= end;
        match answer {
            Ok(Response::Status(status)) if status.ready || late => break status,
            Ok(Response::Status(_)) => {}
            Ok(_) => return Err(AskError::Another.into()),
            Err(error @ (AskError::NoAgent(_) | AskError::Gone)) if !late => drop(error),
            Err(error) => return Err(error.into()),
        }
        std::thread::sleep(PERIOD);
    };
    match arguments.ask.output {
        Format::Json => output::json(&status)?,
        Format::Text => output::text(&render(&status))?,
    }
    anyhow::ensure!(status.ready || !waits, "the agent is not ready: {}", status.not_ready.join("; "));
    Ok(ExitCode::SUCCESS)
}

/// All of it, for people.
pub(super) fn render(status: &Status) -> String {
    let mut out = String::new();
    let ready = if status.ready { "ready" } else { "NOT READY" };
    let _ = writeln!(
        out,
        "netpol {} on node {}: {ready}, up {} s, written {} times",
        status.version,
        escape(&status.node),
        status.uptime_seconds,
        status.revision
    );
    list(&mut out, "Not ready because", &status.not_ready);
    list(&mut out, "NO POLICY IS ENFORCED, as the break-glass switch is set", &break_glass(status));
    list(&mut out, "Other engines on this node", &enforcers(status));
    let _ = writeln!(out, "Objects: {} ({})", counts(&status.objects), escape(&status.source));
    if !status.skipped.is_empty() {
        let _ = writeln!(out, "Of kinds that decide nothing: {}", counts(&status.skipped));
    }
    let _ = writeln!(out, "Pods: {}", escape(&status.discovery));
    list(&mut out, "Not up to date", &behind(status));

    let mut pods = Columns::new(&[
        "POD",
        "INTERFACE",
        "FOUND BY",
        "SLOT",
        "HOOK",
        "INGRESS",
        "EGRESS",
        "TAG",
        "ADDRESSES",
    ]);
    for endpoint in &status.endpoints {
        pods.row([
            if endpoint.pod.is_empty() { "(not known)" } else { endpoint.pod.as_str() },
            &endpoint.interface,
            if endpoint.found_by.is_empty() { "-" } else { endpoint.found_by.as_str() },
            &endpoint.slot.to_string(),
            &endpoint.hook,
            &endpoint.ingress,
            &endpoint.egress,
            if endpoint.tag_trusted { "trusted" } else { "-" },
            &endpoint.addresses.join(" "),
        ]);
    }
    table(&mut out, &pods);
    list(&mut out, "Connections that were open before", &taken_over(status));
    list(&mut out, "Not hooked", &status.unhooked);
    list(&mut out, "NOT ENFORCED", &unenforced(status));
    list(&mut out, "Taken off by somebody, and attached again", &repaired(status));

    list(&mut out, "Closed, as the backends of the Service are judged differently", &undecided(status));

    if let Some(absence) = status.absence.as_ref().filter(|absence| !absence.pods.is_empty()) {
        let _ = writeln!(
            out,
            "Without an agent from {} to {}; started then, and open until the end of it:",
            absence.since, absence.until
        );
        list(&mut out, "Pods", &absence.pods);
    }
    let mut policies = Columns::new(&["POLICY", "ISOLATES", "LOCAL PODS", "IN FORCE"]);
    for policy in &status.policies {
        policies.row([
            policy.policy.as_str(),
            &policy.isolates.join(","),
            &policy.local_pods.to_string(),
            &in_force(policy),
        ]);
    }
    table(&mut out, &policies);

    let bridges: Vec<String> = status
        .bridges
        .iter()
        .map(|b| format!("{}: {}", b.name, if b.trusted { "trusted" } else { b.reason.as_str() }))
        .collect();
    list(&mut out, "Tags behind bridges", &bridges);
    list(&mut out, "Problems", &status.problems.iter().map(ToString::to_string).collect::<Vec<_>>());
    list(&mut out, "Faults", &status.faults);

    let mut counters = Columns::new(&["DIRECTION", "REASON", "PACKETS"]);
    for counter in &status.counters {
        counters.row([&counter.direction, &counter.reason, &counter.packets.to_string()]);
    }
    table(&mut out, &counters);
    let _ = writeln!(
        out,
        "Verdicts lost: {}; beyond a pod's rate: {}; flows without room: {}",
        status.lost_events, status.limited_events, status.flows_refused
    );
    let since = status.verdicts_since.map(|since| format!(", since {since}")).unwrap_or_default();
    let _ =
        writeln!(out, "Verdicts kept: {} of at most {}{since}", status.verdicts_kept, status.verdicts_room);
    let mut tables = Columns::new(&["TABLE", "USED", "SIZE"]);
    for (name, line) in &status.tables {
        tables.row([name.as_str(), &line.used.to_string(), &line.size.to_string()]);
    }
    table(&mut out, &tables);
    out
}

/// What cannot be enforced.
pub(super) fn unenforced(status: &Status) -> Vec<String> {
    let line = |one: &UnenforcedLine| {
        let name = [one.pod.as_str(), one.interface.as_str()].join(" ");
        format!("{}: {} ({})", name.trim(), one.message, one.remedy)
    };
    status.unenforced.iter().map(line).collect()
}

/// Where the break-glass switch is set.
pub(super) fn break_glass(status: &Status) -> Vec<String> {
    let line = |one: &BreakGlassLine| {
        let pods = match one.pods.as_slice() {
            [] => "no pod of this node would be isolated".to_owned(),
            pods => pods.join(", "),
        };
        format!("{} {}: {pods} (remove its annotation {BREAK_GLASS} to enforce again)", one.kind, one.name)
    };
    status.break_glass.iter().map(line).collect()
}

/// Other engines, and what they mean.
pub(super) fn enforcers(status: &Status) -> Vec<String> {
    let line = |one: &EnforcerLine| format!("{}: {}", one.engine, one.traces.join(", "));
    let mut lines: Vec<String> = status.enforcers.iter().map(line).collect();
    if !lines.is_empty() {
        lines.push(EnforcerLine::MEANING.to_owned());
    }
    lines
}

/// Hooks that somebody had taken off.
fn repaired(status: &Status) -> Vec<String> {
    let line = |one: &RepairedLine| {
        let name = [one.pod.as_str(), one.interface.as_str()].join(" ");
        format!("{}: {}, not enforced until {}", name.trim(), one.direction, one.time)
    };
    status.repaired.iter().map(line).collect()
}

/// Flows to Services that are closed.
fn undecided(status: &Status) -> Vec<String> {
    let line = |one: &UndecidedLine| {
        let port = one.port.map(|port| format!(":{port}")).unwrap_or_default();
        format!(
            "{} to {}{port}: packets {}, the last one {} (allow all backends of it, or none; `netpol lint` says which differ)",
            one.pod, one.service, one.packets, one.last
        )
    };
    status.undecided.iter().map(line).collect()
}

/// Kinds of which not everything is known.
fn behind(status: &Status) -> Vec<String> {
    let watches = status.watches.iter().filter(|watch| watch.state != WatchState::Watching);
    let line = |watch: &Watched| {
        let why = watch.error.as_ref().map(|error| format!(": {error}")).unwrap_or_default();
        format!("{} is {} since {}{why}", watch.kind, watch.state.name(), watch.since)
    };
    watches.map(line).collect()
}

/// What became of connections that were open before their pod was hooked, where there were any or nobody knows.
fn taken_over(status: &Status) -> Vec<String> {
    let line = |endpoint: &EndpointLine| {
        let taken = endpoint.taken_over.as_ref()?;
        let mut parts = Vec::new();
        for (number, what) in [
            (taken.table, "taken over from the tables of another version"),
            (taken.conntrack, "taken over from conntrack"),
            (taken.sockets, "taken over from its sockets"),
            (taken.refused, "beyond its quota must reopen"),
        ] {
            if number != 0 {
                parts.push(format!("{number} {what}"));
            }
        }
        if !taken.unknown.is_empty() {
            parts.push(format!(
                "others are not known, and judged by whoever speaks first until they reopen: {}",
                taken.unknown
            ));
        }
        (!parts.is_empty()).then(|| format!("{}: {}", endpoint.pod, parts.join("; ")))
    };
    status.endpoints.iter().filter_map(line).collect()
}

fn counts(counts: &std::collections::BTreeMap<String, usize>) -> String {
    let parts: Vec<String> = counts.iter().map(|(kind, count)| format!("{count} {kind}")).collect();
    escape(&parts.join(", ")).into_owned()
}

fn list(out: &mut String, title: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = writeln!(out, "{title}:");
    for line in lines {
        let _ = writeln!(out, "  {}", escape(line));
    }
}

fn table(out: &mut String, columns: &Columns) {
    if !columns.is_empty() {
        let _ = write!(out, "\n{}", columns.render());
    }
}
