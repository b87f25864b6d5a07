//! What tests tell `cargo xtask test`, which says it again at its end: what they have done, measured, and left out.

use std::fmt::Display;
use std::io::Write as _;

/// Says how many of what a test has done, such as `[(100_000, "cases"), (200, "histories")]`. What is said under the same
/// words is added up.
pub fn counted(all: &[(u64, &str)]) {
    let text: Vec<String> = all.iter().map(|(number, what)| format!("{number} {what}")).collect();
    line("counted", text.join(", "));
}

/// Says what a test has measured.
pub fn figure(text: impl Display) {
    line("figure", text);
}

/// Says what a test has left out, and why.
pub fn not_run(why: impl Display) {
    line("not run", why);
}

/// Not by `println!`, which is only heard of a test that fails. On a line of its own, whatever the harness has begun, and
/// written at once.
fn line(kind: &str, text: impl Display) {
    let line = format!("\n{kind}: {text}\n");
    // When stdout is closed nobody listens.
    let _closed = std::io::stdout().lock().write_all(line.as_bytes());
}
