//! Which verdicts are asked for.
//!
//! A [`Filter`] is made of [`Test`]s, each of a [`Flag`] of the command line with its value. Values of one flag are
//! alternatives, different flags must all be met, and none of the unwanted may be. As text a test is `FLAG=VALUE`, such as
//! `pod=production/api`: so it crosses the socket, and so it follows `--not`.

mod end;
#[cfg(test)]
mod tests;

use std::{fmt, net::IpAddr, ops::RangeInclusive, str::FromStr};

use netpol_common::{Direction, Reason};
use serde::{Deserialize, Serialize};

use self::end::{EndTest, Name, network};
use super::{End, Gap, Moment, Outcome, Verdict};
use crate::{
    text::nearest_of,
    verdicts::numbers::{protocol_name, protocol_names, protocol_number},
};

/// Which verdicts.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Filter {
    /// Those of one flag are alternatives.
    pub wanted: Vec<Test>,
    /// None of these.
    pub unwanted: Vec<Test>,
    /// Not before.
    pub since: Option<Moment>,
    /// Not after.
    pub until: Option<Moment>,
}

impl Filter {
    /// Whether a verdict is asked for.
    #[must_use]
    pub fn admits(&self, verdict: &Verdict) -> bool {
        let met = |wanted: &Test| {
            self.wanted.iter().any(|other| other.flag == wanted.flag && other.matches(verdict))
        };
        self.is_at(verdict.time)
            && self.wanted.iter().all(met)
            && !self.unwanted.iter().any(|test| test.matches(verdict))
    }

    /// Whether it asks who decided, which takes far longer to find out than the rest of a verdict.
    #[must_use]
    pub fn asks_who_decided(&self) -> bool {
        self.wanted.iter().chain(&self.unwanted).any(|test| test.flag == Flag::Policy)
    }

    /// Whether a gap is of the time that is asked for: any of the verdicts that are missing might have been.
    #[must_use]
    pub fn admits_gap(&self, gap: &Gap) -> bool {
        self.since.is_none_or(|since| since <= gap.time) && self.until.is_none_or(|until| gap.since <= until)
    }

    fn is_at(&self, time: Moment) -> bool {
        self.since.is_none_or(|since| since <= time) && self.until.is_none_or(|until| time <= until)
    }
}

macro_rules! flags {
    ($($(#[doc = $text:literal])+ $name:ident = $slug:literal;)*) => {
        /// What can be asked of a verdict.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Flag { $($(#[doc = $text])+ $name,)* }

        impl Flag {
            /// Every flag.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// As it is typed, without dashes.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $slug,)* }
            }
        }
    };
}

flags! {
    /// A pod at either end.
    Pod = "pod";
    /// A namespace at either end.
    Namespace = "namespace";
    /// A label of a pod at either end.
    Label = "label";
    /// An address at either end.
    Address = "address";
    /// A port at either end.
    Port = "port";
    /// Who sends.
    From = "from";
    /// Who is to receive.
    To = "to";
    /// The port that is sent from.
    FromPort = "from-port";
    /// The port that is sent to.
    ToPort = "to-port";
    /// The protocol.
    Protocol = "protocol";
    /// Allowed or dropped.
    Verdict = "verdict";
    /// Into the pod or out of it.
    Direction = "direction";
    /// Why.
    Reason = "reason";
    /// A policy that allowed, or that isolates.
    Policy = "policy";
}

/// A value that a flag cannot have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{value:?} is no value of {flag}: {remedy}")]
pub struct InvalidTest {
    flag: &'static str,
    value: String,
    remedy: String,
}

/// A flag with its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Test {
    flag: Flag,
    value: String,
    what: What,
}

/// Which end is meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    Either,
    Source,
    Destination,
}

impl Which {
    fn of(self, verdict: &Verdict, test: impl Fn(&End) -> bool) -> bool {
        match self {
            Self::Either => test(&verdict.source) || test(&verdict.destination),
            Self::Source => test(&verdict.source),
            Self::Destination => test(&verdict.destination),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum What {
    End(EndTest, Which),
    Port(RangeInclusive<u16>, Which),
    Protocol(String),
    Outcome(Outcome),
    Direction(Direction),
    Reason(Reason),
    Policy(Name),
}

impl Test {
    /// A flag's value as it is typed.
    ///
    /// # Errors
    /// When it is none: says what to write.
    pub fn new(flag: Flag, value: &str) -> Result<Self, InvalidTest> {
        what(flag, value)
            .map(|what| Self { flag, value: value.to_owned(), what })
            .map_err(|remedy| InvalidTest { flag: flag.name(), value: value.to_owned(), remedy })
    }

    /// The value as it was typed.
    #[must_use]
    pub fn value(&self) -> &str {
        &self.value
    }

    /// The same, with a name that has no namespace taken as of this one.
    #[must_use]
    pub fn within(&self, namespace: &str) -> Self {
        let bare = |name: &str| !name.contains('/');
        let (kind, name) = match (&self.what, self.value.split_once('/')) {
            (What::End(EndTest::Service(_), _), Some((kind, name))) if bare(name) => {
                (format!("{kind}/"), name)
            }
            (What::End(EndTest::Pod(_), _) | What::Policy(_), None) => (String::new(), self.value.as_str()),
            _ => return self.clone(),
        };
        Self::new(self.flag, &format!("{kind}{namespace}/{name}")).unwrap_or_else(|_| self.clone())
    }

    /// Whether a verdict meets it.
    #[must_use]
    pub fn matches(&self, verdict: &Verdict) -> bool {
        match &self.what {
            What::End(test, which) => {
                which.of(verdict, |end| test.matches(end))
                    || *which == Which::Either && test.is_endpoint(&verdict.endpoint)
            }
            What::Port(ports, which) => {
                which.of(verdict, |end| end.port.is_some_and(|port| ports.contains(&port)))
            }
            What::Protocol(name) => verdict.protocol == *name,
            What::Outcome(outcome) => verdict.verdict == *outcome,
            What::Direction(direction) => verdict.direction == direction.name(),
            What::Reason(reason) => verdict.reason == reason.name(),
            What::Policy(name) => {
                verdict.allowed_by.iter().any(|part| name.is(&part.policy))
                    || verdict.isolated_by.iter().any(|policy| name.is(policy))
            }
        }
    }
}

/// Reads a value; else says what to write.
fn what(flag: Flag, value: &str) -> Result<What, String> {
    let namespaced = || Name::parse(value).ok_or("write NAMESPACE/NAME, or NAMESPACE/ for all of it");
    let end = |test: Option<EndTest>, which, remedy: &str| {
        test.map(|test| What::End(test, which)).ok_or_else(|| remedy.to_owned())
    };
    let port = |which| {
        ports(value)
            .map(|ports| What::Port(ports, which))
            .ok_or_else(|| "write a port such as 8080, or a range such as 8000-8999".to_owned())
    };
    let any_end = "write a pod as NAMESPACE/NAME, NAMESPACE/ for all of it, a label as KEY=VALUE or NAMESPACE/KEY=VALUE, \
                   svc/NAMESPACE/NAME, an address or CIDR, node, or world";
    match flag {
        Flag::Pod => Ok(What::End(EndTest::Pod(namespaced()?), Which::Either)),
        Flag::Namespace => {
            end(EndTest::namespace(value), Which::Either, "write the name of a namespace alone")
        }
        Flag::Label => end(
            EndTest::label(value),
            Which::Either,
            "write KEY=VALUE, KEY for any value, or NAMESPACE/KEY=VALUE",
        ),
        Flag::Address => end(
            network(value).map(EndTest::Address),
            Which::Either,
            "write an address such as 10.0.0.1 or fd00::1, or a CIDR such as 10.0.0.0/24",
        ),
        Flag::From => end(EndTest::parse(value), Which::Source, any_end),
        Flag::To => end(EndTest::parse(value), Which::Destination, any_end),
        Flag::Port => port(Which::Either),
        Flag::FromPort => port(Which::Source),
        Flag::ToPort => port(Which::Destination),
        Flag::Protocol => protocol_number(value)
            .map(|number| What::Protocol(protocol_name(number)))
            .ok_or_else(|| unknown(value, protocol_names(), "a number from 0 to 255 does as well")),
        Flag::Verdict => Outcome::ALL
            .into_iter()
            .find(|outcome| outcome.name() == value)
            .map(What::Outcome)
            .ok_or_else(|| "write allowed or dropped".to_owned()),
        Flag::Direction => Direction::ALL
            .into_iter()
            .find(|direction| direction.name() == value)
            .map(What::Direction)
            .ok_or_else(|| "write ingress (into the pod) or egress (out of it)".to_owned()),
        Flag::Reason => {
            Reason::ALL.iter().find(|reason| reason.name() == value).map(|r| What::Reason(*r)).ok_or_else(
                || {
                    let names = Reason::ALL.iter().map(|reason| reason.name());
                    unknown(value, names, "`netpol observe --reasons` lists them all")
                },
            )
        }
        Flag::Policy => Ok(What::Policy(namespaced()?)),
    }
}

fn unknown(value: &str, names: impl Iterator<Item = &'static str>, more: &str) -> String {
    match nearest_of(value, names) {
        Some(name) => format!("did you mean {name}? ({more})"),
        None => format!("there is nothing of that name ({more})"),
    }
}

fn ports(text: &str) -> Option<RangeInclusive<u16>> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    let (low, high) = (low.parse().ok()?, high.parse().ok()?);
    (low <= high).then_some(low..=high)
}

impl fmt::Display for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.flag.name(), self.value)
    }
}

impl FromStr for Test {
    type Err = InvalidTest;

    fn from_str(text: &str) -> Result<Self, InvalidTest> {
        let typed = text.strip_prefix("--").unwrap_or(text);
        let (name, value) = typed.split_once('=').unwrap_or((typed, ""));
        match Flag::ALL.iter().find(|flag| flag.name() == name) {
            Some(flag) => Self::new(*flag, value),
            None => Err(InvalidTest {
                flag: "--not",
                value: text.to_owned(),
                remedy: format!(
                    "write FLAG=VALUE, such as pod=production/api; the flags are {}",
                    Flag::ALL.iter().map(|flag| flag.name()).collect::<Vec<_>>().join(", ")
                ),
            }),
        }
    }
}

impl From<Test> for String {
    fn from(test: Test) -> Self {
        test.to_string()
    }
}

impl TryFrom<String> for Test {
    type Error = InvalidTest;

    fn try_from(text: String) -> Result<Self, InvalidTest> {
        text.parse()
    }
}

/// The address of an end, if it is one.
fn address_of(end: &End) -> Option<IpAddr> {
    end.address.parse().ok()
}
