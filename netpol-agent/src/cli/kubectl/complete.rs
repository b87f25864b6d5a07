//! How a command line may go on, for kubectl's completion of its plugins: it calls `kubectl_complete-netpol` with the words so
//! far, and reads a line for each choice, with what it means behind a tab, and a directive at the end.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};

use super::{Cli, output};

/// Cobra's directive not to offer files.
const NO_FILES: &str = ":4\n";

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The words behind `kubectl netpol`, the last of which is not complete
    #[arg(value_name = "WORD", trailing_var_arg = true, allow_hyphen_values = true)]
    words: Vec<String>,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    output::text(&choices(&arguments.words))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn choices(words: &[String]) -> String {
    let (last, before) = words.split_last().map_or(("", words), |(last, before)| (last.as_str(), before));
    let root = Cli::command();
    let mut command = &root;
    for word in before {
        command = command.find_subcommand(word).unwrap_or(command);
    }
    let value_of = before.last().and_then(|word| {
        command.get_arguments().filter(|one| one.get_action().takes_values()).find(|one| {
            one.get_long().is_some_and(|long| *word == format!("--{long}"))
                || one.get_short().is_some_and(|short| *word == format!("-{short}"))
        })
    });
    let mut all: Vec<(String, String)> = Vec::new();
    if let Some(argument) = value_of {
        all.extend(argument.get_possible_values().iter().map(|value| {
            (value.get_name().to_owned(), value.get_help().map(ToString::to_string).unwrap_or_default())
        }));
    } else if last.starts_with('-') {
        let flags = command.get_arguments().filter(|argument| !argument.is_hide_set());
        all.extend(flags.filter_map(|argument| {
            let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
            Some((format!("--{}", argument.get_long()?), help))
        }));
    } else {
        let commands = command.get_subcommands().filter(|one| !one.is_hide_set());
        all.extend(commands.map(|one| {
            (one.get_name().to_owned(), one.get_about().map(ToString::to_string).unwrap_or_default())
        }));
    }
    let fitting = all.into_iter().filter(|(choice, _)| choice.starts_with(last));
    let lines: String = fitting.map(|(choice, help)| format!("{choice}\t{help}\n")).collect();
    lines + NO_FILES
}
