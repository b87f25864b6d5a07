//! `netpol agent`.

use std::{io::IsTerminal as _, path::PathBuf, process::ExitCode};

use anyhow::Context as _;
use clap::Args;
use tracing_subscriber::EnvFilter;

use super::output;
use crate::{
    config::{BPFFS, LOG, LogFormat, Options},
    datapath::{self, Claim},
};

/// What libraries say of themselves is not asked for by a level alone; a directive that names them wins.
const QUIET: &str = "aya=info,aya_obj=info,netlink_proto=info,netlink_packet_route=error";

#[derive(Args, Debug)]
#[command(
    after_long_help = "SIGTERM and SIGINT stop the agent; what is enforced stays in force from the pins, and the next agent \
                       picks it up without misjudging a packet. Only --uninstall takes it down."
)]
pub(super) struct Arguments {
    /// Configuration in TOML with the same names as these flags (lists as arrays, table sizes in [tables]); flags win
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Take everything down that an agent has left (classifiers, links, tables, pins) and exit. Pods are not restricted
    /// any more
    #[arg(long)]
    uninstall: bool,

    #[command(flatten)]
    options: Options,
}

pub(super) fn run(arguments: Arguments) -> anyhow::Result<ExitCode> {
    let file = arguments.config.as_deref().map(Options::from_file).transpose()?;
    let options = arguments.options.or(file.unwrap_or_default());
    start_log(options.log.as_deref().unwrap_or(LOG), options.log_format.unwrap_or_default())?;
    if arguments.uninstall {
        let folder = options.bpffs.unwrap_or_else(|| BPFFS.into());
        // An agent that runs would go on without its tables.
        let _claim = folder.exists().then(|| Claim::take(&folder)).transpose()?;
        let done = datapath::uninstall(&folder).context("cannot take everything down")?;
        output::text(&format!(
            "removed {} hooks and {} pins of {}\n",
            done.hooks,
            done.pins,
            folder.display()
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    crate::agent::run(&options.resolve()?)?;
    Ok(ExitCode::SUCCESS)
}

fn start_log(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = EnvFilter::builder()
        .parse(format!("{QUIET},{filter}"))
        .with_context(|| format!("--log {filter:?} is neither a level nor a list of directives"))?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    match format {
        LogFormat::Text => builder.init(),
        LogFormat::Json => builder.json().init(),
    }
    Ok(())
}
