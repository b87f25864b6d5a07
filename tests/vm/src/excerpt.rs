//! A program's output in short: the serial line is slow, and the log of a verifier that refuses a program is endless.
//!
//! The beginning is passed on as it comes, the end is kept; how much is left out between them is said.

use std::collections::VecDeque;
use std::io::{self, BufRead as _, BufReader, pipe};
use std::process::{Command, ExitStatus, Stdio};

/// Lines passed on as they come.
const FIRST: usize = 400;
/// Lines kept for the end: a verifier says last why it refuses.
const LAST: usize = 80;
/// Bytes of one line; the verifier prints all its registers into one.
const LINE: usize = 300;

/// Runs `command` and prints its output in short.
pub(crate) fn run(mut command: Command) -> io::Result<ExitStatus> {
    let (reader, writer) = pipe()?;
    command.stdin(Stdio::null()).stdout(writer.try_clone()?).stderr(writer);
    let mut child = command.spawn()?;
    // It holds the writing ends, and reading would never end.
    drop(command);
    let mut excerpt = Excerpt::default();
    for line in BufReader::new(reader).split(b'\n') {
        if let Some(line) = excerpt.take(cut(&line?)) {
            println!("{line}");
        }
    }
    if excerpt.left_out > 0 {
        println!("netpol-vm: {} lines left out here", excerpt.left_out);
    }
    for line in excerpt.last {
        println!("{line}");
    }
    child.wait()
}

#[derive(Default)]
struct Excerpt {
    passed: usize,
    left_out: usize,
    last: VecDeque<String>,
}

impl Excerpt {
    /// Takes the next line and returns it when it is to be printed at once.
    fn take(&mut self, line: String) -> Option<String> {
        if self.passed < FIRST {
            self.passed += 1;
            return Some(line);
        }
        self.last.push_back(line);
        if self.last.len() > LAST {
            self.last.pop_front();
            self.left_out += 1;
        }
        None
    }
}

fn cut(line: &[u8]) -> String {
    let short = &line[..line.len().min(LINE)];
    let mut text = String::from_utf8_lossy(short).into_owned();
    if short.len() < line.len() {
        text.push_str(" ...");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Excerpt, FIRST, LAST, LINE, cut};

    #[test]
    fn the_beginning_and_the_end_are_kept() {
        let mut excerpt = Excerpt::default();
        let printed = (0..FIRST + LAST + 7).filter_map(|number| excerpt.take(number.to_string())).count();
        assert_eq!((printed, excerpt.left_out, excerpt.last.len()), (FIRST, 7, LAST));
        assert_eq!(excerpt.last.back(), Some(&(FIRST + LAST + 6).to_string()));
    }

    #[test]
    fn a_long_line_is_cut() {
        assert_eq!(cut(b"short"), "short");
        assert_eq!(cut(&[b'x'; 2 * LINE]).len(), LINE + 4);
    }
}
