//! Findings for a terminal, as compilers write theirs.

use std::fmt::Write as _;

use netpol_policy::lint::{CHECKS, Check, Severity};

use super::{Linted, Placed, Summary};
use crate::text::{Columns, escape};

/// Whether names of severities have colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    /// For a file or a pipe.
    Never,
    /// For a terminal.
    Always,
}

const RESET: &str = "\u{1b}[0m";
const BOLD: &str = "\u{1b}[1m";
const DIM: &str = "\u{1b}[2m";

impl Colour {
    const fn of(self, severity: Severity) -> &'static str {
        match (self, severity) {
            (Self::Never, _) => "",
            (Self::Always, Severity::Error) => "\u{1b}[1;31m",
            (Self::Always, Severity::Warning) => "\u{1b}[1;33m",
            (Self::Always, Severity::Info) => "\u{1b}[1;36m",
        }
    }

    fn code(self, code: &'static str) -> &'static str {
        if self == Self::Always { code } else { "" }
    }
}

/// All findings, then the notes and a line that counts.
#[must_use]
pub fn render(linted: &Linted, colour: Colour) -> String {
    let mut out = String::new();
    for placed in &linted.findings {
        write_finding(&mut out, placed, colour);
    }
    for note in &linted.notes {
        let _ = writeln!(out, "note: {note}");
    }
    let _ = writeln!(out, "{}", summary(&linted.summary));
    out
}

fn write_finding(out: &mut String, placed: &Placed, colour: Colour) {
    let Placed { file, line, kind, object, finding } = placed;
    let (bold, dim, reset) = (colour.code(BOLD), colour.code(DIM), colour.code(RESET));
    let severity = finding.severity;
    let _ = write!(
        out,
        "{bold}{}:{line}:{reset} {}{severity}[{}]{reset}: ",
        escape(&file.display().to_string()),
        colour.of(severity),
        finding.id
    );
    // Most are about policies, whose kind goes without saying.
    let mut subject: Vec<&str> = Vec::new();
    if kind != "NetworkPolicy" {
        subject.push(kind);
    }
    subject.extend([object.as_str(), finding.field.as_str()]);
    subject.retain(|part| !part.is_empty());
    if !subject.is_empty() {
        let _ = write!(out, "{}: ", subject.join(" "));
    }
    let _ = writeln!(out, "{}", finding.message);
    for (name, text) in [("why", &finding.why), ("fix", &finding.fix)] {
        if !text.is_empty() {
            let _ = writeln!(out, "  {dim}{name}:{reset} {text}");
        }
    }
}

/// How much was found, in a line.
#[must_use]
pub fn summary(summary: &Summary) -> String {
    let Summary { errors, warnings, infos, suppressed, policies, files } = *summary;
    let suppressed = if suppressed == 0 { String::new() } else { format!("; {suppressed} suppressed") };
    format!(
        "{}, {}, {} in {} of {}{suppressed}",
        counted(errors, "error", "errors"),
        counted(warnings, "warning", "warnings"),
        counted(infos, "info", "infos"),
        counted(policies, "policy", "policies"),
        counted(files, "file", "files"),
    )
}

fn counted(count: usize, one: &str, more: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { more })
}

/// Every check, a line each.
#[must_use]
pub fn list() -> String {
    let mut table = Columns::new(&["ID", "SEVERITY", "WHAT"]);
    for check in CHECKS {
        table.row([check.id, check.severity.name(), check.title]);
    }
    table.render()
}

/// One check, at length.
#[must_use]
pub fn explain(check: &Check) -> String {
    format!("{} ({}): {}\n\n{}\n", check.id, check.severity, check.title, wrapped(check.explanation, 100))
}

/// Words in lines of at most so many columns.
fn wrapped(text: &str, width: usize) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let full = lines.last().is_some_and(|line| !line.is_empty() && line.len() + 1 + word.len() > width);
        if full {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines.join("\n")
}
