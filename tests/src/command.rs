//! Runs the programs that set the laboratory up, and turns their failures into errors that name them.

use std::io::Write as _;
use std::process::{Child, Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

/// A process that was started; dropping it kills it.
#[derive(Debug)]
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Runs a program to its end and returns its standard output.
///
/// # Errors
/// When it cannot be started, or ends with another status than 0: then with what it wrote to standard error.
pub fn read(program: &str, arguments: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {program}"))?;
    checked(program, arguments, &output)
}

/// Runs a program that reads `input`, and returns its standard output.
///
/// # Errors
/// As [`read`]; the error then shows the input too, since a batch's message only names a line.
pub fn feed(program: &str, arguments: &[&str], input: &str) -> Result<String> {
    let mut command = Command::new(program);
    command.args(arguments);
    feed_command(command, input)
}

/// As [`feed`], for a command that was made ready elsewhere.
///
/// # Errors
/// As [`feed`].
pub fn feed_command(mut command: Command, input: &str) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let arguments: Vec<String> = command.get_args().map(|one| one.to_string_lossy().into_owned()).collect();
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot start {program}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that stops reading early says itself why.
        stdin.write_all(input.as_bytes()).or_else(|error| match error.kind() {
            std::io::ErrorKind::BrokenPipe => Ok(()),
            _ => Err(error),
        })?;
    }
    let output = child.wait_with_output().with_context(|| format!("cannot wait for {program}"))?;
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let checked = checked(&program, &arguments, &output);
    if input.is_empty() { checked } else { checked.with_context(|| format!("its input was:\n{input}")) }
}

fn checked(program: &str, arguments: &[&str], output: &Output) -> Result<String> {
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{program} {}` failed ({}): {}", arguments.join(" "), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
