//! `netpol completions`.

use std::process::ExitCode;

use clap::Args;
use clap_complete::Shell;

use super::output;

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn run(arguments: &Arguments, command: &mut clap::Command) -> anyhow::Result<ExitCode> {
    let mut script = Vec::new();
    clap_complete::generate(arguments.shell, command, "netpol", &mut script);
    output::text(&String::from_utf8(script)?)?;
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory as _, ValueEnum as _};

    use super::*;

    #[test]
    fn every_shell_completes_the_filters_of_observe() {
        for shell in Shell::value_variants() {
            let mut script = Vec::new();
            clap_complete::generate(*shell, &mut super::super::Cli::command(), "netpol", &mut script);
            let script = String::from_utf8(script).unwrap();
            for flag in crate::control::protocol::Flag::ALL {
                assert!(script.contains(flag.name()), "{shell}: {}", flag.name());
            }
            assert!(script.contains("no-fold") && script.contains("not"), "{shell}");
        }
    }
}
