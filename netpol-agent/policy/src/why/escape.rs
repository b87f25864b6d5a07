//! Names as they may be printed.

use std::borrow::Cow;

use crate::model::Key;

/// A text from outside without anything that a terminal obeys: control characters, and characters that turn the
/// direction of writing or are invisible, are written as escapes, so that a name cannot move the cursor or forge a line.
#[must_use]
pub fn escape(text: &str) -> Cow<'_, str> {
    if !text.chars().any(is_hostile) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if is_hostile(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    Cow::Owned(out)
}

/// [`escape`] as a text of its own.
#[must_use]
pub fn escaped(text: &str) -> String {
    escape(text).into_owned()
}

/// Control characters, marks of direction, joiners, separators of lines, and the byte order mark.
#[must_use]
pub fn is_hostile(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

/// A key, safe to print.
pub(super) fn key_text(key: &Key) -> String {
    escaped(&key.to_string())
}
