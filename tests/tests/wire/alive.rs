//! Whatever becomes of the agent and of what it has pinned: two hundred connections stay open, two hundred denied datagrams
//! a second are denied, each of them is counted, and nothing is left behind in the end.

mod damaged;
mod layouts;
mod points;
mod two;

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use netpol_tests::held::{Ids, denied};
use netpol_tests::probe::{ARRIVAL_PATIENCE, expect_dropped, expect_reached};
use netpol_tests::steady::{CONNECTIONS, Denied, Steady};
use netpol_tests::{Laboratory, Outcome, Setup, eventually, figure};
use serde_json::json;

use crate::agent::with_filters;
use crate::setup::{ALLOWED, OTHER, Three, app, egress_of_client, from_client, ingress_of_server, ports};

/// How often the agent is killed.
const KILLS: usize = 100;
/// How often it ends in good order.
const ENDS: usize = 4;
/// How long the kernel may take to let go of what nobody holds.
const GONE: Duration = Duration::from_secs(20);

/// An isolated server with open connections of its client, which may do nothing else; and a stranger.
pub(super) struct Alive {
    pub(super) three: Three,
    steady: Steady,
    seen: Ids,
    /// Datagrams that the server had heard at its two ports.
    heard: [u64; 2],
    /// What had been counted as denied.
    counted: u64,
}

impl Alive {
    pub(super) fn start(setup: Setup) -> Result<Self> {
        let mut three = Three::with(setup)?;
        for (from, port) in [(&three.stranger, ALLOWED), (&three.client, OTHER)] {
            for to in three.server.sockets(port) {
                let outcome = from.udp(to, ARRIVAL_PATIENCE);
                ensure!(outcome == Outcome::Reached, "without a policy it arrives: {outcome:?}");
            }
        }
        three.policy("server", &ingress_of_server(&from_client()))?;
        three
            .policy("client", &egress_of_client(&json!([{"to": app("server"), "ports": ports(ALLOWED)}])))?;
        let heard = [three.allowed.udp.heard(), three.other.udp.heard()];
        let counted = denied(&three.lab.pins())?;
        let sent = [(&three.stranger, ALLOWED), (&three.client, OTHER)]
            .map(|(from, port)| Denied::of(from, &three.server.sockets(port)));
        let steady = Steady::start(&three.client, &three.server.sockets(ALLOWED), sent.to_vec())?;
        let mut alive = Self { three, steady, seen: Ids::default(), heard, counted };
        alive.goes_on()?;
        Ok(alive)
    }

    /// Sees that all connections live and nothing denied has passed.
    pub(super) fn goes_on(&mut self) -> Result<()> {
        self.seen.note(&self.three.lab.pins())?;
        self.steady.goes_on()?;
        self.nothing_has_passed()
    }

    pub(super) fn nothing_has_passed(&self) -> Result<()> {
        let heard = [self.three.allowed.udp.heard(), self.three.other.udp.heard()];
        ensure!(heard == self.heard, "a denied datagram was heard: {heard:?}, before {:?}", self.heard);
        Ok(())
    }

    /// New flows are judged as the open ones are.
    pub(super) fn judges(&mut self) -> Result<()> {
        self.nothing_has_passed()?;
        let allowed = self.three.all_protocols(&self.three.client, ALLOWED);
        // Of which one datagram of each family is heard.
        self.heard[0] += 2;
        expect_reached(&allowed).context("what is allowed")?;
        self.nothing_has_passed()?;
        expect_dropped(&self.three.all_protocols(&self.three.stranger, ALLOWED)).context("what is denied")
    }

    /// Ends the traffic, and says what it was; then sees that nothing is left when everything is taken down.
    ///
    /// `all_counted`: the counters are still those from the beginning.
    pub(super) fn end(mut self, what: &str, all_counted: bool) -> Result<()> {
        self.goes_on()?;
        let carried = self.steady.stop()?;
        if all_counted {
            // Before anything else is denied.
            eventually("each was counted", ARRIVAL_PATIENCE, &carried.probes, || {
                denied(&self.three.lab.pins()).unwrap_or_default() - self.counted
            })?;
        }
        self.nothing_has_passed()?;
        self.judges()?;
        figure(format_args!(
            "{what}: {CONNECTIONS} connections kept ({} numbers came back), {} probes denied",
            carried.exchanges, carried.probes
        ));
        // The control.
        let three = &mut self.three;
        three.no_policy("client")?;
        three.no_policy("server")?;
        expect_reached(&three.all_protocols(&three.stranger, ALLOWED)).context("without a policy")?;
        self.seen.note(&three.lab.pins())?;
        three.lab.uninstall_agent()?;
        ensure!(!three.lab.pins().exists(), "the folder of pins is there still");
        self.seen.wait_until_gone(&[], GONE)?;
        ensure!(self.seen.len() > 20, "hardly anything was pinned: {:?}", self.seen);
        no_filters(&three.lab)
    }
}

fn no_filters(lab: &Laboratory) -> Result<()> {
    for pod in lab.pods() {
        for side in ["ingress", "egress"] {
            let mut tc = std::process::Command::new("tc");
            tc.args(["filter", "show", "dev", &pod.host_interface, side]);
            lab.node.enter(&mut tc);
            let said = String::from_utf8_lossy(&tc.output()?.stdout).into_owned();
            ensure!(!said.contains("netpol"), "{} {side}: {said}", pod.host_interface);
        }
    }
    Ok(())
}

/// Whether nothing is there of tables that were put aside.
pub(super) fn nothing_aside(pins: &Path) -> bool {
    !pins.join("aside").exists()
}

/// A second policy for the server, whose coming and going changes what it is judged by, and nothing that is sent here.
pub(super) fn change(lab: &mut Laboratory, turn: usize) -> Result<()> {
    if !turn.is_multiple_of(2) {
        return lab.delete_policy("shop", "guests");
    }
    let rule = json!([
        {"from": app("guest"), "ports": ports(ALLOWED)},
        {"from": [{"ipBlock": {"cidr": format!("192.0.2.{}/32", turn % 250)}}]},
    ]);
    lab.policy("shop", "guests", &ingress_of_server(&rule))
}

fn killed_at_random_instants(setup: Setup, what: &str) -> Result<()> {
    let seed = std::env::var("NETPOL_SEED").ok().and_then(|text| text.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(0..1_000_000_000));
    let mut dice = fastrand::Rng::with_seed(seed);
    let mut alive = Alive::start(setup)?;
    alive.three.lab.kill_agent();
    let began = Instant::now();
    alive.three.lab.start_agent()?;
    let start = began.elapsed();
    for turn in 0..KILLS {
        alive.three.lab.kill_agent();
        change(&mut alive.three.lab, turn)?;
        alive.three.lab.launch_agent()?;
        // Anywhere in its start, or soon after it.
        thread::sleep(start.mul_f64(1.3 * dice.f64()));
        alive.nothing_has_passed().with_context(|| format!("NETPOL_SEED={seed}, turn {turn}"))?;
    }
    alive.three.lab.kill_agent();
    alive.goes_on().context("without an agent")?;
    alive.three.lab.start_agent()?;
    alive.three.lab.settle()?;
    alive.end(&format!("{what}, NETPOL_SEED={seed}"), true)
}

#[test]
#[ignore = "needs root and BPF"]
fn an_agent_that_is_killed_at_a_hundred_random_instants_breaks_nothing_and_lets_nothing_pass() -> Result<()> {
    killed_at_random_instants(Setup::default(), "agent killed at 100 random instants")
}

#[test]
#[ignore = "needs root and BPF"]
fn an_agent_that_is_killed_at_a_hundred_random_instants_breaks_nothing_with_filters() -> Result<()> {
    killed_at_random_instants(with_filters(), "agent with filters killed at 100 random instants")
}

/// Ended in good order, which is what the deletion of the DaemonSet does: all stays in force until the next one is there.
#[test]
#[ignore = "needs root and BPF"]
fn an_agent_that_ends_leaves_all_in_force() -> Result<()> {
    let mut alive = Alive::start(Setup::default())?;
    for _ in 0..ENDS {
        alive.three.lab.stop_agent()?;
        alive.goes_on().context("without an agent")?;
        alive.judges().context("without an agent")?;
        alive.three.lab.start_agent()?;
        alive.goes_on()?;
    }
    alive.end("agent ended and started again", false)
}
