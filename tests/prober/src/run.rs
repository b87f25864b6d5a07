//! Runs programs of the container: what a person would type in it, without the cost of entering it.

use std::io;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use netpol_prober::{Ended, Program};

/// Between two looks whether a program has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// Runs all at the same time.
pub(crate) fn all(programs: &[Program]) -> Vec<Ended> {
    thread::scope(|scope| {
        let running: Vec<_> = programs.iter().map(|program| scope.spawn(|| one(program))).collect();
        let ended = |thread: thread::ScopedJoinHandle<'_, io::Result<Ended>>| {
            let result = thread.join().unwrap_or_else(|_| Err(io::Error::other("it panicked")));
            result.unwrap_or_else(|error| Ended {
                code: None,
                output: String::new(),
                errors: error.to_string(),
                took: 0,
            })
        };
        running.into_iter().map(ended).collect()
    })
}

fn one(program: &Program) -> io::Result<Ended> {
    let start = Instant::now();
    let [name, arguments @ ..] = program.words.as_slice() else {
        return Err(io::Error::other("a program without a name"));
    };
    let mut child = Command::new(name)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("cannot start {name}: {error}")))?;
    let (output, errors) = (collect(child.stdout.take()), collect(child.stderr.take()));
    let code = wait(&mut child, start + Duration::from_millis(program.patience))?;
    let text = |collected: thread::JoinHandle<Vec<u8>>| {
        String::from_utf8_lossy(&collected.join().unwrap_or_default()).into_owned()
    };
    let took = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    Ok(Ended { code, output: text(output), errors: text(errors), took })
}

/// The exit code; none when it had to be killed.
fn wait(child: &mut Child, end: Instant) -> io::Result<Option<i32>> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        if Instant::now() >= end {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(PAUSE);
    }
}

/// Reads to the end on a thread of its own.
fn collect(stream: Option<impl io::Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut all = Vec::new();
        if let Some(mut stream) = stream {
            // What was read before an error is still what was said.
            drop(stream.read_to_end(&mut all));
        }
        all
    })
}
