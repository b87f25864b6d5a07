//! Names: an egress rule that names the DNS pods lets them be found by the ClusterIP, by UDP and TCP.

use std::collections::BTreeSet;
use std::net::IpAddr;

use anyhow::{Context as _, Result, ensure};
use netpol_prober::{Probe, Program, Protocol};
use netpol_tests::cluster;
use netpol_tests::deadline::wait_for;
use serde_json::{Value, json};

use crate::scene::{ALLOWED, FRONT, OTHER, PATIENCE, Scene, app, both, egress_of, pod, ports, sockets};

/// A question for the addresses of `kubernetes.default.svc.cluster.local`.
fn question(tcp: bool) -> Vec<u8> {
    let mut message = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in ["kubernetes", "default", "svc", "cluster", "local"] {
        message.push(u8::try_from(label.len()).unwrap_or_default());
        message.extend(label.as_bytes());
    }
    message.extend([0, 0, 1, 0, 1]);
    if tcp {
        let length = u16::try_from(message.len()).unwrap_or_default();
        message.splice(0..0, length.to_be_bytes());
    }
    message
}

fn dns_pods(port: u16) -> Value {
    json!([{
        "to": [{
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kube-system"}},
            "podSelector": {"matchLabels": {"k8s-app": "kube-dns"}},
        }],
        "ports": ports(port),
    }])
}

/// The port on which the DNS pods listen.
fn dns_port(scene: &Scene) -> Result<u16> {
    let port = scene.cluster.kubectl(&[
        "get",
        "endpointslices",
        "-n",
        "kube-system",
        "-l",
        "kubernetes.io/service-name=kube-dns",
        "-o",
        "jsonpath={.items[0].ports[?(@.name=='dns')].port}",
    ])?;
    port.trim().parse().with_context(|| format!("the DNS pods listen on {port:?}"))
}

/// Waits until the client finds exactly these addresses under the name of a Service.
fn finds(scene: &Scene, service: &str, addresses: &[IpAddr]) -> Result<()> {
    let name = format!("{service}.{}.svc.cluster.local", scene.namespace);
    let words: Vec<String> = ["/bin/busybox", "nslookup", &name].map(str::to_owned).into();
    let wanted: BTreeSet<IpAddr> = addresses.iter().copied().collect();
    let mut last = Vec::new();
    let found = wait_for(&format!("{name} is found"), PATIENCE, || {
        let program = Program { words: words.clone(), patience: 8000 };
        last = scene.pod("client").ok()?.prober.run(&[program]).ok()?;
        // Whoever was asked stands before the first name.
        let (_, answers) = last.first()?.output.split_once("Name:")?;
        let found: BTreeSet<IpAddr> =
            answers.split_whitespace().filter_map(|word| word.parse().ok()).collect();
        (found == wanted).then_some(())
    });
    found.with_context(|| format!("wanted {wanted:?}, and it was said {last:?}"))
}

#[test]
#[ignore = "needs a cluster"]
fn names_are_found_under_a_rule_that_names_the_dns_pods() -> Result<()> {
    let _guard = cluster::shared();
    let scene = Scene::build("names", &[pod("client", 0), pod("server", 1)])?;
    let service = ["get", "service", "-n", "kube-system", "kube-dns", "-o"];
    let vips = scene.cluster.kubectl(&[&service[..], &["jsonpath={.spec.clusterIPs[*]}"]].concat())?;
    let vips: Vec<_> = vips.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    let to = sockets(&vips, 53);
    let ask = |patience: u64| {
        let probe = |protocol: Protocol, to: &_| Probe {
            raw: Some(question(protocol == Protocol::Tcp)),
            ..Probe::new(protocol, *to, patience)
        };
        let probes: Vec<Probe> =
            to.iter().flat_map(|to| [probe(Protocol::Udp, to), probe(Protocol::Tcp, to)]).collect();
        scene.pod("client")?.prober.probe(&probes)
    };
    let all = |outcomes: &[netpol_prober::Outcomes], which: fn(&netpol_prober::Outcomes) -> bool| {
        ensure!(!outcomes.is_empty() && outcomes.iter().all(which), "{outcomes:?}");
        Ok(())
    };
    let answered = netpol_prober::Outcomes::all_reached;
    let dropped = netpol_prober::Outcomes::all_timed_out;
    all(&ask(5000)?, answered)?;
    // Everybody of the namespace, but not the DNS pods.
    scene.policy("client", &egress_of("client", &json!([{"to": app("server")}])))?;
    all(&ask(1000)?, dropped)?;
    let target = dns_port(&scene)?;
    scene.policy("client", &egress_of("client", &dns_pods(target)))?;
    all(&ask(5000)?, answered)?;
    // By name to a Service: the name is found, and the Service's pods are another rule's matter.
    finds(&scene, "server", &scene.service("server", Some("server"), &json!({}))?)?;
    let at_server = both(&scene.pod("server")?.sockets(ALLOWED));
    scene.is_dropped("client", &at_server)?;
    if target != 53 {
        // The rule speaks of the pods' port, not of the Service's.
        scene.policy("client", &egress_of("client", &dns_pods(53)))?;
        all(&ask(1000)?, dropped)?;
    }
    scene.no_policy("client")?;
    scene.reaches("client", "server", &at_server)
}

/// A server of names on another port than its Service's.
#[test]
#[ignore = "needs a cluster"]
fn a_rule_names_the_port_on_which_the_pods_behind_a_service_listen() -> Result<()> {
    let _guard = cluster::shared();
    let scene = Scene::build("names-port", &[pod("client", 0), pod("server", 1)])?;
    let port = |protocol: &str| {
        json!({"name": protocol.to_lowercase(), "protocol": protocol, "port": 53,
        "targetPort": ALLOWED})
    };
    let fields = json!({"ports": [port("TCP"), port("UDP")]});
    let to = both(&sockets(&scene.service("names", Some("server"), &fields)?, 53));
    scene.reaches("client", "server", &to)?;
    let rule = |port| egress_of("client", &json!([{"to": app("server"), "ports": ports(port)}]));
    scene.policy("client", &rule(53))?;
    scene.is_dropped("client", &to)?;
    scene.policy("client", &rule(ALLOWED))?;
    scene.reaches("client", "server", &to)
}

/// Its name stands for the pods' own addresses, and nothing is translated: the Service's port means nothing to anybody.
#[test]
#[ignore = "needs a cluster"]
fn a_headless_service_is_found_as_its_pods_and_judged_by_their_port() -> Result<()> {
    let _guard = cluster::shared();
    let names = ["near", "far"];
    let shapes = [pod("client", 0), pod("near", 0).label("pool", "yes"), pod("far", 1).label("pool", "yes")];
    let scene = Scene::build("headless", &shapes)?;
    let fields = json!({"clusterIP": "None", "selector": {"pool": "yes"}});
    let vips = scene.service("pool", None, &fields)?;
    ensure!(vips.is_empty(), "a headless Service has the addresses {vips:?}");
    let behind = [scene.pod("near")?.addresses.clone(), scene.pod("far")?.addresses.clone()].concat();
    // What is asked is what is found, under each policy.
    let reaches = |port: u16| -> Result<()> {
        finds(&scene, "pool", &behind)?;
        names
            .iter()
            .try_for_each(|name| scene.reaches("client", name, &both(&scene.pod(name)?.sockets(port))))
    };
    let is_dropped = |port: u16| {
        finds(&scene, "pool", &behind)?;
        scene.is_dropped("client", &both(&sockets(&behind, port)))
    };
    reaches(ALLOWED)?;
    let dns = dns_pods(dns_port(&scene)?);
    let pool = json!([{"podSelector": {"matchLabels": {"pool": "yes"}}}]);
    let rule = |port| egress_of("client", &json!([{"to": pool, "ports": ports(port)}, dns[0]]));
    for port in [FRONT, OTHER] {
        scene.policy("client", &rule(port))?;
        is_dropped(ALLOWED)?;
    }
    reaches(OTHER)?;
    scene.policy("client", &rule(ALLOWED))?;
    reaches(ALLOWED)?;
    is_dropped(OTHER)?;
    scene.no_policy("client")?;
    reaches(OTHER)
}
