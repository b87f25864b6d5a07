//! A neighbour that nothing selects forges the address of a pod that is allowed.

use std::net::SocketAddr;

use anyhow::Result;
use netpol_tests::packet::{SYN, frame, tcp, udp};
use netpol_tests::probe::{
    ARRIVAL_PATIENCE, DROP_PATIENCE, Kind, Probe, expect_dropped, expect_reached, fresh_number,
};
use netpol_tests::{Link, Outcome, eventually, packet};

use crate::setup::{ALLOWED, Three, from_client, ingress_of_server};

/// Sends, from the stranger, a datagram and a SYN in the client's name, and says how many of the four packets (two
/// families) the server's interface sees.
fn forge(three: &Three, wait_for: usize) -> Result<usize> {
    let watch = three.server.watch()?;
    let port = fresh_number();
    for (src, dst) in three.client.addresses().into_iter().zip(three.server.sockets(ALLOWED)) {
        let src = SocketAddr::new(src, port);
        three.stranger.send_packet(&udp(src, dst, b"forged"))?;
        three.stranger.send_packet(&tcp(src, dst, SYN, 1, 0))?;
    }
    let mut seen = 0;
    let patience = if wait_for > 0 { ARRIVAL_PATIENCE } else { DROP_PATIENCE };
    let is_forged = |bytes: &[u8]| {
        packet::read(bytes).and_then(|(.., payload)| packet::read_ports(payload)) == Some((port, ALLOWED))
    };
    while (seen < wait_for || wait_for == 0) && watch.wait(patience, is_forged).is_some() {
        seen += 1;
    }
    Ok(seen)
}

fn a_forged_address_is_dropped(link: Link) -> Result<()> {
    let mut three = Three::start(link)?;
    // The stranger must know where to send.
    expect_reached(&Probe::all(&three.stranger, Kind::Ping, &three.server.sockets(0)))?;
    assert_eq!(forge(&three, 4)?, 4, "without policies it arrives");

    three.policy("server", &ingress_of_server(&from_client()))?;
    let stranger = three.all_protocols(&three.stranger, ALLOWED);
    expect_dropped(&stranger)?;
    assert_eq!(forge(&three, 0)?, 0, "the source check drops it");
    expect_reached(&three.all_protocols(&three.client, ALLOWED))?;

    three.no_policy("server")?;
    expect_reached(&stranger)
}

#[test]
#[ignore = "needs root and BPF"]
fn a_forged_address_is_dropped_over_a_bridge() -> Result<()> {
    a_forged_address_is_dropped(Link::Bridge)
}

#[test]
#[ignore = "needs root and BPF"]
fn a_forged_address_is_dropped_by_routes() -> Result<()> {
    a_forged_address_is_dropped(Link::Routed)
}

#[test]
#[ignore = "needs root and BPF"]
fn a_forged_address_is_dropped_over_the_gateway_of_a_bridge() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    let gateway = three.lab.node.hardware("cni0")?;
    let forge = |three: &Three, patience| -> Result<bool> {
        let watch = three.server.watch()?;
        let port = fresh_number();
        for (src, dst) in three.client.addresses().into_iter().zip(three.server.sockets(ALLOWED)) {
            let whole = udp(SocketAddr::new(src, port), dst, b"forged");
            three.stranger.send_frame("eth0", &frame(gateway, three.stranger.hardware, &whole))?;
        }
        Ok(watch
            .wait(patience, |bytes| {
                packet::read(bytes).and_then(|(.., payload)| packet::read_ports(payload))
                    == Some((port, ALLOWED))
            })
            .is_some())
    };
    // The node must know where the server is.
    let node = three.lab.node.clone();
    expect_reached(&Probe::all(&node, Kind::Ping, &three.server.sockets(0)))?;
    assert!(forge(&three, ARRIVAL_PATIENCE)?, "without policies it arrives");
    three.policy("server", &ingress_of_server(&from_client()))?;
    assert!(!forge(&three, DROP_PATIENCE)?, "the source check drops it");
    let client = three.client.clone();
    let to = three.server.sockets(ALLOWED)[0];
    eventually("the real one arrives", ARRIVAL_PATIENCE, &Outcome::Reached, || {
        client.udp(to, DROP_PATIENCE)
    })?;
    Ok(())
}
