//! The language that the prober speaks on its control port: one JSON value a line, a [`Request`] there, an [`Answer`] back.
//!
//! The prober runs in the pods of a test cluster. It answers on ports by saying who it is and whom it took the client
//! for, asks others in batches, keeps connections open, and can send from its first instruction on.

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Where the prober takes requests unless it was told otherwise.
pub const CONTROL_PORT: u16 = 9999;

/// With what to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    /// A connection, a line there and a line back.
    Tcp,
    /// A datagram there and one back.
    Udp,
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        })
    }
}

/// One question to a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Probe {
    /// With what.
    pub protocol: Protocol,
    /// Whom.
    pub to: SocketAddr,
    /// How long an answer is waited for, in milliseconds.
    pub patience: u64,
    /// How often it is asked, each time as a new flow and after the one before.
    #[serde(default = "once")]
    pub times: u32,
    /// How many bytes go there and back beside the few that are needed.
    #[serde(default)]
    pub size: usize,
    /// Sent as they are to a server that is no prober: whatever comes back is an answer, whose bytes stand in hexadecimal
    /// digits where the name would be.
    #[serde(default)]
    pub raw: Option<Vec<u8>>,
}

const fn once() -> u32 {
    1
}

impl Probe {
    /// A question that is asked once, with few bytes.
    #[must_use]
    pub const fn new(protocol: Protocol, to: SocketAddr, patience: u64) -> Self {
        Self { protocol, to, patience, times: 1, size: 0, raw: None }
    }
}

/// What came of a probe, counted over all of its times.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcomes {
    /// How often who answered.
    pub reached: BTreeMap<String, u32>,
    /// The address that the last who answered took the client for: another one than its own where it is translated.
    pub seen_as: Option<IpAddr>,
    /// How often nothing came back.
    pub timed_out: u32,
    /// How often an error came back: a reset, or an ICMP error.
    pub refused: u32,
    /// What else went wrong, on this side.
    pub failed: Vec<String>,
}

impl Outcomes {
    /// Who answered, if each time somebody did and it was always the same.
    #[must_use]
    pub fn who(&self) -> Option<&str> {
        let only = self.reached.len() == 1 && self.all_reached();
        self.reached.keys().next().filter(|_| only).map(String::as_str)
    }

    /// Whether each time somebody answered.
    #[must_use]
    pub fn all_reached(&self) -> bool {
        !self.reached.is_empty() && self.timed_out == 0 && self.refused == 0 && self.failed.is_empty()
    }

    /// Whether nothing ever came back, not even an error.
    #[must_use]
    pub fn all_timed_out(&self) -> bool {
        self.timed_out > 0 && self.reached.is_empty() && self.refused == 0 && self.failed.is_empty()
    }
}

impl fmt::Display for Outcomes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts: Vec<String> = Vec::new();
        parts.extend(self.reached.iter().map(|(who, times)| format!("reached {who} {times} times")));
        if self.timed_out > 0 {
            parts.push(format!("timed out {} times", self.timed_out));
        }
        if self.refused > 0 {
            parts.push(format!("refused {} times", self.refused));
        }
        parts.extend(self.failed.iter().map(|why| format!("failed: {why}")));
        f.write_str(&parts.join(", "))
    }
}

/// What the prober is asked to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Request {
    /// To ask all of these at the same time.
    Probe(Vec<Probe>),
    /// To run all of these programs at the same time.
    Run(Vec<Program>),
    /// What its servers have heard since the start, or since they were last told to forget.
    Heard {
        /// Whether the counts begin anew afterwards.
        forget: bool,
    },
    /// What has become of what it sends since its start (`send`).
    Sent,
    /// To open connections and exchange a line over each, again and again.
    Hold {
        /// Where to; the same place several times is several connections.
        to: Vec<SocketAddr>,
        /// Between two lines, in milliseconds.
        every: u64,
    },
    /// What has become of the connections that it holds.
    Holding,
    /// To close these connections.
    Release,
}

/// What the prober says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Answer {
    /// For each probe, in their order.
    Probed(Vec<Outcomes>),
    /// For each program, in their order.
    Ran(Vec<Ended>),
    /// For each port and source.
    Heard(Vec<Heard>),
    /// For each place.
    Sent(Vec<Sent>),
    /// For each connection, in the order in which they were asked for.
    Holding(Vec<Held>),
    /// It could not be done.
    Error(String),
}

/// What a server has heard of one source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// By which protocol.
    pub protocol: Protocol,
    /// On which port.
    pub port: u16,
    /// From which address.
    pub source: IpAddr,
    /// How many connections or datagrams.
    pub count: u64,
}

/// A program in the prober's own container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// Its name and its arguments.
    pub words: Vec<String>,
    /// After how many milliseconds it is killed.
    pub patience: u64,
}

/// How a program ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ended {
    /// With which exit code; none when it was killed, or did not even start.
    pub code: Option<i32>,
    /// What it wrote to its standard output.
    pub output: String,
    /// What it wrote to its standard error, or why it did not start.
    pub errors: String,
    /// How long that took, in milliseconds.
    pub took: u64,
}

/// What has become of numbered packets to a place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sent {
    /// With what.
    pub protocol: Protocol,
    /// Where to.
    pub to: SocketAddr,
    /// How many were sent: datagrams, or attempts at a connection.
    pub sent: u64,
    /// How many could not even be sent.
    pub unsent: u64,
    /// How many were answered.
    pub answered: u64,
    /// The number of the first that was answered, counted from 0.
    pub first_answered: Option<u64>,
    /// When the first one left, in microseconds after the program's start.
    pub began: Option<u64>,
}

/// What has become of a connection.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// Where to.
    pub to: SocketAddr,
    /// Who answers.
    pub who: Option<String>,
    /// How many lines came back.
    pub exchanged: u64,
    /// How long ago the last line came back, in milliseconds; since the beginning, if none did.
    pub silent: u64,
    /// The longest time between two lines that came back, in milliseconds.
    pub longest: u64,
    /// Why it is broken, if it is. A connection whose packets are dropped is not broken, but silent.
    pub broken: Option<String>,
}
