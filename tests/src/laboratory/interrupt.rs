//! Ctrl-C and its kin: remove every laboratory of this process, then end as the signal would have ended it.

use std::io::Read as _;
use std::os::fd::{IntoRawFd as _, OwnedFd};
use std::process;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI32, Ordering};
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use nix::fcntl::OFlag;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};
use nix::unistd::pipe2;

use super::claim;

/// The writing end of the pipe between the handler and the thread that tidies up.
static PIPE: AtomicI32 = AtomicI32::new(-1);

/// Catches the signals that end a process; further calls do nothing.
pub(crate) fn catch() -> Result<()> {
    static CAUGHT: OnceLock<Result<(), String>> = OnceLock::new();
    CAUGHT
        .get_or_init(|| install().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|error| anyhow!(error))
}

fn install() -> Result<()> {
    let (reader, writer) = pipe2(OFlag::O_CLOEXEC).context("cannot make a pipe")?;
    PIPE.store(writer.into_raw_fd(), Ordering::Relaxed);
    thread::Builder::new()
        .name("interrupt".to_owned())
        .spawn(move || wait(reader))
        .context("cannot start a thread")?;
    let action = SigAction::new(SigHandler::Handler(handle), SaFlags::SA_RESTART, SigSet::empty());
    for signal in [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP] {
        // SAFETY: the handler only calls write(2), which is safe in a handler.
        unsafe { sigaction(signal, &action) }.context("cannot catch signals")?;
    }
    Ok(())
}

extern "C" fn handle(signal: libc::c_int) {
    let number = signal.to_ne_bytes()[if cfg!(target_endian = "little") { 0 } else { 3 }];
    // SAFETY: the buffer is one byte that lives until the call returns; the descriptor stays open for ever.
    unsafe { libc::write(PIPE.load(Ordering::Relaxed), (&raw const number).cast(), 1) };
}

fn wait(reader: OwnedFd) {
    let mut number = [0; 1];
    if std::fs::File::from(reader).read_exact(&mut number).is_err() {
        return;
    }
    let _nothing_more = claim::stop_all();
    process::exit(128 + i32::from(number[0]));
}
