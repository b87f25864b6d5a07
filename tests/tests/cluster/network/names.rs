//! Names: an egress rule that names the DNS pods lets them be found by the ClusterIP, by UDP and TCP.

use anyhow::{Result, ensure};
use netpol_prober::{Probe, Protocol};
use netpol_tests::cluster;
use serde_json::{Value, json};

use crate::scene::{ALLOWED, Scene, app, egress_of, pod, ports, sockets};

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
    let target = scene.cluster.kubectl(&[
        "get",
        "endpointslices",
        "-n",
        "kube-system",
        "-l",
        "kubernetes.io/service-name=kube-dns",
        "-o",
        "jsonpath={.items[0].ports[?(@.name=='dns')].port}",
    ])?;
    let target: u16 = target.trim().parse()?;
    scene.policy("client", &egress_of("client", &dns_pods(target)))?;
    all(&ask(5000)?, answered)?;
    // By name to a Service: the name is found, and the Service's pods are another rule's matter.
    let program = |words: &[&str]| netpol_prober::Program {
        words: words.iter().map(|word| (*word).to_owned()).collect(),
        patience: 8000,
    };
    scene.service("server", Some("server"), &json!({}))?;
    let name = format!("server.{}.svc.cluster.local", scene.namespace);
    let lookup = || -> Result<bool> {
        let ended = scene.pod("client")?.prober.run(&[program(&["/bin/busybox", "nslookup", &name])])?;
        Ok(ended.iter().all(|one| one.output.contains(&name) && one.output.matches("Address").count() > 1))
    };
    netpol_tests::deadline::wait_for("the name is found", crate::scene::PATIENCE, || {
        lookup().ok().filter(|one| *one)
    })?;
    let at_server = crate::scene::both(&scene.pod("server")?.sockets(ALLOWED));
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
    let to = crate::scene::both(&sockets(&scene.service("names", Some("server"), &fields)?, 53));
    scene.reaches("client", "server", &to)?;
    let rule = |port| egress_of("client", &json!([{"to": app("server"), "ports": ports(port)}]));
    scene.policy("client", &rule(53))?;
    scene.is_dropped("client", &to)?;
    scene.policy("client", &rule(ALLOWED))?;
    scene.reaches("client", "server", &to)
}
