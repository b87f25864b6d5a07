//! Names as they may be printed.

use crate::model::Key;

/// A text without anything that a terminal obeys: control characters, and characters that turn the direction of
/// writing or are invisible, are written as escapes.
#[must_use]
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_invisible(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

/// Marks of direction, joiners, separators of lines, and the byte order mark.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A key, safe to print.
pub(super) fn key_text(key: &Key) -> String {
    escaped(&key.to_string())
}
