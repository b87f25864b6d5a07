//! The clients: what a user would type, in a pod's network and with a pod's name server.

use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use netpol_tests::laboratory::network::{OUTSIDE, PRIVATE};
use netpol_tests::{Namespace, Outcome};

use crate::cluster::Cluster;
use crate::scenarios::{Client, Row};

/// How long a probe of our own waits, as `--timeout` of wget and nslookup below.
const PATIENCE: Duration = Duration::from_secs(3);
/// A program that gives up earlier was told so: refused, or no route.
const GAVE_UP: Duration = Duration::from_millis(900);
/// What is looked up.
const NAME: &str = "api.production.svc.cluster.local";

/// Asks a row's question once, by one family.
pub(crate) fn ask(cluster: &Cluster, row: &Row, v4: bool) -> Result<Outcome> {
    let place = cluster.place(row.from)?;
    let family = usize::from(!v4);
    let pod = |key: &str| -> Result<IpAddr> { Ok(cluster.lab.pod(key)?.addresses()[family]) };
    match row.client {
        Client::WgetName(name) => wget(cluster, &place, v4, &format!("http://{name}/health")),
        Client::WgetPod(key, port) => {
            wget(cluster, &place, v4, &format!("http://{}/health", SocketAddr::new(pod(key)?, port)))
        }
        Client::WgetOutside => {
            wget(cluster, &place, v4, &format!("http://{}/", SocketAddr::new(OUTSIDE[family], 80)))
        }
        Client::HttpsOutside => {
            wget(cluster, &place, v4, &format!("https://{}/", SocketAddr::new(OUTSIDE[family], 443)))
        }
        Client::HttpsPrivate => {
            wget(cluster, &place, v4, &format!("https://{}/", SocketAddr::new(PRIVATE[family], 443)))
        }
        Client::Nslookup => nslookup(cluster, &place, v4, "-novc"),
        Client::NslookupTcp => nslookup(cluster, &place, v4, "-vc"),
        Client::Service(key, port) => {
            let address = cluster.service(key)?.addresses()[family];
            Ok(place.tcp(SocketAddr::new(address, port), PATIENCE))
        }
        Client::Pod(key, port) => Ok(place.tcp(SocketAddr::new(pod(key)?, port), PATIENCE)),
        Client::Ping(key) => Ok(place.ping(pod(key)?, PATIENCE)),
    }
}

fn wget(cluster: &Cluster, place: &Namespace, v4: bool, url: &str) -> Result<Outcome> {
    let mut wget = Command::new("wget");
    wget.args(["-qO-", "--timeout=3", "--tries=1", if v4 { "-4" } else { "-6" }]);
    // The certificate is our own, and a user's settings are not part of the question.
    wget.args(["--no-check-certificate", "--no-config", "--no-proxy", url]);
    run(cluster, place, v4, wget, |answer| !answer.is_empty())
}

fn nslookup(cluster: &Cluster, place: &Namespace, v4: bool, transport: &str) -> Result<Outcome> {
    let kind = if v4 { "-type=A" } else { "-type=AAAA" };
    let address = cluster.service("production/api")?.addresses()[usize::from(!v4)].to_string();
    let mut nslookup = Command::new("nslookup");
    nslookup.args(["-timeout=3", "-retry=0", transport, kind, NAME]);
    run(cluster, place, v4, nslookup, |answer| answer.contains(&address))
}

/// Runs a client in a pod's network, with the pod's name server.
fn run(
    cluster: &Cluster,
    place: &Namespace,
    v4: bool,
    mut command: Command,
    is_answer: impl Fn(&str) -> bool,
) -> Result<Outcome> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.stdin(Stdio::null()).env("LC_ALL", "C");
    place.enter(&mut command);
    Namespace::bind_files(&mut command, &cluster.resolver(v4))?;
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
