//! The command line: what can be typed. Each command is a file here.
//!
//! Under the name `kubectl-netpol` it is a plugin of kubectl, with commands of its own ([`kubectl`]).
//!
//! Exit codes: 0 when it worked, 2 when it did not; `explain` says 1 when the flow does not pass, `lint` when it found
//! what is denied. The plugin says 3 when not all nodes have answered.

mod agent;
mod completions;
mod explain;
mod idle;
mod kubectl;
mod lint;
mod observe;
mod output;
mod policy;
mod relay;
mod status;
mod verify;

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, CommandFactory as _, Parser, Subcommand, ValueEnum};

/// What a failure exits with; clap's own errors, too.
const FAILURE: u8 = 2;

/// Enforces Kubernetes NetworkPolicy on a node with eBPF.
#[derive(Debug, Parser)]
#[command(
    name = "netpol",
    version,
    about = "Enforces Kubernetes NetworkPolicy on a node with eBPF",
    after_help = "Exit codes: 0 it worked; 1 `explain`: the flow does not pass, `lint`: something was found; 2 it failed.",
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Enforce the policies of a folder on the pods of this node
    Agent(Box<agent::Arguments>),
    /// Show verdicts: who spoke with whom, and which policy decided
    Observe(Box<observe::Arguments>),
    /// Say whether a flow would pass, and why
    Explain(explain::Arguments),
    /// Find mistakes in manifests: rules that never match, DNS forgotten, half-open pairs
    Lint(lint::Arguments),
    /// Show the agent's pods, policies, problems and counters
    Status(status::Arguments),
    /// List policies, or show one
    Policy(policy::Arguments),
    /// Write the completions of a shell to stdout
    Completions(completions::Arguments),
    /// Join stdin and stdout with the agent's socket, for `kubectl netpol`
    #[command(hide = true)]
    Relay(relay::Arguments),
    /// Do nothing until SIGTERM, in a pod whose work another container has done
    #[command(hide = true)]
    Idle,
    /// Load every program once, so that the kernel's verifier has seen it
    #[command(hide = true)]
    VerifyPrograms,
}

/// How an answer looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Text,
    /// JSON
    Json,
}

/// Where the agent is, and how its answer looks.
#[derive(Args, Debug)]
struct Ask {
    /// The agent's socket
    #[arg(long, value_name = "PATH", default_value = crate::config::SOCKET)]
    socket: PathBuf,
    /// How the answer looks
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
}

/// Parses the command line, does what it says, and gives the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let outcome = if is_plugin() { kubectl::run(kubectl::Cli::parse()) } else { run(Cli::parse()) };
    match outcome {
        Ok(code) => code,
        Err(error) if output::is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            output::complain(&format!("{error:#}"));
            ExitCode::from(FAILURE)
        }
    }
}

/// Whether kubectl has called it, or somebody by that name.
fn is_plugin() -> bool {
    let name = std::env::args_os().next();
    name.is_some_and(|name| Path::new(&name).file_name().is_some_and(|name| name == kubectl::NAME))
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    match cli.command {
        Command::Agent(arguments) => agent::run(*arguments),
        Command::Observe(arguments) => observe::run(&arguments),
        Command::Explain(arguments) => explain::run(&arguments),
        Command::Lint(arguments) => lint::run(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Policy(arguments) => policy::run(&arguments),
        Command::Completions(arguments) => completions::run(&arguments, &mut Cli::command()),
        Command::Relay(arguments) => relay::run(&arguments),
        Command::Idle => idle::run(),
        Command::VerifyPrograms => verify::run(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
        kubectl::Cli::command().debug_assert();
    }

    #[test]
    fn every_command_and_flag_has_a_help_text() {
        fn check(command: &clap::Command) {
            for argument in
                command.get_arguments().filter(|a| !matches!(a.get_id().as_str(), "help" | "version"))
            {
                assert!(argument.get_help().is_some(), "{} {}", command.get_name(), argument.get_id());
            }
            for sub in command.get_subcommands() {
                assert!(sub.get_about().is_some(), "{}", sub.get_name());
                check(sub);
            }
        }
        check(&Cli::command());
        check(&kubectl::Cli::command());
    }
}
