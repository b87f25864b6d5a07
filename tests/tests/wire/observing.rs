//! `netpol observe` against a running agent: filters, repeated denials as one, what is missing.

use std::io::{BufRead as _, BufReader};
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use netpol_tests::deadline::wait_for;
use netpol_tests::probe::{ARRIVAL_PATIENCE, Kind, Probe, expect_dropped, expect_reached};
use netpol_tests::{Laboratory, Namespace, Setup};
use serde_json::Value;

use crate::setup::{ALLOWED, OTHER, Three, from_client, ingress_of_server};

/// The server takes packets of the client on one port, of the stranger none.
pub(crate) fn denied_stranger(setup: Setup) -> Result<Three> {
    let mut three = Three::with(setup)?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    Ok(three)
}

/// Sends datagrams from a port of its own; nobody answers.
pub(crate) struct Sender(UdpSocket);

impl Sender {
    pub(crate) fn new(from: &Namespace, to: SocketAddr) -> Result<Self> {
        let any = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let socket = from.run(|| -> std::io::Result<UdpSocket> {
            let socket = UdpSocket::bind(any)?;
            socket.connect(to)?;
            Ok(socket)
        })?;
        Ok(Self(socket.context("cannot make a socket")?))
    }

    pub(crate) fn send(&self, count: u64) -> Result<()> {
        for _ in 0..count {
            self.0.send(b"x").context("cannot send")?;
        }
        Ok(())
    }

    fn port(&self) -> Result<String> {
        Ok(self.0.local_addr()?.port().to_string())
    }
}

/// What `netpol observe` writes to a pipe with these flags, a JSON value a line.
pub(crate) fn observed(lab: &Laboratory, flags: &[&str]) -> Result<Vec<Value>> {
    let output = lab.agent()?.client(&[&["observe"], flags].concat()).output()?;
    let (text, error) = (String::from_utf8(output.stdout)?, String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success() && error.is_empty(), "{flags:?}: {}: {error}", output.status);
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// What it writes as text; or what it says is wrong.
fn text(lab: &Laboratory, flags: &[&str]) -> Result<(Option<i32>, String)> {
    let output = lab.agent()?.client(&[&["observe"], flags].concat()).output()?;
    let all = [output.stdout, output.stderr].concat();
    Ok((output.status.code(), String::from_utf8(all)?))
}

/// The sum of the counts of these verdicts, or gaps.
pub(crate) fn sum(records: &[Value], kind: &str) -> u64 {
    records.iter().filter(|record| record["type"] == kind).filter_map(|record| record["count"].as_u64()).sum()
}

#[test]
#[ignore = "needs root and BPF"]
fn denials_of_one_flow_are_one_with_their_exact_count() -> Result<()> {
    let three = denied_stranger(Setup::default())?;
    for to in three.server.sockets(ALLOWED) {
        let (seven, three_more) = (Sender::new(&three.stranger, to)?, Sender::new(&three.stranger, to)?);
        seven.send(7)?;
        three_more.send(3)?;
        for (sender, count) in [(&seven, 7), (&three_more, 3)] {
            let port = sender.port()?;
            let flags = ["--from", "shop/stranger", "--from-port", &port, "--protocol", "udp"];
            let look = || observed(&three.lab, &flags).ok().filter(|all| sum(all, "verdict") >= count);
            let all = wait_for("all denials are told of", ARRIVAL_PATIENCE, look)
                .with_context(|| format!("{:?}", observed(&three.lab, &flags)))?;
            let [one] = all.as_slice() else { panic!("{all:?}") };
            assert_eq!(one["count"], count, "{one}");
            assert!(one["first"].as_str() <= one["time"].as_str() && one["atLeast"].is_null(), "{one}");
            let (code, lines) = text(&three.lab, &[&flags[..], &["-o", "text"]].concat())?;
            assert!(
                code == Some(0) && lines.ends_with(&format!("isolated by shop/server, x{count}\n")),
                "{lines}"
            );
        }
    }
    // The same datagram is not denied to whom the policy names: it is the policy that denied the others.
    expect_reached(&Probe::all(&three.client, Kind::Udp, &three.server.sockets(ALLOWED)))
}

/// `netpol observe --follow`, line by line.
struct Follower {
    child: std::process::Child,
    lines: mpsc::Receiver<Value>,
}

impl Follower {
    fn start(mut command: Command) -> Result<Self> {
        Namespace::die_with_thread(&mut command);
        let mut child = command.stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("no stdout")?;
        let (tell, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if serde_json::from_str(&line).is_ok_and(|value| tell.send(value).is_err()) {
                    break;
                }
            }
        });
        Ok(Self { child, lines })
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _gone = self.child.kill();
        let _reaped = self.child.wait();
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_follower_hears_the_first_denial_at_once_and_then_their_count_now_and_then() -> Result<()> {
    let three = denied_stranger(Setup::default())?;
    let agent = three.lab.agent()?;
    let filter = ["--from", "shop/stranger", "--to", "app=server", "--verdict", "dropped"];
    let folded = Follower::start(agent.client(&[&["observe", "--follow"], &filter[..]].concat()))?;
    let each = Follower::start(agent.client(&[&["observe", "--follow", "--no-fold"], &filter[..]].concat()))?;
    let sender = Sender::new(&three.stranger, three.server.sockets(OTHER)[0])?;
    let (mut sent, mut told, mut alone) = (0u64, Vec::new(), Vec::new());
    let start = Instant::now();
    wait_for("the count so far", ARRIVAL_PATIENCE, || {
        // A rate that the kernel reports all of.
        thread::sleep(Duration::from_millis(15));
        sender.send(1).ok()?;
        sent += 1;
        told.extend(folded.lines.try_iter());
        alone.extend(each.lines.try_iter());
        (told.len() >= 3 && alone.len() >= 20).then_some(())
    })
    .with_context(|| format!("{sent} sent, {told:?}, {} alone", alone.len()))?;
    let counts: Vec<u64> = told.iter().filter_map(|line| line["count"].as_u64()).collect();
    assert!(counts.is_sorted() && counts.last() > Some(&5), "{counts:?}");
    assert!(told.len() as u64 <= start.elapsed().as_secs() + 2, "at most once a second: {counts:?}");
    assert!(alone.iter().all(|line| line["count"] == 1 && line["destination"]["port"] == OTHER), "{alone:?}");
    Ok(())
}

#[test]
#[ignore = "needs root and BPF"]
fn filters_show_what_they_say_and_a_wrong_one_says_what_to_write() -> Result<()> {
    let three = denied_stranger(Setup::default())?;
    let lab = &three.lab;
    expect_reached(&Probe::all(&three.client, Kind::Tcp, &three.server.sockets(ALLOWED)))?;
    expect_dropped(&Probe::all(&three.stranger, Kind::Tcp, &three.server.sockets(ALLOWED)))?;
    let address = three.stranger.sockets(0)[0].ip().to_string();
    let look = || {
        let both = ["--not", "protocol=icmpv6", "--to", "shop/server", "--direction", "ingress"];
        let all = observed(lab, &both).ok()?;
        let of = |name: &str| all.iter().any(|verdict| verdict["source"]["name"] == name);
        (of("shop/client") && of("shop/stranger")).then_some(all)
    };
    wait_for("verdicts of both clients", ARRIVAL_PATIENCE, look)?;

    let every = |flags: &[&str], field: fn(&Value) -> &Value, expected: &str| -> Result<()> {
        let all = observed(lab, flags)?;
        assert!(!all.is_empty() && all.iter().all(|v| field(v) == expected), "{flags:?}: {all:?}");
        Ok(())
    };
    let source = |v: &Value| -> String { v["source"]["name"].as_str().unwrap_or_default().to_owned() };
    every(&["--from", "shop/client", "--to-port", "7000"], |v| &v["source"]["name"], "shop/client")?;
    every(&["--from", "app=stranger"], |v| &v["source"]["name"], "shop/stranger")?;
    every(&["--verdict", "dropped", "--protocol", "tcp"], |v| &v["source"]["name"], "shop/stranger")?;
    every(&["--reason", "policy-denied"], |v| &v["verdict"], "dropped")?;
    every(
        &["--policy", "shop/server", "--verdict", "allowed"],
        |v| &v["allowedBy"][0]["policy"],
        "shop/server",
    )?;
    every(&["--address", &address, "--direction", "ingress"], |v| &v["endpoint"], "shop/server")?;
    every(
        &["--label", "app=stranger", "--pod", "shop/server", "--since", "1h"],
        |v| &v["verdict"],
        "dropped",
    )?;
    let without = observed(lab, &["--not", "from=shop/stranger", "--not", "to=shop/stranger"])?;
    assert!(!without.is_empty() && without.iter().all(|v| source(v) != "shop/stranger"), "{without:?}");
    assert_eq!(observed(lab, &["--last", "1"])?.len(), 1);
    for none in [["--until", "1h"], ["--from", "world"], ["--namespace", "elsewhere"], ["--port", "1"]] {
        assert!(observed(lab, &none)?.is_empty(), "{none:?}");
    }

    for (wrong, says) in [
        (["--reason", "policy-dened"], "did you mean policy-denied"),
        (["--address", "10.0.0.0/99"], "10.0.0.0/24"),
        (["--since", "yesterday"], "5m"),
        (["--not", "pod"], "NAMESPACE/NAME"),
    ] {
        let (code, said) = text(lab, &wrong)?;
        assert!(code == Some(2) && said.contains(says), "{wrong:?}: {code:?} {said}");
    }
    let (_, reasons) = text(lab, &["--reasons"])?;
    assert!(reasons.contains("The endpoint is isolated and no rule allows it."), "{reasons}");
    let (_, wide) = text(lab, &["-o", "wide", "--verdict", "dropped"])?;
    assert!(wide.contains("\n    rule 1 of shop/server matches the port, not the peer: "), "{wide}");
    let (_, painted) = text(lab, &["-o", "text", "--color", "always", "--verdict", "dropped"])?;
    assert!(painted.contains("\u{1b}[31m") && !wide.contains('\u{1b}'), "{painted}");
    let status = lab.agent()?.status()?;
    assert!(status["verdictsKept"].as_u64() > Some(3) && status["verdictsSince"].is_string(), "{status}");
    Ok(())
}

#[test]
#[ignore = "needs root and BPF"]
fn what_could_not_be_reported_is_said_with_its_exact_number() -> Result<()> {
    let agent_flags = vec!["--table-ring-bytes".to_owned(), "4096".to_owned()];
    let three = denied_stranger(Setup { agent_flags, ..Setup::default() })?;
    let lab = &three.lab;
    let sender = Sender::new(&three.stranger, three.server.sockets(ALLOWED)[0])?;
    // The neighbour is known after the first one.
    sender.send(1)?;
    let flags = ["--from", "shop/stranger", "--reason", "policy-denied"];
    let first = || observed(lab, &flags).ok().filter(|all| sum(all, "verdict") == 1);
    wait_for("the first denial", ARRIVAL_PATIENCE, first)?;
    sender.send(5000)?;

    let dropped = || -> Option<u64> {
        let status = lab.agent().ok()?.status().ok()?;
        let counters = status["counters"].as_array()?;
        let denied = |c: &&Value| c["reason"] == "policy-denied" && c["direction"] == "ingress";
        counters.iter().find(denied)?["packets"].as_u64()
    };
    let all = wait_for("every denial is told of, or said to be missing", ARRIVAL_PATIENCE, || {
        let (before, all) = (dropped()?, observed(lab, &flags).ok()?);
        (before > 1000 && sum(&all, "verdict") + sum(&all, "gap") == before).then_some(all)
    })
    .with_context(|| format!("{:?} dropped, {:?}", dropped(), observed(lab, &flags)))?;
    let causes: Vec<&str> = all.iter().filter_map(|record| record["cause"].as_str()).collect();
    assert!(causes.contains(&"rate-limit") && causes.contains(&"ring-full"), "{all:?}");
    let verdict = all.iter().find(|record| record["type"] == "verdict").context("no verdict")?;
    assert_eq!(verdict["atLeast"], true, "{verdict}");
    let (_, lines) = text(lab, &[&flags[..], &["-o", "text"]].concat())?;
    assert!(lines.contains("verdicts are missing here: between") && lines.contains("+\n"), "{lines}");
    Ok(())
}
