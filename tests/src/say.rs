//! What a test has done, for the totals of `cargo xtask test`.

use std::io::Write as _;

/// Says how many of what a test has done, such as `[(100_000, "cases"), (200, "histories")]`. `cargo xtask test` adds up
/// what is said under the same words.
///
/// # Panics
/// When stdout is closed.
pub fn counted(all: &[(u64, &str)]) {
    let text: Vec<String> = all.iter().map(|(number, what)| format!("{number} {what}")).collect();
    // Not by `println!`, which is only heard of a test that fails. On a line of its own, whatever the harness has
    // begun, and written at once.
    let line = format!("\ncounted: {}\n", text.join(", "));
    // When stdout is closed nobody adds up.
    let _closed = std::io::stdout().lock().write_all(line.as_bytes());
}
