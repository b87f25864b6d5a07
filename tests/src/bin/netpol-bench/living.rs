//! What a SYN flood does to connections that live: a pod opens connections from every port that it has to a port that it may
//! reach, and answers nothing, beside 1,000 connections of another pod to the same one.

use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, sleep};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};
use netpol_common::Reason;
use netpol_tests::packet::{self, SYN};
use netpol_tests::probe::ARRIVAL_PATIENCE;
use netpol_tests::{Laboratory, Outcome, Pod, PodSpec};

use crate::goals::{Answer, Goal, Only};
use crate::machine::{Machine, pin_to};
use crate::path::{
    policies,
    traffic::{CONNECT_PORT, EXCHANGE_PORT, exchange, rate, serve},
};
use crate::statistics::Figure;

/// What is told.
const ALL: [Goal; 4] = [
    Goal::told("living", "requests over 1,000 living connections, beside a SYN flood / without", ""),
    Goal::told("living-flood", "the same: SYNs of the flood", "1/s"),
    Goal::told("living-kept", "the same: connections that still pass afterwards, of 1,000", ""),
    Goal::told("living-drops", "the same: packets that the engine has dropped", ""),
];

/// Connections that live.
const CONNECTIONS: usize = 1000;
/// How long requests are counted with the flood, and as long without.
const SLICE: Duration = Duration::from_millis(200);
/// How long the flood runs before.
const BEGUN: Duration = Duration::from_millis(20);
/// The ports of the flood.
const PORTS: std::ops::RangeInclusive<u16> = 1024..=65_535;

/// All goals.
pub(crate) fn all() -> impl Iterator<Item = Goal> {
    ALL.into_iter()
}

/// Measures what of it is wanted.
pub(crate) fn run(machine: &Machine, only: &Only, rounds: u32) -> Result<Vec<Answer>> {
    if !all().any(|goal| only.wants_goal(&goal)) {
        return Ok(Vec::new());
    }
    let Some(other) = machine.other() else {
        eprintln!("{}: left out, since there is only one processor", ALL[0].name);
        return Ok(Vec::new());
    };
    let mut lab = Laboratory::new()?;
    let server = lab.add_pod(PodSpec::new("shop", "server").label("app", "server"))?;
    let client = lab.add_pod(PodSpec::new("shop", "client").label("app", "client"))?;
    let flooder = lab.add_pod(PodSpec::new("shop", "flooder").label("app", "client"))?;
    policies(&mut lab)?;
    machine.unpinned(|| lab.start_agent())?;
    serve(&server, EXCHANGE_PORT)?;
    serve(&server, CONNECT_PORT)?;
    let mut streams = connect(&client, &server)?;
    let drops = drops(&lab)?;
    let (flows, ends, sent) = (AtomicBool::new(false), AtomicBool::new(false), AtomicU64::new(0));
    let mut values: [Vec<f64>; 2] = Default::default();
    thread::scope(|scope| {
        let flood = scope.spawn(|| flood(other, &flooder, &server, &flows, &ends, &sent));
        let measured = measure(&mut streams, rounds, &flows, &sent, &mut values);
        ends.store(true, Ordering::Relaxed);
        match flood.join() {
            Ok(result) => result.and(measured),
            Err(_) => bail!("the thread of the flood has panicked"),
        }
    })?;
    let kept = streams.iter_mut().filter_map(|stream| exchange(stream).ok()).count();
    let figures = [
        Figure::of(&values[0]),
        Figure::of(&values[1]),
        Figure::exact(kept as f64),
        Figure::exact((self::drops(&lab)? - drops) as f64),
    ];
    let answers = ALL.into_iter().zip(figures).map(|(goal, figure)| Answer { goal, figure });
    Ok(answers.filter(|answer| only.wants_goal(&answer.goal)).collect())
}

/// Counts requests, in turn over every connection, with the flood and without.
fn measure(
    streams: &mut [TcpStream],
    rounds: u32,
    flows: &AtomicBool,
    sent: &AtomicU64,
    values: &mut [Vec<f64>; 2],
) -> Result<()> {
    let mut turn = 0;
    for round in 0..rounds {
        let mut rates = [0.0; 2];
        // Who is first changes: what one turn leaves behind is in the other's next.
        for with in [round % 2, 1 - round % 2] {
            flows.store(with == 1, Ordering::Relaxed);
            sleep(BEGUN);
            let (before, begun) = (sent.load(Ordering::Relaxed), Instant::now());
            rates[with as usize] = rate(SLICE, || {
                turn = (turn + 1) % streams.len();
                exchange(&mut streams[turn])
            })?;
            if with == 1 {
                let sent = sent.load(Ordering::Relaxed) - before;
                values[1].push(sent as f64 / begun.elapsed().as_secs_f64());
            }
        }
        values[0].push(rates[1] / rates[0]);
    }
    flows.store(false, Ordering::Relaxed);
    Ok(())
}

/// Sends SYNs from another processor while it is to flow, until it ends.
fn flood(
    processor: usize,
    from: &Pod,
    to: &Pod,
    flows: &AtomicBool,
    ends: &AtomicBool,
    sent: &AtomicU64,
) -> Result<()> {
    pin_to(processor)?;
    let to = SocketAddr::new(to.v4.into(), CONNECT_PORT);
    let syn = |port| packet::tcp(SocketAddr::new(from.v4.into(), port), to, SYN, 1, 0);
    let syns: Vec<_> = PORTS.map(syn).collect();
    let (socket, to) = (from.packet_sender(true)?, SocketAddr::new(to.ip(), 0).into());
    for syn in syns.iter().cycle() {
        while !flows.load(Ordering::Relaxed) {
            if ends.load(Ordering::Relaxed) {
                return Ok(());
            }
            sleep(Duration::from_millis(1));
        }
        socket.send_to(syn, &to).context("cannot send a SYN")?;
        sent.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

fn connect(client: &Pod, server: &Pod) -> Result<Vec<TcpStream>> {
    allow_files(3 * CONNECTIONS as u64)?;
    let [to, _] = server.sockets(EXCHANGE_PORT);
    let open = |_| -> Result<TcpStream> {
        let failed = |outcome: Outcome| anyhow!("cannot connect to {to}: {outcome:?}");
        let mut stream = client.connect(to, ARRIVAL_PATIENCE).map_err(failed)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ARRIVAL_PATIENCE))?;
        exchange(&mut stream)?;
        Ok(stream)
    };
    (0..CONNECTIONS).map(open).collect()
}

/// Lets this process open so many files at least: both ends of all connections are its own.
fn allow_files(count: u64) -> Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a limit that outlives the call.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0 {
        return Err(std::io::Error::last_os_error()).context("cannot ask for the limit of open files");
    }
    limit.rlim_cur = limit.rlim_cur.max(count);
    limit.rlim_max = limit.rlim_max.max(count);
    // SAFETY: as above.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) } {
        0 => Ok(()),
        _ => Err(std::io::Error::last_os_error()).context("cannot raise the limit of open files"),
    }
}

/// Packets that the engine has dropped so far.
fn drops(lab: &Laboratory) -> Result<u64> {
    let status = lab.agent()?.status()?;
    let lines = status["counters"].as_array().context("a status without counters")?;
    let is_drop = |name: &str| Reason::ALL.iter().any(|reason| reason.is_drop() && reason.name() == name);
    let counts = lines.iter().filter(|line| line["reason"].as_str().is_some_and(is_drop));
    Ok(counts.filter_map(|line| line["packets"].as_u64()).sum())
}
