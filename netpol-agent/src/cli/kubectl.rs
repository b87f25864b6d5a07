//! `kubectl netpol`: what the agents of all nodes say, merged. kubectl finds the program under the name `kubectl-netpol`.

mod cluster;
mod complete;
mod explain;
mod observe;
mod policy;
mod status;

use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use serde::Serialize;

use self::cluster::Cluster;
use super::{FAILURE, Format, output};
use crate::{
    control::{client::AskError, protocol::Response},
    nodes::{Agent, Answered},
};

/// The name under which kubectl looks for the program.
pub(super) const NAME: &str = "kubectl-netpol";
/// What it exits with when some of the nodes could not be asked, and the others have answered.
const INCOMPLETE: u8 = 3;

/// Asks the netpol agents of a cluster's nodes.
#[derive(Debug, Parser)]
#[command(
    name = "kubectl-netpol",
    bin_name = "kubectl netpol",
    version,
    about = "Asks the netpol agents of a cluster's nodes, and merges their answers",
    after_help = "A node whose agent cannot be asked is named on stderr; the others' answers are shown.\n\
        Exit codes: 0 all have answered; 1 `explain`: the flow does not pass; 2 it failed; 3 some have not answered.",
    arg_required_else_help = true
)]
pub(super) struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Show verdicts of all nodes in the order of their time
    Observe(Box<observe::Arguments>),
    /// Say whether a flow would pass, and why, by the agents of the nodes where its ends are
    Explain(explain::Arguments),
    /// Show how the agents are, a line for each node
    Status(status::Arguments),
    /// List policies with the pods that they select on each node, or show one
    Policy(policy::Arguments),
    /// Say how a line may go on, for kubectl's completion
    #[command(name = "__complete", hide = true)]
    Complete(complete::Arguments),
}

/// Whose namespace is meant.
#[derive(Args, Debug)]
struct Scope {
    /// The namespace [default: that of the kubeconfig's context]
    #[arg(short, long, value_name = "NAMESPACE")]
    namespace: Option<String>,
}

/// Whose namespace, which cluster, and how the answer looks.
#[derive(Args, Debug)]
struct Ask {
    #[command(flatten)]
    scope: Scope,
    /// How the answer looks
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
    #[command(flatten)]
    cluster: Cluster,
}

impl Ask {
    /// The namespace that is meant, where this is the one of the kubeconfig's context.
    fn home<'a>(&'a self, of_context: &'a str) -> &'a str {
        self.scope.namespace.as_deref().unwrap_or(of_context)
    }
}

pub(super) fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start what speaks with the API server")?;
    match cli.command {
        Command::Observe(arguments) => runtime.block_on(observe::run(&arguments)),
        Command::Explain(arguments) => runtime.block_on(explain::run(&arguments)),
        Command::Status(arguments) => runtime.block_on(status::run(&arguments)),
        Command::Policy(arguments) => runtime.block_on(policy::run(&arguments)),
        Command::Complete(arguments) => complete::run(&arguments),
    }
}

/// The answer of a node's agent.
struct Answer<T> {
    agent: Agent,
    answer: anyhow::Result<T>,
}

/// What agents have answered.
struct Answers<T>(Vec<Answer<T>>);

impl<T> Answers<T> {
    /// Those to one question; `read` takes out of a response what was asked for.
    fn read(all: Vec<Answered>, read: impl Fn(Response) -> Option<T>) -> Self {
        let answer = |Answered { agent, answer }| Answer {
            agent,
            answer: answer.and_then(|response| read(response).ok_or_else(|| AskError::Another.into())),
        };
        Self(all.into_iter().map(answer).collect())
    }

    /// Those that have answered, by node.
    fn given(&self) -> impl Iterator<Item = (&str, &T)> {
        self.0.iter().filter_map(|one| Some((one.agent.node.as_str(), one.answer.as_ref().ok()?)))
    }

    /// A list with an entry for each node: what its agent alone would write as JSON, or why it has not answered.
    fn json(&self) -> Vec<Line<'_, T>> {
        let lines = self.0.iter().map(|Answer { agent, answer }| Line {
            node: &agent.node,
            pod: &agent.pod,
            answer: answer.as_ref().ok(),
            error: answer.as_ref().err().map(|error| format!("{error:#}")),
        });
        lines.collect()
    }

    /// Writes them: `text` for people, or a list of JSON; the exit code says whether the answer is whole.
    fn show(&self, format: Format, text: impl FnOnce(&Self) -> String) -> anyhow::Result<ExitCode>
    where
        T: Serialize,
    {
        match format {
            Format::Json => output::json(&self.json())?,
            Format::Text => output::text(&text(self))?,
        }
        Ok(self.ended())
    }

    /// Names those that have not answered, and says by the exit code whether the answer is whole.
    fn ended(&self) -> ExitCode {
        let missing = self.0.iter().filter_map(|one| Some((&one.agent, one.answer.as_ref().err()?)));
        let missing = missing.inspect(|(agent, error)| complain_of(agent, error)).count();
        code(missing, self.0.len())
    }
}

/// A node's entry in a list of JSON.
#[derive(Serialize)]
struct Line<'a, T> {
    node: &'a str,
    pod: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    answer: Option<&'a T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Says of an agent why it has not answered.
fn complain_of(agent: &Agent, error: &anyhow::Error) {
    let node = if agent.node.is_empty() { "(no node)" } else { &agent.node };
    output::complain(&format!("node {node}: {error:#}"));
}

/// The exit code where so many of all have not answered.
fn code(missing: usize, all: usize) -> ExitCode {
    match missing {
        0 => ExitCode::SUCCESS,
        _ if missing == all => ExitCode::from(FAILURE),
        _ => ExitCode::from(INCOMPLETE),
    }
}

#[cfg(test)]
mod tests;
