//! `kubectl netpol status`.

use std::{collections::BTreeSet, process::ExitCode};

use clap::Args;

use super::{Answers, Cluster};
use crate::{
    cli::{
        Format, output,
        status::{break_glass, enforcers, render, unenforced},
    },
    control::protocol::{Request, Response, Status},
    nodes::find,
    text::{Columns, escape},
};

#[derive(Args, Debug)]
#[command(
    after_help = "With one --node it is all that `netpol status` says there. -o json is a list with an entry for each node: \
        `node`, `pod`, and `answer` (what `netpol status -o json` holds there) or `error`."
)]
pub(super) struct Arguments {
    /// How the answer looks
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    cluster: Cluster,
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let Arguments { output: format, cluster } = arguments;
    let client = cluster.client().await?;
    let nodes = cluster.nodes(&client).await?;
    let answers = Answers::read(nodes.ask_all(&Request::Status).await, |response| match response {
        Response::Status(status) => Some(*status),
        _ => None,
    });
    match format {
        Format::Json => output::json(&answers.json())?,
        Format::Text if cluster.node.len() == 1 => {
            answers.given().try_for_each(|(_, status)| output::text(&render(status)))?;
        }
        Format::Text => {
            let all = if cluster.node.is_empty() { find::nodes(&client).await } else { Ok(Vec::new()) };
            output::text(&summary(&answers, all.as_deref().unwrap_or_default()))?;
            if let Err(error) = all {
                output::complain(&format!(
                    "which nodes have no agent is not known: cannot list nodes: {error}"
                ));
            }
        }
    }
    Ok(answers.ended())
}

/// A line for each node, the sum of them, and what is wrong.
pub(super) fn summary(answers: &Answers<Status>, all: &[String]) -> String {
    let mut table =
        Columns::new(&["NODE", "READY", "VERSION", "UP", "PODS", "POLICIES", "DENIED", "LOST", "PROBLEMS"]);
    let mut sum = Line::default();
    for one in &answers.0 {
        let node = one.agent.node.as_str();
        let Ok(status) = &one.answer else {
            table.row([node, "NO ANSWER"]);
            continue;
        };
        let line = Line::of(status);
        let ready = if status.ready { "yes" } else { "NO" };
        let up = format!("{} s", status.uptime_seconds);
        table.row(
            [node, ready, &status.version, &up].into_iter().chain(line.cells().iter().map(String::as_str)),
        );
        sum = sum.and(&line);
    }
    let with: BTreeSet<&str> = answers.0.iter().map(|one| one.agent.node.as_str()).collect();
    let without: Vec<&String> = all.iter().filter(|node| !with.contains(node.as_str())).collect();
    for node in &without {
        table.row([node.as_str(), "NO AGENT"]);
    }
    let ready = format!("{} of {}", sum.ready, answers.0.len() + without.len());
    table.row(["all", &ready, "", ""].into_iter().chain(sum.cells().iter().map(String::as_str)));
    table.render() + &troubles(answers)
}

/// What is wrong, by node.
fn troubles(answers: &Answers<Status>) -> String {
    let mut text = String::new();
    for (node, status) in answers.given() {
        let problems = status.problems.iter().map(ToString::to_string);
        let lists = [
            ("not ready", status.not_ready.clone()),
            ("BREAK-GLASS", break_glass(status)),
            ("other engine", enforcers(status)),
            ("NOT ENFORCED", unenforced(status)),
            ("problem", problems.collect()),
            ("fault", status.faults.clone()),
        ];
        for (title, lines) in lists {
            for line in lines {
                text.push_str(&format!("{}: {title}: {}\n", escape(node), escape(&line)));
            }
        }
    }
    if text.is_empty() { text } else { format!("\n{text}") }
}

/// What is counted of a node, or of all.
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    ready: usize,
    pods: usize,
    /// Of the policies that select pods there, those in force as they are written; a policy counts on each node.
    realized: usize,
    policies: usize,
    denied: u64,
    lost: u64,
    problems: usize,
}

impl Line {
    fn of(status: &Status) -> Self {
        let local = || status.policies.iter().filter(|policy| policy.local_pods > 0);
        Self {
            ready: usize::from(status.ready),
            pods: status.endpoints.len(),
            realized: local().filter(|policy| policy.realized).count(),
            policies: local().count(),
            denied: status.counters.iter().filter(|one| one.is_drop()).map(|one| one.packets).sum(),
            lost: status.lost_events,
            problems: status.problems.len() + status.unenforced.len() + status.faults.len(),
        }
    }

    const fn and(self, other: &Self) -> Self {
        Self {
            ready: self.ready + other.ready,
            pods: self.pods + other.pods,
            realized: self.realized + other.realized,
            policies: self.policies + other.policies,
            denied: self.denied + other.denied,
            lost: self.lost + other.lost,
            problems: self.problems + other.problems,
        }
    }

    fn cells(&self) -> [String; 5] {
        let Self { ready: _, pods, realized, policies, denied, lost, problems } = self;
        let policies =
            if realized == policies { policies.to_string() } else { format!("{realized} of {policies}") };
        [pods.to_string(), policies, denied.to_string(), lost.to_string(), problems.to_string()]
    }
}
