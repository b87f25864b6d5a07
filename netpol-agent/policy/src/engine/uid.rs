//! UIDs as the API server makes them, in 16 bytes.

use std::{fmt::Write as _, sync::Arc};

/// A UUID; all zero stands for none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Uid([u8; 16]);

/// Where its text has hyphens.
const HYPHENS: [usize; 4] = [8, 13, 18, 23];

impl Uid {
    /// `None` for a text that is not what [`Uid::text`] writes.
    pub(super) fn parse(text: &str) -> Option<Self> {
        let mut uid = Self::default();
        if text.is_empty() {
            return Some(uid);
        }
        let mut digits = 0;
        for (at, byte) in text.bytes().enumerate() {
            let digit = match byte {
                b'-' if HYPHENS.contains(&at) => continue,
                b'0'..=b'9' => byte - b'0',
                b'a'..=b'f' => byte - b'a' + 10,
                _ => return None,
            };
            let place = uid.0.get_mut(digits / 2)?;
            *place = *place << 4 | digit;
            digits += 1;
        }
        (digits == 32 && text.len() == 36 && uid != Self::default()).then_some(uid)
    }

    /// As it was read.
    pub(super) fn text(self) -> Arc<str> {
        let mut text = String::new();
        if self != Self::default() {
            for (at, byte) in self.0.iter().enumerate() {
                if matches!(at, 4 | 6 | 8 | 10) {
                    text.push('-');
                }
                // Writing to a string cannot fail.
                let _: std::fmt::Result = write!(text, "{byte:02x}");
            }
        }
        text.into()
    }
}

#[cfg(test)]
mod tests {
    use super::Uid;

    #[test]
    fn what_is_read_is_written_and_nothing_else_is_read() {
        for text in ["", "0b9c1d5e-6f70-4812-93a4-b5c6d7e8f901", "00000000-0000-0000-0000-000000000001"] {
            assert_eq!(&*Uid::parse(text).unwrap().text(), text);
        }
        for text in [
            "a",
            "00000000-0000-0000-0000-000000000000",
            "0B9C1D5E-6F70-4812-93A4-B5C6D7E8F901",
            "0b9c1d5e6f70481293a4b5c6d7e8f901",
            "0b9c1d5e-6f70-4812-93a4-b5c6d7e8f90",
            "0b9c1d5e-6f70-4812-93a4-b5c6d7e8f9012",
            "0b9c1d5e6f7-0-4812-93a4-b5c6d7e8f901",
            "0b9c1d5e-6f70-4812-93a4-b5c6d7e8f9-1",
            "0b9c1d5e-6f70-4812-93a4b-5c6d7e8f901",
        ] {
            assert_eq!(Uid::parse(text), None, "{text}");
        }
    }
}
