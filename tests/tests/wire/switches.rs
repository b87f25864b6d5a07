//! Packets at a steady rate while policies switch, a thousand times: what both states of a policy allow loses nothing, what
//! both deny passes nothing, and what only one allows follows the switch like a step, with neither a gap nor an overlap.
//!
//! The ingress of the server and the egress of the client switch in turn, each between two policies that allow
//! partly the same by other means: labels here, blocks and ranges there. Every packet carries a number, from which follows
//! what it is ([`traffic`]); so what was lost is known exactly ([`judge`]).

mod judge;
mod sockets;
mod traffic;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use netpol_tests::{Laboratory, Link, Pod, PodSpec, Setup, counted, eventually, figure};
use serde_json::{Value, json};

use judge::{Machine, Verdict, judge};
use sockets::{Heard, client_sockets, listen, send, server_sockets};
use traffic::{Kind, RATE};

/// How often a policy is switched, by default and in the long form.
const SWITCHES: [usize; 2] = [1000, 5000];
/// Before every so many switches, what the last one has replaced is given the time to be collected: only then does the
/// next one write rows and move addresses to other classes. Odd, so that both policies have their turn.
const COLLECTED_EVERY: usize = 7;
/// Longer than the grace period of the agent.
const COLLECTED: Duration = Duration::from_millis(180);
/// How long a switch may take until packets show it, on a machine that is busy.
const SHOWN: Duration = Duration::from_secs(10);
/// What is on the way arrives within this time, or never.
const ON_THE_WAY: Duration = Duration::from_secs(5);
/// By how much the rate may be missed.
const TOLERANCE: f64 = 0.05;

/// One of the two states of each policy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    A,
    B,
}

impl State {
    const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// Datagrams to these ports.
fn ports(kinds: &[Kind]) -> Value {
    kinds.iter().map(|kind| json!({"protocol": "UDP", "port": kind.port()})).collect()
}

fn range(first: Kind, last: Kind) -> Value {
    json!({"protocol": "UDP", "port": first.port(), "endPort": last.port()})
}

fn labelled(app: &str) -> Value {
    json!({"podSelector": {"matchLabels": {"app": app}}})
}

/// Both addresses of a pod, as blocks.
fn blocks(pod: &Pod) -> Value {
    json!([{"ipBlock": {"cidr": format!("{}/32", pod.v4)}}, {"ipBlock": {"cidr": format!("{}/128", pod.v6)}}])
}

/// What the server takes.
fn ingress(state: State, client: &Pod) -> Value {
    use Kind::{Always, InA, InB, NeverOut, OutA, OutB};
    let rules = match state {
        State::A => json!([
            {"from": [labelled("client")], "ports": ports(&[Always, NeverOut, OutA, OutB])},
            {"from": [labelled("client")], "ports": ports(&[InA])},
        ]),
        State::B => json!([
            {"from": blocks(client), "ports": [range(Always, Always), range(NeverOut, OutB)]},
            {"from": [{"namespaceSelector": {}}], "ports": ports(&[InB])},
        ]),
    };
    json!({"podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Ingress"], "ingress": rules})
}

/// What the client sends.
fn egress(state: State, server: &Pod) -> Value {
    use Kind::{Always, InA, InB, NeverIn, OutA, OutB};
    let rules = match state {
        State::A => json!([
            {"to": [labelled("server")], "ports": ports(&[Always, NeverIn, InA, InB])},
            {"to": [labelled("server")], "ports": ports(&[OutA])},
        ]),
        State::B => json!([
            {"to": blocks(server), "ports": [range(Always, NeverIn), range(InA, InB)]},
            {"to": [{"namespaceSelector": {}}], "ports": ports(&[OutB])},
        ]),
    };
    json!({"podSelector": {"matchLabels": {"app": "client"}}, "policyTypes": ["Egress"], "egress": rules})
}

struct Pair {
    lab: Laboratory,
    server: Pod,
    client: Pod,
    /// The states of the server's ingress and of the client's egress.
    states: [State; 2],
}

impl Pair {
    fn start(link: Link) -> Result<Self> {
        let mut lab = Laboratory::with(Setup { link, ..Setup::default() })?;
        let server = lab.add_pod(PodSpec::new("shop", "server").label("app", "server"))?;
        let client = lab.add_pod(PodSpec::new("shop", "client").label("app", "client"))?;
        lab.start_agent()?;
        let mut pair = Self { lab, server, client, states: [State::B; 2] };
        pair.switch(0)?;
        pair.switch(1)?;
        pair.lab.settle()?;
        Ok(pair)
    }

    /// Switches one of the two policies, and says what it allows now and did not before.
    fn switch(&mut self, which: usize) -> Result<Kind> {
        let state = self.states[which].other();
        self.states[which] = state;
        if which == 0 {
            self.lab.policy("shop", "server", &ingress(state, &self.client))?;
            Ok(if state == State::A { Kind::InA } else { Kind::InB })
        } else {
            self.lab.policy("shop", "client", &egress(state, &self.server))?;
            Ok(if state == State::A { Kind::OutA } else { Kind::OutB })
        }
    }

    /// Switches in turn, each time when packets have shown the last one. Says how long each took.
    fn switches(&mut self, count: usize, heard: &Heard) -> Result<Vec<Duration>> {
        let mut took = Vec::new();
        for turn in 0..count {
            if turn % COLLECTED_EVERY == 0 {
                thread::sleep(COLLECTED);
            }
            let before = Kind::ALL.map(|kind| heard.of(kind));
            let start = Instant::now();
            let kind = self.switch(turn % 2)?;
            let [v4, v6] = before[kind as usize];
            let look = || {
                let [now4, now6] = heard.of(kind);
                now4 > v4 && now6 > v6
            };
            eventually(&format!("packets show switch {turn}"), SHOWN, &true, look).with_context(|| {
                let now = Kind::ALL.map(|kind| (kind, heard.of(kind)));
                let said = self.lab.agent().map(|agent| (agent.status(), agent.log()));
                format!("states {:?}; heard {before:?}, then {now:?}; the agent {said:#?}", self.states)
            })?;
            took.push(start.elapsed());
        }
        Ok(took)
    }
}

/// Two senders at once would hardly keep their rate.
static ALONE: Mutex<()> = Mutex::new(());

fn no_packet_meets_half_a_policy(link: Link, count: usize) -> Result<()> {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut pair = Pair::start(link)?;
    let (server, client) = (pair.server.clone(), pair.client.clone());
    let (at_server, at_client) = (server_sockets(&server)?, client_sockets(&client)?);
    let before = Machine::look(&[&server, &client])?;
    let (heard, answered) = (Heard::default(), Heard::default());
    let (enough, end) = (AtomicBool::new(false), AtomicBool::new(false));
    let start = Instant::now();
    let (sent, took, lasted, numbers) = thread::scope(|scope| -> Result<_> {
        let ears = [
            scope.spawn(|| listen(&at_server, &end, &heard, true)),
            scope.spawn(|| listen(&at_client, &end, &answered, false)),
        ];
        let sender = scope.spawn(|| send(&client, &server, &enough));
        let took = pair.switches(count, &heard);
        enough.store(true, Ordering::Relaxed);
        let sent = joined(sender)?;
        let lasted = start.elapsed();
        // What is missing then is judged below.
        drop(eventually("everything that is on the way arrives", ON_THE_WAY, &true, || {
            heard.has_all(sent) && answered.has_all_answers(sent)
        }));
        end.store(true, Ordering::Relaxed);
        // Whoever cannot hear sees no switch: what ailed it comes first.
        let [at_server, at_client] = ears.map(joined);
        let numbers = [at_server?, at_client?];
        Ok((sent, took?, lasted, numbers))
    })?;

    let rate = sent as f64 / lasted.as_secs_f64();
    let mut sorted = took;
    sorted.sort();
    let (median, slowest) = (sorted[sorted.len() / 2], sorted[sorted.len() - 1]);
    figure(format_args!(
        "{sent} packets, {rate:.0}/s; a switch shows after {median:?}, the slowest after {slowest:?}"
    ));
    let machine = Machine::look(&[&server, &client])?.since(&before);
    let expected = Verdict { switches: [count.div_ceil(2), count / 2], ..Verdict::default() };
    let seen = judge(sent, &numbers[0], &numbers[1]);
    assert_eq!(seen, expected, "of {sent} packets; beside netpol, the machine has lost {machine:?}");
    assert!((rate / RATE - 1.0).abs() < TOLERANCE, "{rate:.0} packets/s instead of {RATE}");
    counted(&[(count as u64, "policy switches under real packets"), (sent, "packets across switches")]);
    Ok(())
}

fn joined<T>(thread: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    thread.join().map_err(|_| anyhow!("a thread panicked"))?
}

fn count() -> usize {
    SWITCHES[usize::from(std::env::var_os("NETPOL_LONG").is_some())]
}

#[test]
#[ignore = "needs root and BPF"]
fn no_packet_meets_half_a_policy_over_a_bridge() -> Result<()> {
    no_packet_meets_half_a_policy(Link::Bridge, count())
}

#[test]
#[ignore = "needs root and BPF"]
fn no_packet_meets_half_a_policy_by_routes() -> Result<()> {
    no_packet_meets_half_a_policy(Link::Routed, count() / 5)
}
