//! `kubectl netpol policy`.

use std::{collections::BTreeMap, process::ExitCode};

use clap::{Args, Subcommand};

use super::{Answers, Ask};
use crate::{
    cli::policy::{in_force, show},
    control::protocol::{PolicyDetail, PolicyLine, Request, Response},
    text::Columns,
};

#[derive(Args, Debug)]
#[command(
    after_help = "-o json is a list with an entry for each node: `node`, `pod`, and `answer` (what `netpol policy` writes there as \
        JSON) or `error`."
)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every policy: what it isolates, how many pods it selects on each node, whether it is in force as it is written
    List {
        /// Those of all namespaces
        #[arg(short = 'A', long, conflicts_with = "namespace")]
        all_namespaces: bool,
        #[command(flatten)]
        ask: Ask,
    },
    /// One policy with its pods, rules and problems
    Show {
        /// The policy; without a namespace it is of the one that -n names
        #[arg(value_name = "[NAMESPACE/]NAME")]
        name: String,
        #[command(flatten)]
        ask: Ask,
    },
}

pub(super) async fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (Command::List { ask, .. } | Command::Show { ask, .. }) = &arguments.command;
    let client = ask.cluster.client().await?;
    let home = ask.home(client.default_namespace());
    let nodes = ask.cluster.nodes(&client).await?;
    match &arguments.command {
        Command::List { all_namespaces, .. } => {
            let answers = nodes.ask_all(&Request::Policies).await;
            let answers = Answers::read(answers, |response| match response {
                Response::Policies { policies } => {
                    let of = |line: &PolicyLine| *all_namespaces || is_of(line, home);
                    Some(policies.into_iter().filter(of).collect::<Vec<_>>())
                }
                _ => None,
            });
            answers.show(ask.output, list)
        }
        Command::Show { name, .. } => {
            let name = if name.contains('/') { name.clone() } else { format!("{home}/{name}") };
            let answers = nodes.ask_all(&Request::Policy { name }).await;
            let answers = Answers::read(answers, |response| match response {
                Response::Policy(policy) => Some(*policy),
                _ => None,
            });
            answers.show(ask.output, one)
        }
    }
}

fn is_of(policy: &PolicyLine, namespace: &str) -> bool {
    policy.policy.split_once('/').is_some_and(|(its, _)| its == namespace)
}

/// Every policy once.
pub(super) fn list(answers: &Answers<Vec<PolicyLine>>) -> String {
    let mut policies: BTreeMap<&str, Vec<(&str, &PolicyLine)>> = BTreeMap::new();
    for (node, lines) in answers.given() {
        for line in lines {
            policies.entry(&line.policy).or_default().push((node, line));
        }
    }
    let mut table = Columns::new(&["POLICY", "SELECTS", "ISOLATES", "PODS", "ON", "IN FORCE"]);
    for (policy, lines) in policies {
        let Some((_, any)) = lines.first() else { continue };
        let pods: usize = lines.iter().map(|(_, line)| line.local_pods).sum();
        let on = lines.iter().filter(|(_, line)| line.local_pods > 0);
        let on: Vec<String> = on.map(|(node, line)| format!("{node}: {}", line.local_pods)).collect();
        table.row([
            policy,
            &any.selects,
            &any.isolates.join(","),
            &pods.to_string(),
            &if on.is_empty() { "-".to_owned() } else { on.join(", ") },
            &everywhere(&lines),
        ]);
    }
    table.render()
}

/// Whether a policy is in force; where it is not, on which nodes.
fn everywhere(lines: &[(&str, &PolicyLine)]) -> String {
    let mut not: BTreeMap<String, Vec<&str>> = BTreeMap::new();
    for (node, line) in lines.iter().filter(|(_, line)| !line.realized) {
        not.entry(in_force(line)).or_default().push(node);
    }
    let said = |(how, nodes): (String, Vec<&str>)| {
        if nodes.len() == lines.len() { how } else { format!("{how} on {}", nodes.join(", ")) }
    };
    if not.is_empty() { "yes".to_owned() } else { not.into_iter().map(said).collect::<Vec<_>>().join("; ") }
}

/// One policy, with its pods of all nodes.
pub(super) fn one(answers: &Answers<PolicyDetail>) -> String {
    let mut all: Option<PolicyDetail> = None;
    let mut pods = Vec::new();
    for (node, policy) in answers.given() {
        pods.extend(policy.pods.iter().map(|pod| format!("{pod} on {node}")));
        let all = all.get_or_insert_with(|| policy.clone());
        all.line.realized &= policy.line.realized;
        if all.line.stopped_by.is_empty() {
            all.line.stopped_by.clone_from(&policy.line.stopped_by);
        }
        for problem in &policy.line.problems {
            if !all.line.problems.contains(problem) {
                all.line.problems.push(problem.clone());
            }
        }
    }
    pods.sort();
    all.map(|policy| show(&policy, "Pods", &pods)).unwrap_or_default()
}
