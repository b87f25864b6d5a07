//! The laboratory itself, without an agent: everything reaches everything, and nothing is left behind. What is dropped in
//! the other tests is dropped by netpol alone.

use std::fs;

use anyhow::Result;
use netpol_tests::laboratory::network::{NODE, OUTSIDE, PRIVATE};
use netpol_tests::probe::{Kind, Probe, expect_reached};
use netpol_tests::{Laboratory, Link, PodSpec, ServiceSpec, Setup, serve};
use std::net::SocketAddr;

fn everything_reaches_everything(link: Link) -> Result<()> {
    let mut lab = Laboratory::with(Setup { link, ..Setup::default() })?;
    let web = lab.add_pod(PodSpec::new("shop", "web").label("app", "web"))?;
    let other = lab.add_pod(PodSpec::new("shop", "other").label("app", "web"))?;
    let client = lab.add_pod(PodSpec::new("shop", "client"))?;
    let service =
        ServiceSpec::new("shop", "web", 80, "app", "web").port("TCP", 80, 8080).port("UDP", 53, 5353);
    lab.add_service(service.clone())?;
    let mut servers = Vec::new();
    for pod in [&web, &other] {
        servers.push(serve::tcp(pod, 8080)?);
        servers.push(serve::udp(pod, 5353)?);
        servers.push(serve::sctp(pod, 9)?);
    }
    servers.push(serve::tcp(&lab.outside, 443)?);

    let mut probes = Vec::new();
    for from in [&*client, &*web, &lab.node, &lab.outside] {
        probes.extend(Probe::all(from, Kind::Ping, &web.sockets(0)));
        probes.extend(Probe::all(from, Kind::Tcp, &other.sockets(8080)));
        probes.extend(Probe::all(from, Kind::Udp, &web.sockets(5353)));
    }
    for pod in [&web, &other] {
        probes.extend(Probe::all(&client, Kind::Sctp, &pod.sockets(9)));
    }
    // Both backends are asked in the long run, one of them by itself.
    for _ in 0..6 {
        for from in [&*client, &*web, &lab.node] {
            probes.extend(Probe::all(from, Kind::Tcp, &service.sockets(80)));
            probes.extend(Probe::all(from, Kind::Udp, &service.sockets(53)));
        }
    }
    for place in OUTSIDE.iter().chain(&PRIVATE) {
        probes.extend(Probe::all(&client, Kind::Tcp, &[SocketAddr::new(*place, 443)]));
    }
    probes.extend(Probe::all(&client, Kind::Ping, &NODE.map(|address| SocketAddr::new(address, 0))));
    expect_reached(&probes)?;
    assert!(servers.iter().all(|server| server.heard() > 0), "every server was asked");
    Ok(())
}

#[test]
#[ignore = "needs root and BPF"]
fn everything_reaches_everything_on_a_bridge() -> Result<()> {
    everything_reaches_everything(Link::Bridge)
}

#[test]
#[ignore = "needs root and BPF"]
fn everything_reaches_everything_by_routes() -> Result<()> {
    everything_reaches_everything(Link::Routed)
}

#[test]
#[ignore = "needs root and BPF"]
fn nothing_is_left_behind() -> Result<()> {
    let mut lab = Laboratory::new()?;
    lab.add_pod(PodSpec::new("default", "a"))?;
    let (id, folder, pins) = (lab.id().to_owned(), lab.folder().to_owned(), lab.pins());
    let names = || -> Result<usize> {
        Ok(fs::read_dir("/run/netns")?
            .flatten()
            .filter(|e| e.file_name().to_string_lossy().starts_with(&id))
            .count())
    };
    assert_eq!(names()?, 3);
    assert!(folder.is_dir());
    drop(lab);
    assert_eq!(names()?, 0);
    assert!(!folder.exists() && !pins.exists());
    Ok(())
}
