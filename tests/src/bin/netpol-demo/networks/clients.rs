//! The clients: what a user would type, in a pod's network and with a pod's name server.

use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use netpol_tests::laboratory::network::{OUTSIDE, PRIVATE};
use netpol_tests::{Namespace, Outcome};

use super::Networks;
use crate::scenarios::{Client, Row};
use crate::stage::Family;

/// How long a probe of our own waits, as `--timeout` of wget and nslookup below.
const PATIENCE: Duration = Duration::from_secs(3);
/// A program that gives up earlier was told so: refused, or no route.
const GAVE_UP: Duration = Duration::from_millis(900);
/// What is looked up.
const NAME: &str = "api.production.svc.cluster.local";

/// Asks a row's question once, by one family.
pub(crate) fn ask(networks: &Networks, row: &Row, family: Family) -> Result<Outcome> {
    let place = networks.place(row.from)?;
    let index = family.index();
    let pod = |key: &str| -> Result<IpAddr> { Ok(networks.lab.pod(key)?.addresses()[index]) };
    match row.client {
        Client::WgetName(name) => wget(networks, &place, family, &format!("http://{name}/health")),
        Client::WgetPod(key, port) => {
            wget(networks, &place, family, &format!("http://{}/health", SocketAddr::new(pod(key)?, port)))
        }
        Client::WgetOutside => {
            wget(networks, &place, family, &format!("http://{}/", SocketAddr::new(OUTSIDE[index], 80)))
        }
        Client::HttpsOutside => {
            wget(networks, &place, family, &format!("https://{}/", SocketAddr::new(OUTSIDE[index], 443)))
        }
        Client::HttpsPrivate => {
            wget(networks, &place, family, &format!("https://{}/", SocketAddr::new(PRIVATE[index], 443)))
        }
        Client::Nslookup => nslookup(networks, &place, family, "-novc"),
        Client::NslookupTcp => nslookup(networks, &place, family, "-vc"),
        Client::Service(key, port) => {
            let address = networks.service(key)?.addresses()[index];
            Ok(place.tcp(SocketAddr::new(address, port), PATIENCE))
        }
        Client::Pod(key, port) => Ok(place.tcp(SocketAddr::new(pod(key)?, port), PATIENCE)),
        Client::Ping(key) => Ok(place.ping(pod(key)?, PATIENCE)),
    }
}

fn wget(networks: &Networks, place: &Namespace, family: Family, url: &str) -> Result<Outcome> {
    let mut wget = Command::new("wget");
    wget.args(["-qO-", "--timeout=3", "--tries=1", if family == Family::V4 { "-4" } else { "-6" }]);
    // The certificate is our own, and a user's settings are not part of the question.
    wget.args(["--no-check-certificate", "--no-config", "--no-proxy", url]);
    run(networks, place, family, wget, |answer| !answer.is_empty())
}

fn nslookup(networks: &Networks, place: &Namespace, family: Family, transport: &str) -> Result<Outcome> {
    let kind = if family == Family::V4 { "-type=A" } else { "-type=AAAA" };
    let address = networks.service("production/api")?.addresses()[family.index()].to_string();
    let mut nslookup = Command::new("nslookup");
    nslookup.args(["-timeout=3", "-retry=0", transport, kind, NAME]);
    run(networks, place, family, nslookup, |answer| answer.contains(&address))
}

/// Runs a client in a pod's network, with the pod's name server.
fn run(
    networks: &Networks,
    place: &Namespace,
    family: Family,
    mut command: Command,
    is_answer: impl Fn(&str) -> bool,
) -> Result<Outcome> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).env("LC_ALL", "C");
    place.enter(&mut command);
    Namespace::bind_files(&mut command, &networks.resolver(family))?;
    Namespace::die_with_thread(&mut command);
    let start = Instant::now();
    let output = command.output().with_context(|| format!("cannot start {program}"))?;
    let answer = String::from_utf8_lossy(&output.stdout);
    Ok(if output.status.success() && is_answer(&answer) {
        Outcome::Reached
    } else if start.elapsed() > GAVE_UP {
        Outcome::TimedOut
    } else {
        Outcome::Refused
    })
}
