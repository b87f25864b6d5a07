//! Policies and labels change under open connections: what is still allowed lives on, what is denied stops.

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use netpol_tests::probe::{ARRIVAL_PATIENCE, DROP_PATIENCE, exchange};
use netpol_tests::{Link, Namespace, Outcome, eventually, figure};
use serde_json::json;

use crate::setup::{ALLOWED, OTHER, Three, from_client, ingress_of_server};

/// A denied segment is sent again after growing times; one that is allowed again must arrive by then.
const RESENT: Duration = Duration::from_secs(20);

fn open(from: &Namespace, to: &[SocketAddr]) -> Result<Vec<TcpStream>> {
    to.iter()
        .map(|to| {
            from.connect(*to, ARRIVAL_PATIENCE)
                .map_err(|outcome| anyhow!("cannot connect to {to}: {outcome:?}"))
        })
        .collect()
}

/// A line over each connection, all at the same time.
fn all(streams: &mut [TcpStream], patience: Duration) -> Vec<Outcome> {
    thread::scope(|scope| {
        let asked: Vec<_> =
            streams.iter_mut().map(|stream| scope.spawn(move || exchange(stream, patience))).collect();
        asked.into_iter().filter_map(|thread| thread.join().ok()).collect()
    })
}

#[test]
#[ignore = "needs root and BPF"]
fn a_policy_reaches_open_connections() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    three.policy("server", &ingress_of_server(&json!([{}])))?;
    let mut kept = open(&three.client, &three.server.sockets(ALLOWED))?;
    let mut cut = open(&three.client, &three.server.sockets(OTHER))?;
    cut.extend(open(&three.stranger, &three.server.sockets(ALLOWED))?);
    assert_eq!(all(&mut kept, ARRIVAL_PATIENCE), [Outcome::Reached; 2]);
    assert_eq!(all(&mut cut, ARRIVAL_PATIENCE), [Outcome::Reached; 4]);

    three.policy("server", &ingress_of_server(&from_client()))?;
    assert_eq!(all(&mut kept, ARRIVAL_PATIENCE), [Outcome::Reached; 2], "what is still allowed lives on");
    assert_eq!(all(&mut cut, DROP_PATIENCE), [Outcome::TimedOut; 4], "what is denied stops");

    three.policy("server", &ingress_of_server(&json!([{}])))?;
    assert_eq!(all(&mut kept, ARRIVAL_PATIENCE), [Outcome::Reached; 2]);
    eventually("what is allowed again goes on", RESENT, &vec![Outcome::Reached; 4], || {
        all(&mut cut, ARRIVAL_PATIENCE)
    })?;
    Ok(())
}

#[test]
#[ignore = "needs root and BPF"]
fn the_first_policy_reaches_connections_that_were_open_before_it() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    let mut cut = open(&three.stranger, &three.server.sockets(ALLOWED))?;
    assert_eq!(all(&mut cut, ARRIVAL_PATIENCE), [Outcome::Reached; 2]);
    three.policy("server", &ingress_of_server(&from_client()))?;
    assert_eq!(all(&mut cut, DROP_PATIENCE), [Outcome::TimedOut; 2]);
    Ok(())
}

#[test]
#[ignore = "needs root and BPF"]
fn a_label_of_the_remote_pod_reaches_open_connections() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    let mut streams = open(&three.client, &three.server.sockets(ALLOWED))?;
    assert_eq!(all(&mut streams, ARRIVAL_PATIENCE), [Outcome::Reached; 2]);

    three.lab.relabel("shop/client", &[("app", "retired")])?;
    three.lab.settle()?;
    assert_eq!(all(&mut streams, DROP_PATIENCE), [Outcome::TimedOut; 2]);
    assert_eq!(three.client.tcp(three.server.sockets(ALLOWED)[0], DROP_PATIENCE), Outcome::TimedOut);

    three.lab.relabel("shop/client", &[("app", "client"), ("more", "yes")])?;
    three.lab.settle()?;
    eventually("the connections go on", RESENT, &vec![Outcome::Reached; 2], || {
        all(&mut streams, ARRIVAL_PATIENCE)
    })?;
    Ok(())
}

#[test]
#[ignore = "needs root and BPF"]
fn a_label_of_the_pod_itself_decides_whether_it_is_isolated() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    let mut streams = open(&three.client, &three.server.sockets(ALLOWED))?;
    let stranger = three.stranger.clone();
    let to = three.server.sockets(ALLOWED);
    assert_eq!(stranger.tcp(to[0], DROP_PATIENCE), Outcome::TimedOut);

    three.lab.relabel("shop/server", &[("app", "free")])?;
    three.lab.settle()?;
    assert_eq!(stranger.tcp(to[0], ARRIVAL_PATIENCE), Outcome::Reached);
    assert_eq!(stranger.tcp(to[1], ARRIVAL_PATIENCE), Outcome::Reached);

    three.lab.relabel("shop/server", &[("app", "server")])?;
    three.lab.settle()?;
    assert_eq!(stranger.tcp(to[0], DROP_PATIENCE), Outcome::TimedOut);
    assert_eq!(stranger.tcp(to[1], DROP_PATIENCE), Outcome::TimedOut);
    assert_eq!(all(&mut streams, ARRIVAL_PATIENCE), [Outcome::Reached; 2]);
    Ok(())
}

/// From the closing of a file to its effect on packets.
const IN_FORCE: Duration = Duration::from_millis(50);

#[test]
#[ignore = "needs root and BPF"]
fn a_change_is_in_force_within_50_ms() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    three.policy("server", &ingress_of_server(&json!([{}])))?;
    let client = three.client.clone();
    let to = three.server.sockets(OTHER)[0];
    let mut took = Vec::new();
    for turn in 0..11 {
        let (rules, outcome) =
            if turn % 2 == 0 { (from_client(), Outcome::TimedOut) } else { (json!([{}]), Outcome::Reached) };
        let start = Instant::now();
        three.lab.policy("shop", "server", &ingress_of_server(&rules))?;
        let look = || client.udp(to, Duration::from_millis(4));
        eventually("the change is in force", ARRIVAL_PATIENCE, &outcome, look)?;
        took.push(start.elapsed());
        three.lab.settle()?;
    }
    took.sort();
    figure(format_args!("a manifest is in force after {:?}, the slowest after {:?}", took[5], took[10]));
    assert!(took[5] < IN_FORCE, "median of {took:?}");
    Ok(())
}
