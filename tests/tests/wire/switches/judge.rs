//! What became of the packets, by their numbers.

use std::fs;

use anyhow::{Context as _, Result};
use netpol_tests::Pod;

use super::traffic::{Kind, datagram};

/// What became of all packets.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// Packets, and answers, that all states allow and that did not arrive: the first ones by their numbers.
    pub(super) lost: Vec<u64>,
    /// How many.
    pub(super) lost_count: usize,
    /// Packets that every state denies and that arrived.
    pub(super) passed: Vec<u64>,
    /// Packets that arrived twice.
    pub(super) doubled: usize,
    /// How often what only one state allows and what only the other allows changed places, for the server and for the
    /// client. In the order of sending each packet must fit to the one state or, from some packet on, to the other; so
    /// every gap, every overlap and every loss is counted as further switches.
    pub(super) switches: [usize; 2],
}

/// Lost ones that are named.
const NAMED: usize = 8;

pub(super) fn judge(sent: u64, heard: &[u64], answered: &[u64]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut mark = |numbers: &[u64]| {
        let mut marks = vec![false; sent as usize];
        for number in numbers {
            verdict.doubled += usize::from(std::mem::replace(&mut marks[*number as usize], true));
        }
        marks
    };
    let (heard, answered) = (mark(heard), mark(answered));
    // Which of the two states each direction is in, as far as packets have shown it.
    let mut shown = [None; 2];
    for number in 0..sent {
        let one = datagram(number);
        let arrived = heard[number as usize];
        let mut follow = |direction: usize, is_a: bool| {
            let state_a = arrived == is_a;
            if shown[direction].replace(state_a).is_some_and(|before| before != state_a) {
                verdict.switches[direction] += 1;
            }
        };
        match one.kind {
            Kind::Always => {
                if !arrived || one.living && !answered[number as usize] {
                    verdict.lost_count += 1;
                    verdict.lost.push(number);
                    verdict.lost.truncate(NAMED);
                }
            }
            Kind::NeverIn | Kind::NeverOut => {
                if arrived {
                    verdict.passed.push(number);
                }
            }
            Kind::InA => follow(0, true),
            Kind::InB => follow(0, false),
            Kind::OutA => follow(1, true),
            Kind::OutB => follow(1, false),
        }
    }
    verdict
}

/// What the machine itself has lost: full buffers of sockets, a full queue of a processor.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Machine {
    sockets: u64,
    processors: u64,
}

impl Machine {
    pub(super) fn look(pods: &[&Pod]) -> Result<Self> {
        let mut sockets = 0;
        for pod in pods {
            // Of the thread, as the process is in another namespace.
            let read = |file: &str| fs::read_to_string(format!("/proc/thread-self/net/{file}"));
            let (v4, v6) = pod.run(|| (read("snmp"), read("snmp6")))?;
            sockets += v4_errors(&v4?).context("no counters of IPv4")?;
            sockets += v6_errors(&v6?).context("no counters of IPv6")?;
        }
        let queues =
            fs::read_to_string("/proc/net/softnet_stat").context("cannot read /proc/net/softnet_stat")?;
        let dropped = |line: &str| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok();
        Ok(Self { sockets, processors: queues.lines().filter_map(dropped).sum() })
    }

    pub(super) const fn since(&self, before: &Self) -> Self {
        Self { sockets: self.sockets - before.sockets, processors: self.processors - before.processors }
    }
}

/// Two lines: the names, and the numbers below them.
fn v4_errors(text: &str) -> Option<u64> {
    let mut lines = text.lines().filter(|line| line.starts_with("Udp:"));
    let (names, numbers) = (lines.next()?, lines.next()?);
    let at = names.split_whitespace().position(|name| name == "RcvbufErrors")?;
    numbers.split_whitespace().nth(at)?.parse().ok()
}

fn v6_errors(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("Udp6RcvbufErrors"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
