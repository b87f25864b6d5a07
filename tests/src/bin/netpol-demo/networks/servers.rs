//! The servers that the questions are put to, each in its pod.

use std::net::{IpAddr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use netpol_tests::laboratory::Program;
use netpol_tests::serve::{self, Server};
use netpol_tests::{Namespace, command, eventually};

use super::Networks;

/// How long a server may take until it listens.
const LISTENING: Duration = Duration::from_secs(10);

/// Servers that end when this is dropped.
pub(crate) struct Servers {
    _own: Vec<Server>,
    _programs: Vec<Program>,
}

/// Starts all of them and waits until each listens.
pub(crate) fn start(networks: &Networks) -> Result<Servers> {
    let lab = &networks.lab;
    let api = lab.pod("production/api")?;
    let postgres = lab.pod("production/postgres")?;
    let own = vec![
        serve::http(api, 8080)?,
        serve::tcp(api, 9090)?,
        serve::http(lab.pod("production/frontend")?, 80)?,
        serve::tcp(postgres, 5432)?,
        serve::tcp(postgres, 9187)?,
        serve::http(&lab.outside, 80)?,
    ];
    let mut programs = vec![dns(networks)?];
    programs.extend(tls(networks)?);
    for address in [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])] {
        listens(lab.pod("kube-system/dns")?, SocketAddr::new(address, 53), "dnsmasq")?;
        listens(&lab.outside, SocketAddr::new(address, 443), "openssl s_server")?;
    }
    Ok(Servers { _own: own, _programs: programs })
}

/// The cluster's names, answered by dnsmasq as CoreDNS would.
fn dns(networks: &Networks) -> Result<Program> {
    let mut dnsmasq = Command::new("dnsmasq");
    dnsmasq.args(["--keep-in-foreground", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--no-poll"]);
    dnsmasq.args(["--user=root", "--pid-file=", "--log-facility=-", "--local=/cluster.local/"]);
    for service in &networks.services {
        let [v4, v6] = service.addresses();
        let name = format!("{}.{}.svc.cluster.local", service.name, service.namespace);
        dnsmasq.arg(format!("--host-record={name},{v4},{v6}"));
    }
    start_in(networks, networks.lab.pod("kube-system/dns")?, dnsmasq)
}

/// HTTPS on every address of the outside, with a certificate made for this occasion.
fn tls(networks: &Networks) -> Result<Vec<Program>> {
    let path = |name: &str| networks.lab.folder().join(name).to_string_lossy().into_owned();
    let (key, certificate) = (path("key.pem"), path("certificate.pem"));
    let curve = "ec_paramgen_curve:prime256v1";
    let request =
        ["req", "-x509", "-newkey", "ec", "-pkeyopt", curve, "-nodes", "-days", "1", "-subj", "/CN=outside"];
    command::read("openssl", &[request.as_slice(), &["-keyout", &key, "-out", &certificate]].concat())
        .context("cannot make a certificate")?;
    ["-4", "-6"]
        .iter()
        .map(|family| {
            let mut server = Command::new("openssl");
            server.args([
                "s_server",
                family,
                "-accept",
                "443",
                "-www",
                "-quiet",
                "-key",
                &key,
                "-cert",
                &certificate,
            ]);
            start_in(networks, &networks.lab.outside, server)
        })
        .collect()
}

fn start_in(networks: &Networks, place: &Namespace, mut command: Command) -> Result<Program> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    place.enter(&mut command);
    networks.lab.start(command)
}

fn listens(place: &Namespace, at: SocketAddr, what: &str) -> Result<()> {
    let what = format!("{what} listens on {at}");
    eventually(&what, LISTENING, &true, || place.connect(at, Duration::from_secs(1)).is_ok()).map(drop)
}
