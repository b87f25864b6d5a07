//! Fragments, in order and the wrong way round: as their first one is judged. What counts is what a socket receives.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use netpol_tests::packet::{fragments, udp};
use netpol_tests::probe::{ARRIVAL_PATIENCE, DROP_PATIENCE, fresh_number};
use netpol_tests::serve::Server;
use netpol_tests::{Link, Namespace, Pod, eventually};
use serde_json::json;

use crate::setup::{ALLOWED, OTHER, Three, app, egress_of_client, from_client, ingress_of_server, ports};

/// Sends a datagram of 1,600 bytes to each family of a pod, in fragments.
fn send(from: &Pod, to: &Pod, port: u16, backwards: bool) -> Result<()> {
    for (src, dst) in from.addresses().into_iter().zip(to.sockets(port)) {
        let whole = udp(SocketAddr::new(src, fresh_number()), dst, &[7; 1600]);
        let mut parts = fragments(&whole, 512, fresh_number());
        assert_eq!(parts.len(), 4);
        if backwards {
            parts.reverse();
        }
        for part in parts {
            from.send_packet(&part)?;
        }
    }
    Ok(())
}

/// Whether both families' datagrams reach the server.
fn arrives(server: &Server, patience: Duration, send: impl FnOnce() -> Result<()>) -> Result<bool> {
    let before = server.heard();
    send()?;
    Ok(eventually("both datagrams arrive", patience, &(before + 2), || server.heard()).is_ok())
}

fn heard_by(three: &Three, port: u16) -> &Server {
    if port == ALLOWED { &three.allowed.udp } else { &three.other.udp }
}

/// Neighbours are found by whole packets, so that no fragment waits for an address.
fn warm_up(from: &Namespace, to: &Pod) {
    for address in to.addresses() {
        assert_eq!(from.ping(address, ARRIVAL_PATIENCE), netpol_tests::Outcome::Reached);
    }
}

fn fragments_follow_their_first(link: Link) -> Result<()> {
    let mut three = Three::start(link)?;
    let (client, stranger, server) = (three.client.clone(), three.stranger.clone(), three.server.clone());
    warm_up(&client, &server);
    warm_up(&stranger, &server);
    let cases = [(&client, ALLOWED), (&client, OTHER), (&stranger, ALLOWED)];
    for backwards in [false, true] {
        for (from, port) in cases {
            let sent = || send(from, &server, port, backwards);
            assert!(
                arrives(heard_by(&three, port), ARRIVAL_PATIENCE, sent)?,
                "without a policy, {} {port} {backwards}",
                from.key()
            );
        }
    }
    let ingress = ingress_of_server(&from_client());
    let egress = egress_of_client(&json!([{"to": app("server"), "ports": ports(ALLOWED)}]));
    for (name, spec, only_client) in [("ingress", ingress, false), ("egress", egress, true)] {
        three.policy(name, &spec)?;
        for backwards in [false, true] {
            for (turn, (from, port)) in cases.into_iter().enumerate() {
                let wanted = turn == 0 || (turn == 2 && only_client);
                let patience = if wanted { ARRIVAL_PATIENCE } else { DROP_PATIENCE };
                let seen =
                    arrives(heard_by(&three, port), patience, || send(from, &server, port, backwards))?;
                assert_eq!(seen, wanted, "{name}, {} {port} backwards {backwards}", from.key());
            }
        }
        three.no_policy(name)?;
    }
    Ok(())
}

#[test]
#[ignore = "needs root and BPF"]
fn fragments_follow_their_first_over_a_bridge() -> Result<()> {
    fragments_follow_their_first(Link::Bridge)
}

#[test]
#[ignore = "needs root and BPF"]
fn fragments_follow_their_first_by_routes() -> Result<()> {
    fragments_follow_their_first(Link::Routed)
}
