//! The prober: what runs in the pods of a test cluster. See the library for what it can be asked.
//!
//! Linked static, without a runtime and with few libraries, so that it starts in a moment and runs in any image.

mod arguments;
mod control;
mod hold;
mod line;
mod probe;
mod run;
mod send;
mod serve;
#[cfg(test)]
mod tests;

use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use arguments::{Arguments, Mode};
use control::Control;
use send::Senders;
use serve::Servers;

fn main() -> ExitCode {
    let start = Instant::now();
    let result = match arguments::parse(std::env::args().skip(1)) {
        Ok(Mode::Run(arguments)) => run(arguments, start),
        Ok(Mode::Ask(port)) => control::forward(port),
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("netpol-prober: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: Arguments, start: Instant) -> Result<(), String> {
    end_on_signals();
    // Before everything else: what is tried is the first instant.
    let senders = Senders::start(&arguments.places, arguments.every, arguments.limit, start);
    let servers = Arc::new(Servers::new(arguments.name));
    for port in arguments.tcp {
        servers.tcp(port)?;
    }
    for port in arguments.udp {
        servers.udp(port)?;
    }
    let control = Arc::new(Control::new(servers, senders));
    if arguments.control != 0 {
        control.listen(arguments.control)?;
    }
    if arguments.limit.is_some() {
        control.senders().join();
        // Whoever reads the pod's log finds the outcome there.
        println!("{}", control.answer_text(r#""sent""#));
    }
    if arguments.stays {
        loop {
            thread::park();
        }
    }
    Ok(())
}

/// The first process of a container is not ended by a signal that it does not handle, and its pod would linger.
fn end_on_signals() {
    extern "C" fn end(_: libc::c_int) {
        // SAFETY: _exit may be called in a signal handler.
        unsafe { libc::_exit(0) }
    }
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let handler: extern "C" fn(libc::c_int) = end;
        // SAFETY: the handler only calls _exit.
        unsafe { libc::signal(signal, handler as libc::sighandler_t) };
    }
}
