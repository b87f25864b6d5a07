//! An instant as it crosses the socket.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// An instant, in milliseconds since 1970; written as RFC 3339 in UTC, always with three digits behind the point.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Moment(i64);

/// A text that is no instant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no time: write how long ago, such as 30s, 5m, 2h or 1d, or an instant such as 2026-01-31T12:00:00Z"
)]
pub struct InvalidMoment(String);

impl Moment {
    /// From milliseconds since 1970.
    #[must_use]
    pub const fn from_milliseconds(milliseconds: i64) -> Self {
        Self(milliseconds)
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn milliseconds(self) -> i64 {
        self.0
    }

    /// The time of day now.
    #[must_use]
    pub fn now() -> Self {
        Self(jiff::Timestamp::now().as_millisecond())
    }

    /// An instant, or a duration before `now`.
    ///
    /// # Errors
    /// When the text is neither.
    pub fn at_or_ago(text: &str, now: Self) -> Result<Self, InvalidMoment> {
        match milliseconds(text) {
            Some(ago) => Ok(Self(now.0.saturating_sub(ago))),
            None => text.parse(),
        }
    }
}

/// A duration such as `90s` or `1h30m`.
fn milliseconds(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut sum = 0i64;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let (number, tail) = rest.split_at(digits);
        let letters = tail.len() - tail.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
        let (unit, tail) = tail.split_at(letters);
        let unit = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        sum = sum.checked_add(number.parse::<i64>().ok()?.checked_mul(unit)?)?;
        rest = tail;
    }
    (!text.is_empty()).then_some(sum)
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(time) => write!(f, "{time:.3}"),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

impl From<Moment> for String {
    fn from(moment: Moment) -> Self {
        moment.to_string()
    }
}

impl FromStr for Moment {
    type Err = InvalidMoment;

    fn from_str(text: &str) -> Result<Self, InvalidMoment> {
        let time: jiff::Timestamp = text.parse().map_err(|_| InvalidMoment(text.to_owned()))?;
        Ok(Self(time.as_millisecond()))
    }
}

impl TryFrom<String> for Moment {
    type Error = InvalidMoment;

    fn try_from(text: String) -> Result<Self, InvalidMoment> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instant_is_written_with_three_digits_and_read_again() {
        let moment = Moment::from_milliseconds(1_767_268_800_120);
        assert_eq!(moment.to_string(), "2026-01-01T12:00:00.120Z");
        assert_eq!("2026-01-01T12:00:00.120Z".parse(), Ok(moment));
        assert_eq!("2026-01-01T13:00:00.12+01:00".parse(), Ok(moment));
    }

    #[test]
    fn a_duration_is_meant_back_from_now() {
        let now = Moment::from_milliseconds(100_000_000_000);
        for (text, ago) in [("30s", 30_000), ("5m", 300_000), ("1h30m", 5_400_000), ("2d", 172_800_000)] {
            let then = Moment::at_or_ago(text, now).unwrap();
            assert_eq!(now.milliseconds() - then.milliseconds(), ago, "{text}");
        }
        for wrong in ["", "5", "m", "5 m", "5y", "yesterday", "99999999999999999d"] {
            let error = Moment::at_or_ago(wrong, now).unwrap_err().to_string();
            assert!(error.contains("5m"), "{wrong}: {error}");
        }
    }
}
