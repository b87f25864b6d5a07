//! The agent ends, is killed and comes back while traffic flows; and goes without a trace.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use netpol_tests::packet::udp;
use netpol_tests::probe::{ARRIVAL_PATIENCE, exchange, expect_dropped, expect_reached};
use netpol_tests::{Laboratory, Link, Outcome, Pod, Setup, eventually, figure};

use crate::setup::{ALLOWED, OTHER, Three, from_client, ingress_of_server};

/// Connections that must live through everything.
const CONNECTIONS: usize = 60;
/// How often the agent is killed and started again.
const TURNS: usize = 4;

/// What goes over the wire while the agent comes and goes.
#[derive(Default)]
struct Load {
    stop: AtomicBool,
    exchanges: AtomicU64,
    broken: AtomicU64,
    probes: AtomicU64,
}

impl Load {
    fn running(&self) -> bool {
        !self.stop.load(Ordering::Relaxed)
    }

    fn connections(&self, mut streams: Vec<TcpStream>) {
        while self.running() {
            for stream in &mut streams {
                match exchange(stream, ARRIVAL_PATIENCE) {
                    Outcome::Reached => self.exchanges.fetch_add(1, Ordering::Relaxed),
                    _ => self.broken.fetch_add(1, Ordering::Relaxed),
                };
            }
        }
    }

    fn denied_connections(&self, from: &Pod, to: &Pod) {
        while self.running() {
            for to in to.sockets(ALLOWED) {
                // Whether one is taken is counted at the server.
                drop(from.connect(to, Duration::from_millis(30)));
                self.probes.fetch_add(1, Ordering::Relaxed);
            }
        }
    }

    fn denied(&self, from: &Pod, to: &Pod) -> Result<()> {
        // A socket for each packet would be slow; what it sends is the same datagram, from new ports.
        let mut port = 30_000;
        while self.running() {
            port = if port == 60_000 { 30_000 } else { port + 1 };
            for (src, dst) in from.addresses().into_iter().zip(to.sockets(ALLOWED)) {
                from.send_packet(&udp(SocketAddr::new(src, port), dst, b"denied"))?;
                self.probes.fetch_add(1, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

/// A laboratory whose agent attaches filters of clsact, as it does on kernels before 6.6.
pub(crate) fn with_filters() -> Setup {
    Setup { agent_flags: ["--attach", "filter"].map(str::to_owned).to_vec(), ..Setup::default() }
}

fn comes_and_goes(setup: Setup, again: fn(&mut Laboratory) -> Result<()>) -> Result<()> {
    let mut three = Three::with(setup)?;
    for to in three.server.sockets(ALLOWED) {
        assert_eq!(three.stranger.udp(to, ARRIVAL_PATIENCE), Outcome::Reached, "without a policy it arrives");
    }
    three.policy("server", &ingress_of_server(&from_client()))?;
    let mut streams = Vec::new();
    for turn in 0..CONNECTIONS {
        let to = three.server.sockets(ALLOWED)[turn % 2];
        let stream = three.client.connect(to, ARRIVAL_PATIENCE);
        streams.push(stream.map_err(|outcome| anyhow!("cannot connect to {to}: {outcome:?}"))?);
    }

    let load = Load::default();
    let Three { mut lab, server, stranger, allowed, .. } = three;
    let connected = CONNECTIONS as u64;
    eventually("every connection is taken", ARRIVAL_PATIENCE, &connected, || allowed.tcp.heard())?;
    let heard = allowed.udp.heard();
    thread::scope(|scope| -> Result<()> {
        let half = streams.split_off(CONNECTIONS / 2);
        scope.spawn(|| load.connections(streams));
        scope.spawn(|| load.connections(half));
        scope.spawn(|| load.denied_connections(&stranger, &server));
        let denied = scope.spawn(|| load.denied(&stranger, &server));
        let mut turns = || -> Result<()> {
            for _ in 0..TURNS {
                let (exchanges, probes) =
                    (load.exchanges.load(Ordering::Relaxed), load.probes.load(Ordering::Relaxed));
                again(&mut lab)?;
                // Both go on after it.
                eventually("traffic flows", ARRIVAL_PATIENCE, &true, || {
                    load.exchanges.load(Ordering::Relaxed) > exchanges + 200
                        && load.probes.load(Ordering::Relaxed) > probes + 200
                })?;
            }
            Ok(())
        };
        let result = turns();
        load.stop.store(true, Ordering::Relaxed);
        denied.join().map_err(|_| anyhow!("the prober panicked"))?.context("cannot probe")?;
        result
    })?;
    let (exchanges, probes) = (load.exchanges.into_inner(), load.probes.into_inner());
    figure(format_args!(
        "{exchanges} exchanges over {CONNECTIONS} connections, {probes} denied packets, while agents are killed"
    ));
    assert_eq!(load.broken.into_inner(), 0, "no connection broke in {exchanges} exchanges");
    assert_eq!(allowed.udp.heard(), heard, "none of {probes} denied packets passed");
    assert_eq!(allowed.tcp.heard(), connected, "no denied connection was taken");
    Ok(())
}

#[test]
#[ignore = "needs root and BPF"]
fn killed_and_started_again_under_load() -> Result<()> {
    comes_and_goes(Setup::default(), |lab| {
        lab.kill_agent();
        lab.start_agent()
    })
}

#[test]
#[ignore = "needs root and BPF"]
fn killed_and_started_again_under_load_with_filters() -> Result<()> {
    comes_and_goes(with_filters(), |lab| {
        lab.kill_agent();
        lab.start_agent()
    })
}

#[test]
#[ignore = "needs root and BPF"]
fn ended_and_started_again_under_load() -> Result<()> {
    comes_and_goes(Setup::default(), |lab| {
        lab.stop_agent()?;
        lab.start_agent()
    })
}

#[test]
#[ignore = "needs root and BPF"]
fn enforcement_goes_on_without_the_agent() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    let denied = three.all_protocols(&three.stranger, ALLOWED);
    expect_reached(&denied)?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    three.lab.kill_agent();
    expect_reached(&three.all_protocols(&three.client, ALLOWED))?;
    expect_dropped(&denied)?;
    expect_dropped(&three.all_protocols(&three.client, OTHER))?;
    // What changed meanwhile is in force when the agent is back.
    three.lab.delete_policy("shop", "server")?;
    three.lab.start_agent()?;
    expect_reached(&denied)
}

#[test]
#[ignore = "needs root and BPF"]
fn a_change_while_the_agent_was_away_reaches_open_connections() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    let mut streams = Vec::new();
    for to in three.server.sockets(ALLOWED) {
        let stream = three.client.connect(to, ARRIVAL_PATIENCE);
        streams.push(stream.map_err(|outcome| anyhow!("cannot connect to {to}: {outcome:?}"))?);
    }
    three.lab.kill_agent();
    three.lab.relabel("shop/client", &[("app", "retired")])?;
    three.lab.start_agent()?;
    for stream in &mut streams {
        assert_eq!(exchange(stream, Duration::from_secs(1)), Outcome::TimedOut);
    }
    Ok(())
}

#[test]
#[ignore = "needs root and BPF"]
fn uninstall_leaves_nothing() -> Result<()> {
    uninstall(Setup::default())
}

#[test]
#[ignore = "needs root and BPF"]
fn uninstall_leaves_no_filter() -> Result<()> {
    uninstall(with_filters())
}

fn uninstall(setup: Setup) -> Result<()> {
    let filters = !setup.agent_flags.is_empty();
    let mut three = Three::with(setup)?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    let denied = three.all_protocols(&three.stranger, ALLOWED);
    expect_dropped(&denied)?;
    let links = std::fs::read_dir(three.lab.pins().join("links"))?.count();
    assert_eq!(links == 0, filters, "filters have no pins, links have");
    three.lab.stop_agent()?;
    expect_dropped(&denied)?;

    three.lab.uninstall_agent()?;
    // At once: no packet meets an entry whose classifier is gone.
    expect_reached(&denied)?;
    assert!(!three.lab.pins().exists(), "the folder of pins is gone");
    // A second time there is nothing to do.
    three.lab.uninstall_agent()
}
