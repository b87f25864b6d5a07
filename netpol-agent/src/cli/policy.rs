//! `netpol policy`.

use std::{fmt::Write as _, process::ExitCode};

use clap::{Args, Subcommand};

use super::{Ask, Format, output};
use crate::{
    control::{
        client::{AskError, ask_one},
        protocol::{PolicyDetail, PolicyLine, Request, Response},
    },
    text::{Columns, escape},
};

#[derive(Args, Debug)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Every policy: what it isolates, how many local pods it selects, whether it is in force as it is written
    List {
        #[command(flatten)]
        ask: Ask,
    },
    /// One policy with its pods, rules and problems
    Show {
        /// The policy
        #[arg(value_name = "NAMESPACE/NAME")]
        name: String,
        #[command(flatten)]
        ask: Ask,
    },
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let (request, ask) = match &arguments.command {
        Command::List { ask } => (Request::Policies, ask),
        Command::Show { name, ask } => (Request::Policy { name: name.clone() }, ask),
    };
    match (ask_one(&ask.socket, &request)?, ask.output) {
        (Response::Policies { policies }, Format::Json) => output::json(&policies)?,
        (Response::Policy(policy), Format::Json) => output::json(&policy)?,
        (Response::Policies { policies }, Format::Text) => {
            let mut table = Columns::new(&["POLICY", "SELECTS", "ISOLATES", "LOCAL PODS", "IN FORCE"]);
            for policy in &policies {
                table.row([
                    policy.policy.as_str(),
                    &policy.selects,
                    &policy.isolates.join(","),
                    &policy.local_pods.to_string(),
                    &in_force(policy),
                ]);
            }
            output::text(&table.render())?;
        }
        (Response::Policy(policy), Format::Text) => {
            output::text(&show(&policy, "Local pods", &policy.pods))?;
        }
        _ => return Err(AskError::Another.into()),
    }
    Ok(ExitCode::SUCCESS)
}

/// Whether a policy is in force, in words.
pub(super) fn in_force(policy: &PolicyLine) -> String {
    match (policy.stopped_by.as_str(), policy.realized) {
        ("", true) => "yes".to_owned(),
        ("", false) => "NOT AS WRITTEN".to_owned(),
        (by, _) => format!("NO: break-glass of {by}"),
    }
}

/// One policy, for people, with these pods under such a title.
pub(super) fn show(policy: &PolicyDetail, title: &str, pods: &[String]) -> String {
    let mut out = String::new();
    let line = &policy.line;
    let _ = writeln!(out, "Policy:     {}", escape(&line.policy));
    let _ = writeln!(out, "Selects:    {}", escape(&line.selects));
    let _ = writeln!(out, "Isolates:   {}", line.isolates.join(", "));
    let _ = writeln!(out, "In force:   {}", escape(&in_force(line)));
    let pods = if pods.is_empty() { "none".to_owned() } else { pods.join(", ") };
    let _ = writeln!(out, "{:<11} {}", format!("{title}:"), escape(&pods));
    for (direction, rules) in &policy.rules {
        let _ = writeln!(out, "Allows ({direction}):");
        if rules.is_empty() {
            out.push_str("  nothing\n");
        }
        for (index, rule) in rules.iter().enumerate() {
            let _ = writeln!(out, "  {}. {}", index + 1, escape(rule));
        }
    }
    for problem in &line.problems {
        let _ = writeln!(out, "Problem:    {problem}");
    }
    out
}
