//! The questions of the matrix, asked from inside the pods by their probers: what a user would type where there is a program
//! for it.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, bail};
use netpol_prober::{Ended, Outcomes, Probe, Program, Protocol};
use netpol_tests::cluster::Prober;
use netpol_tests::laboratory::network::{OUTSIDE, PRIVATE};
use netpol_tests::{Namespace, Outcome};

use super::{OnCluster, dns};
use crate::scenarios::{Client, Row};
use crate::stage::Family;

/// How long a probe waits in milliseconds, as `--timeout` of wget does in seconds.
const PATIENCE: u64 = 3000;
/// When a program that did not give up by itself is ended.
const END: u64 = 15_000;
/// A program that gives up earlier, in milliseconds, was told so: refused, or no route.
const GAVE_UP: u64 = 900;
/// What is looked up.
const NAME: &str = "api.production.svc.cluster.local";
const DNS: &str = "kube-system/kube-dns";
const API: &str = "production/api";

/// What a place is asked to do, and which answer it must get.
enum Task {
    Probe(Probe, Answer),
    Program(Program, Answer),
}

enum Answer {
    /// Any at all.
    Some,
    /// One that holds this text.
    Text(String),
    /// One of a pod's prober.
    Of(&'static str),
    /// One of a name server, with this address.
    Address(IpAddr),
}

/// Asks all rows' questions by all families, all at the same time.
pub(super) fn ask(stage: &OnCluster, rows: &[Row]) -> Result<Vec<Vec<Outcome>>> {
    let mut tasks: BTreeMap<&str, Vec<(usize, Task)>> = BTreeMap::new();
    let mut number = 0;
    for row in rows {
        for &family in &stage.families {
            tasks.entry(row.from).or_default().push((number, task(stage, row, family)?));
            number += 1;
        }
    }
    let mut outcomes = thread::scope(|scope| -> Result<Vec<(usize, Outcome)>> {
        let asked: Vec<_> =
            tasks.iter().map(|(from, tasks)| scope.spawn(|| at(stage, from, tasks))).collect();
        let mut all = Vec::new();
        for thread in asked {
            all.extend(thread.join().map_err(|_| anyhow!("a probe panicked"))??);
        }
        Ok(all)
    })?;
    outcomes.sort_by_key(|(number, _)| *number);
    let outcomes: Vec<Outcome> = outcomes.into_iter().map(|(_, outcome)| outcome).collect();
    Ok(outcomes.chunks(stage.families.len()).map(<[Outcome]>::to_vec).collect())
}

fn task(stage: &OnCluster, row: &Row, family: Family) -> Result<Task> {
    let index = family.index();
    let url = |scheme: &str, address: IpAddr, port: u16, path: &str| {
        format!("{scheme}://{}/{path}", SocketAddr::new(address, port))
    };
    let tcp =
        |address: IpAddr, port: u16| Probe::new(Protocol::Tcp, SocketAddr::new(address, port), PATIENCE);
    Ok(match row.client {
        Client::WgetName(name) => wget(family, &format!("http://{name}/health")),
        Client::WgetPod(key, port) => {
            wget(family, &url("http", stage.pod_address(key, family)?, port, "health"))
        }
        Client::WgetOutside => wget(family, &url("http", OUTSIDE[index], 80, "")),
        Client::HttpsOutside => wget(family, &url("https", OUTSIDE[index], 443, "")),
        Client::HttpsPrivate => wget(family, &url("https", PRIVATE[index], 443, "")),
        Client::Nslookup => {
            let kind = if family == Family::V4 { "-type=a" } else { "-type=aaaa" };
            let server = stage.service_address(DNS, family)?.to_string();
            let address = stage.service_address(API, family)?.to_string();
            let words = ["nslookup", kind, NAME, &server].map(str::to_owned).to_vec();
            // It has no flag for its patience, and would try again and again.
            Task::Program(Program { words, patience: PATIENCE }, Answer::Text(address))
        }
        Client::NslookupTcp => {
            let probe = tcp(stage.service_address(DNS, family)?, 53);
            let question = dns::question(NAME, family == Family::V4);
            Task::Probe(
                Probe { raw: Some(question), ..probe },
                Answer::Address(stage.service_address(API, family)?),
            )
        }
        // A Service of the example is called as the pod behind it.
        Client::Service(key, port) => {
            Task::Probe(tcp(stage.service_address(key, family)?, port), Answer::Of(key))
        }
        Client::Pod(key, port) => Task::Probe(tcp(stage.pod_address(key, family)?, port), Answer::Of(key)),
        Client::Ping(key) => {
            let address = stage.pod_address(key, family)?.to_string();
            let words = ["ping", "-c1", "-W3", &address].map(str::to_owned).to_vec();
            Task::Program(Program { words, patience: END }, Answer::Some)
        }
    })
}

fn wget(family: Family, url: &str) -> Task {
    let family = if family == Family::V4 { "-4" } else { "-6" };
    let words = [
        "wget",
        "-qO-",
        "--timeout=3",
        "--tries=1",
        family,
        "--no-check-certificate",
        "--no-config",
        "--no-proxy",
        url,
    ];
    Task::Program(Program { words: words.map(str::to_owned).to_vec(), patience: END }, Answer::Some)
}

/// Does a place's tasks there.
fn at(stage: &OnCluster, from: &str, tasks: &[(usize, Task)]) -> Result<Vec<(usize, Outcome)>> {
    if matches!(from, "node" | "outside") {
        return tasks.iter().map(|(number, task)| Ok((*number, beside(stage, from, task)?))).collect();
    }
    let pod = stage.pod(from)?;
    let prober = Prober::at(stage.node_of(from)?, pod.addresses[0]);
    let (mut probes, mut programs) = (Vec::new(), Vec::new());
    for (_, task) in tasks {
        match task {
            Task::Probe(probe, _) => probes.push(probe.clone()),
            Task::Program(program, _) => programs.push(program.clone()),
        }
    }
    let (probed, ran) = thread::scope(|scope| {
        let ran = scope.spawn(|| prober.run(&programs));
        (prober.probe(&probes), ran.join())
    });
    let (mut probed, mut ran) =
        (probed?.into_iter(), ran.map_err(|_| anyhow!("a probe panicked"))??.into_iter());
    let outcome = |(number, task): &(usize, Task)| {
        let outcome = match task {
            Task::Probe(_, answer) => probed.next().map(|outcomes| of_probe(&outcomes, answer)),
            Task::Program(_, answer) => ran.next().map(|ended| of_program(&ended, answer)),
        };
        Ok((*number, outcome.context("the prober answered less than it was asked")?))
    };
    tasks.iter().map(outcome).collect()
}

fn of_probe(outcomes: &Outcomes, answer: &Answer) -> Outcome {
    let is_it = |who: &str| match answer {
        Answer::Some => true,
        Answer::Text(text) => who == text,
        Answer::Of(key) => who == *key,
        Answer::Address(address) => dns::holds(who, *address),
    };
    match outcomes.who() {
        Some(who) if is_it(who) => Outcome::Reached,
        None if outcomes.all_timed_out() => Outcome::TimedOut,
        _ => Outcome::Refused,
    }
}

fn of_program(ended: &Ended, answer: &Answer) -> Outcome {
    let is_it = match answer {
        Answer::Text(text) => ended.output.contains(text),
        _ => !ended.output.is_empty(),
    };
    if ended.code == Some(0) && is_it {
        Outcome::Reached
    } else if ended.took > GAVE_UP {
        Outcome::TimedOut
    } else {
        Outcome::Refused
    }
}

/// The same program on the API's node, or outside of the cluster.
fn beside(stage: &OnCluster, from: &str, task: &Task) -> Result<Outcome> {
    let Task::Program(program, answer) = task else { bail!("only programs are run on {from}") };
    let [name, arguments @ ..] = program.words.as_slice() else { bail!("a program without a name") };
    let mut command = Command::new(name);
    command.args(arguments).stdin(Stdio::null()).env("LC_ALL", "C");
    if from == "node" {
        stage.node_of(API)?.network().enter(&mut command);
    } else {
        let v4 = arguments.iter().any(|argument| argument == "-4");
        command.arg("--bind-address").arg(OUTSIDE[usize::from(!v4)].to_string());
        stage.cluster.enter(&mut command);
    }
    Namespace::die_with_thread(&mut command);
    let start = Instant::now();
    let output = command.output().with_context(|| format!("cannot start {name}"))?;
    let took = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let ended = Ended {
        code: output.status.code(),
        output: text(&output.stdout),
        errors: text(&output.stderr),
        took,
    };
    Ok(of_program(&ended, answer))
}
