//! `netpol lint`.

use std::{
    collections::BTreeSet,
    io::{self, IsTerminal as _},
    path::PathBuf,
    process::ExitCode,
};

use clap::{Args, ValueEnum};
use ipnet::IpNet;
use netpol_policy::lint::{Check, Severity, check};

use super::output;
use crate::lint::{
    self, Linted, sarif,
    text::{self, Colour},
};

/// What `lint` exits with when it found what is not to be let through.
const FOUND: u8 = 1;

/// How findings are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people
    #[default]
    Text,
    /// JSON
    Json,
    /// SARIF 2.1.0, for code hosts and editors
    Sarif,
}

#[derive(Args, Debug)]
#[command(
    after_long_help = "An object's annotation `netpol.io/lint-ignore: ID,ID` keeps these findings of it back; \
        the summary counts them.\n\n\
        Exit codes: 0 nothing that is denied was found; 1 something was; 2 the manifests could not be judged."
)]
pub(super) struct Arguments {
    /// Folders of manifests, single files, or - for the standard input; judged together
    #[arg(value_name = "DIR", required_unless_present_any = ["list", "explain"])]
    roots: Vec<PathBuf>,
    /// How findings are written
    #[arg(short, long, value_name = "FORMAT", value_enum, default_value_t)]
    output: Format,
    /// Exit with 1 also for findings of this severity (info, warning, error) or of this id
    #[arg(long, value_name = "LEVEL|ID", value_parser = denied)]
    deny: Vec<Denied>,
    /// Keep findings of this id back
    #[arg(long, value_name = "ID", value_parser = known)]
    allow: Vec<&'static Check>,
    /// A range of ClusterIPs of the cluster
    #[arg(long, value_name = "CIDR")]
    service_cidr: Vec<IpNet>,
    /// Say at length what a finding means
    #[arg(long, value_name = "ID", value_parser = known)]
    explain: Option<&'static Check>,
    /// List all ids
    #[arg(long)]
    list: bool,
}

/// What makes the command fail.
#[derive(Clone, Copy, Debug)]
enum Denied {
    /// Findings that are at least as bad.
    Severity(Severity),
    /// Findings of a check.
    Check(&'static Check),
}

fn denied(text: &str) -> Result<Denied, String> {
    let severity =
        [Severity::Info, Severity::Warning, Severity::Error].into_iter().find(|one| one.name() == text);
    severity.map_or_else(|| known(text).map(Denied::Check), |severity| Ok(Denied::Severity(severity)))
}

fn known(text: &str) -> Result<&'static Check, String> {
    check(text).ok_or_else(|| "no check has this id: `netpol lint --list` shows them all".to_owned())
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    if arguments.list {
        output::text(&text::list())?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(check) = arguments.explain {
        output::text(&text::explain(check))?;
        return Ok(ExitCode::SUCCESS);
    }
    let allowed: BTreeSet<&str> = arguments.allow.iter().map(|check| check.id).collect();
    let linted = lint::run(&arguments.roots, &arguments.service_cidr, &allowed)?;
    match arguments.output {
        Format::Text => output::text(&text::render(&linted, colour()))?,
        Format::Json => output::json(&linted)?,
        Format::Sarif => output::json(&sarif::log(&linted))?,
    }
    Ok(if fails(&linted, &arguments.deny) { ExitCode::from(FOUND) } else { ExitCode::SUCCESS })
}

fn fails(linted: &Linted, denied: &[Denied]) -> bool {
    linted.findings.iter().map(|placed| &placed.finding).any(|finding| {
        finding.severity == Severity::Error
            || denied.iter().any(|denied| match denied {
                Denied::Severity(severity) => finding.severity >= *severity,
                Denied::Check(check) => finding.id == check.id,
            })
    })
}

/// Colours for a terminal, unless `NO_COLOR` is set (no-color.org).
fn colour() -> Colour {
    let unwanted = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if io::stdout().is_terminal() && !unwanted { Colour::Always } else { Colour::Never }
}
