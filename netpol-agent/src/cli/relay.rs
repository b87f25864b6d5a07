//! `netpol relay`: joins stdin and stdout with the agent's socket, so that `kubectl netpol` can speak with the agent
//! through `pods/exec`.

use std::{
    io::{self, Write as _},
    net::Shutdown,
    os::unix::net::UnixStream,
    path::PathBuf,
    process::ExitCode,
    thread,
    time::Duration,
};

use anyhow::Context as _;
use clap::Args;

use crate::control::client::unreached;

/// How long the agent may go on after whoever asked has said that it says nothing more.
const GRACE: Duration = Duration::from_secs(5);

#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The agent's socket
    #[arg(long, value_name = "PATH", default_value = crate::config::SOCKET)]
    socket: PathBuf,
}

pub(super) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let socket = &arguments.socket;
    let mut from_agent = UnixStream::connect(socket).map_err(|error| unreached(socket, error))?;
    let mut to_agent = from_agent.try_clone().context("cannot use the agent's socket twice")?;
    // Nobody ends a program that was started by exec when its client has gone; the end of its stdin is all it hears of that.
    thread::spawn(move || {
        let _gone = io::copy(&mut io::stdin().lock(), &mut to_agent);
        let _gone = to_agent.shutdown(Shutdown::Write);
        thread::sleep(GRACE);
        std::process::exit(i32::from(super::FAILURE));
    });
    let mut out = io::stdout().lock();
    io::copy(&mut from_agent, &mut out)?;
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
