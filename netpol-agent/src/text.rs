//! Text for terminals: names that come from others are escaped, columns are aligned.

use std::{borrow::Cow, fmt::Write as _};

pub use netpol_policy::why::escape;
use netpol_policy::why::is_hostile;

/// As [`escape`], but leaves the ends of lines: for texts that have several.
#[must_use]
pub fn escape_lines(text: &str) -> String {
    text.split('\n').map(escape).collect::<Vec<_>>().join("\n")
}

/// As [`escape`], for a text that is JSON already: what serde leaves as it is stands there as an escape of JSON, so
/// that whoever reads it gets the same name.
#[must_use]
pub fn escape_json(json: &str) -> Cow<'_, str> {
    // The ends of lines between values are JSON's own; within a string serde has escaped them.
    let leave = |c: char| c == '\n' || !is_hostile(c);
    if json.chars().all(leave) {
        return Cow::Borrowed(json);
    }
    let mut out = String::with_capacity(json.len() + 8);
    for c in json.chars() {
        if leave(c) {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut [0; 2]) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    Cow::Owned(out)
}

/// The name that is most like a text, if any is like it.
pub fn nearest_of<'a>(text: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let text = text.to_lowercase();
    let likeness = |name: &str| {
        let name = name.to_lowercase();
        let part = text.len() >= 3 && name.contains(&text);
        (distance(&text, &name), part)
    };
    names
        .map(|name| (likeness(name), name))
        .filter(|((distance, part), name)| *part || *distance <= name.len() / 3)
        .min_by_key(|((distance, _), _)| *distance)
        .map(|(_, name)| name)
}

/// How many letters must be changed, added or left out to make one text of the other.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, c) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, d) in b.iter().enumerate() {
            let changed = diagonal + usize::from(c != *d);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

/// Rows with their columns padded to the widest cell; every cell is escaped.
#[derive(Debug, Default)]
pub struct Columns {
    rows: Vec<Vec<String>>,
}

impl Columns {
    /// A table with a line of titles.
    #[must_use]
    pub fn new(titles: &[&str]) -> Self {
        Self { rows: vec![titles.iter().map(ToString::to_string).collect()] }
    }

    /// Adds a row.
    pub fn row<I: IntoIterator<Item = S>, S: AsRef<str>>(&mut self, cells: I) {
        self.rows.push(cells.into_iter().map(|c| escape(c.as_ref()).into_owned()).collect());
    }

    /// Whether there is nothing but the titles.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.rows.len() <= 1
    }

    /// The lines, each ended by a newline.
    #[must_use]
    pub fn render(&self) -> String {
        let columns = self.rows.iter().map(Vec::len).max().unwrap_or(0);
        let mut widths = vec![0; columns];
        for row in &self.rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut out = String::new();
        for row in &self.rows {
            let mut line = String::new();
            for (width, cell) in widths.iter().zip(row) {
                let _ = write!(line, "{cell:<width$}  ");
            }
            out.push_str(line.trim_end());
            out.push('\n');
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped_and_plain_names_are_left_alone() {
        assert_eq!(escape("production/api"), "production/api");
        assert_eq!(escape("a\u{1b}[2Jb\n"), "a\\u{1b}[2Jb\\u{a}");
        assert_eq!(escape("a\u{202e}b"), "a\\u{202e}b");
    }

    #[test]
    fn escaped_json_means_the_same() {
        for name in ["plain", "a\u{7f}\u{9b}31m", "a\u{202e}b", "tag\u{e0041}", "line\nend\u{1b}"] {
            let json = serde_json::to_string(&[name]).unwrap();
            let escaped = escape_json(&json);
            assert!(!escaped.chars().any(is_hostile), "{escaped}");
            assert_eq!(serde_json::from_str::<[String; 1]>(&escaped).unwrap(), [name]);
        }
        assert_eq!(escape_json("{\n  \"a\": 1\n}"), "{\n  \"a\": 1\n}");
    }

    #[test]
    fn a_misspelled_name_has_a_nearest_one() {
        let names = || ["policy-denied", "flow-denied", "spoofed-source"].into_iter();
        assert_eq!(nearest_of("policy-dened", names()), Some("policy-denied"));
        assert_eq!(nearest_of("Flow_denied", names()), Some("flow-denied"));
        assert_eq!(nearest_of("spoofed", names()), Some("spoofed-source"));
        assert_eq!(nearest_of("banana", names()), None);
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let mut table = Columns::new(&["POD", "SLOT"]);
        table.row(["production/api", "16"]);
        assert_eq!(table.render(), "POD             SLOT\nproduction/api  16\n");
    }
}
