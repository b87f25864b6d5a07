//! The laboratory itself, without an agent: everything reaches everything, and nothing is left behind. What is dropped in
//! the other tests is dropped by netpol alone.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use netpol_tests::deadline::wait_for;
use netpol_tests::laboratory::network::{NODE, OUTSIDE, PRIVATE};
use netpol_tests::probe::{Kind, Probe, expect_reached};
use netpol_tests::{Laboratory, Link, PodSpec, ServiceSpec, Setup, serve};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
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

/// Names of namespaces and folders that carry a laboratory's id.
fn left_of(id: &str) -> Vec<String> {
    ["/run/netns", "/run/netpol-laboratory", "/sys/fs/bpf"]
        .iter()
        .filter_map(|folder| fs::read_dir(folder).ok())
        .flatten()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| name == id || name.starts_with(&format!("{id}-")))
        .collect()
}

#[test]
#[ignore = "needs root and BPF"]
fn nothing_is_left_behind() -> Result<()> {
    let mut lab = Laboratory::new()?;
    lab.add_pod(PodSpec::new("default", "a"))?;
    let id = lab.id().to_owned();
    // The folder, the node, the outside, the pod.
    assert_eq!(left_of(&id).len(), 4);
    drop(lab);
    assert_eq!(left_of(&id), Vec::<String>::new());
    Ok(())
}

/// Another process with a laboratory, and the laboratory's id.
fn another() -> Result<(Child, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netpol-demo"));
    command.args(["--control-only", "--keep"]).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn().context("cannot start the demo")?;
    let stdout = child.stdout.take().context("the demo has no output")?;
    for line in BufReader::new(stdout).lines() {
        if line?.contains("takes it down") {
            break;
        }
    }
    // It has made no other one.
    let id = format!("npl-{}-0", child.id());
    Ok((child, id))
}

#[test]
#[ignore = "needs root and BPF"]
fn an_interruption_leaves_nothing_behind() -> Result<()> {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let (mut child, id) = another()?;
        // The folder, two namespaces and seven pods.
        assert_eq!(left_of(&id).len(), 10);
        kill(Pid::from_raw(child.id().cast_signed()), signal)?;
        let status = wait_for("the demo ends", Duration::from_secs(10), || child.try_wait().ok().flatten())?;
        assert_eq!(status.code(), Some(128 + signal as i32));
        assert_eq!(left_of(&id), Vec::<String>::new());
    }
    Ok(())
}

#[test]
#[ignore = "needs root and BPF"]
fn what_a_killed_process_left_is_removed_by_the_next_laboratory() -> Result<()> {
    let (mut living, kept) = another()?;
    let (mut killed, id) = another()?;
    let programs = fs::read_dir(format!("/run/netpol-laboratory/{id}/processes"))?.flatten();
    let programs: Vec<String> =
        programs.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert_eq!(programs.len(), 3, "dnsmasq and two of openssl");
    killed.kill()?;
    killed.wait()?;
    drop(Laboratory::new()?);
    assert_eq!(left_of(&id), Vec::<String>::new());
    for program in programs {
        // A process without a command line has ended, whether or not somebody has waited for it.
        let runs = || fs::read(format!("/proc/{program}/cmdline")).is_ok_and(|line| !line.is_empty());
        wait_for("the server has ended", Duration::from_secs(5), || (!runs()).then_some(()))?;
    }
    assert_eq!(left_of(&kept).len(), 10, "that of a living process stays");
    kill(Pid::from_raw(living.id().cast_signed()), Signal::SIGTERM)?;
    living.wait()?;
    Ok(())
}
