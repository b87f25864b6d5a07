//! Services by ClusterIP, as kube-proxy translates them here: what stands behind them is judged.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use netpol_tests::cluster::{self, Node};
use netpol_tests::deadline::wait_for;
use serde_json::{Value, json};

use crate::scene::{
    ALLOWED, FRONT, OTHER, PATIENCE, Scene, app, blocks, both, egress_of, nothing, pod, ports, sockets, tcp,
};

/// Why a flow is closed whose backends are judged differently.
const DIFFER: &str = "backends-differ";

#[test]
#[ignore = "needs a cluster"]
fn rules_speak_of_the_backends_port_and_protocol() -> Result<()> {
    let _guard = cluster::shared();
    let scene = Scene::build("ports", &[pod("client", 0), pod("server", 1), pod("twin", 0)])?;
    let vip = sockets(&scene.service("server", Some("server"), &json!({}))?, FRONT);
    // A Service whose port is another one's target port, and leads elsewhere.
    let port = json!([{"name": "tcp", "port": ALLOWED, "targetPort": OTHER}]);
    let crossed = sockets(&scene.service("crossed", Some("twin"), &json!({"ports": port}))?, ALLOWED);
    scene.reaches("client", "server", &both(&vip))?;
    scene.reaches("client", "twin", &tcp(&crossed))?;

    let only = |who: &str, ports| egress_of("client", &json!([{"to": app(who), "ports": ports}]));
    scene.policy("client", &only("server", ports(FRONT)))?;
    scene.is_dropped("client", &both(&vip))?;
    scene.policy("client", &only("server", ports(ALLOWED)))?;
    scene.reaches("client", "server", &both(&vip))?;
    scene.is_dropped("client", &tcp(&crossed))?;
    // One protocol of a port that has both.
    scene.policy("client", &only("server", json!([{"protocol": "UDP", "port": ALLOWED}])))?;
    scene.is_dropped("client", &tcp(&vip))?;
    let udp: Vec<_> = both(&vip).into_iter().filter(|one| !tcp(&vip).contains(one)).collect();
    scene.reaches("client", "server", &udp)?;
    // The Service's port looks like the allowed one; its backend's is another.
    scene.policy("client", &only("twin", ports(ALLOWED)))?;
    scene.is_dropped("client", &tcp(&crossed))?;
    scene.policy("client", &only("twin", ports(OTHER)))?;
    scene.reaches("client", "twin", &tcp(&crossed))?;
    // A block is compared with the backend, never with the ClusterIP.
    let vips: Vec<_> = vip.iter().map(std::net::SocketAddr::ip).collect();
    scene.policy("client", &egress_of("client", &json!([{"to": blocks(&vips)}])))?;
    scene.is_dropped("client", &both(&vip))?;
    let behind = blocks(&scene.pod("server")?.addresses);
    scene.policy("client", &egress_of("client", &json!([{"to": behind}])))?;
    scene.reaches("client", "server", &both(&vip))
}

#[test]
#[ignore = "needs a cluster"]
fn a_service_without_endpoints_leads_nowhere_and_one_that_gets_some_does() -> Result<()> {
    let _guard = cluster::shared();
    let mut scene = Scene::build("empty", &[pod("client", 0)])?;
    let vip = both(&sockets(&scene.service("server", Some("server"), &json!({}))?, FRONT));
    scene.policy("client", &egress_of("client", &json!([{"to": app("server"), "ports": ports(ALLOWED)}])))?;
    scene.is_dropped("client", &vip)?;
    scene.add(&[pod("server", 1)])?;
    scene.reaches("client", "server", &vip)?;
    scene.policy("client", &nothing())?;
    scene.is_dropped("client", &vip)
}

/// Affinity pins a client to one backend; a policy that denies this one stops it, whatever others there are.
#[test]
#[ignore = "needs a cluster"]
fn session_affinity_changes_nothing_about_who_may_be_reached() -> Result<()> {
    let _guard = cluster::shared();
    let shapes = [
        pod("client", 0),
        pod("good", 0).label("pool", "yes").label("tier", "good"),
        pod("bad", 0).label("pool", "yes").label("tier", "bad"),
    ];
    let scene = Scene::build("affinity", &shapes)?;
    let fields = json!({"selector": {"pool": "yes"}, "sessionAffinity": "ClientIP"});
    let vips = scene.service("pool", None, &fields)?;
    for vip in tcp(&sockets(&vips, FRONT)) {
        let mut pinned = None;
        wait_for("the Service answers", PATIENCE, || {
            let outcomes = scene.ask("client", &[vip], 3000).ok()?;
            pinned = outcomes.first()?.who().map(str::to_owned);
            pinned.clone()
        })?;
        let pinned = pinned.unwrap_or_default();
        scene.reaches("client", &pinned, &[vip, vip, vip])?;
        let (tier, other) = if pinned == "good" { ("good", "bad") } else { ("bad", "good") };
        let to = |tier: &str| {
            egress_of("client", &json!([{"to": [{"podSelector": {"matchLabels": {"tier": tier}}}]}]))
        };
        scene.policy("client", &to(other))?;
        scene.is_dropped("client", &[vip])?;
        scene.policy("client", &to(tier))?;
        scene.reaches("client", &pinned, &[vip])?;
        scene.no_policy("client")?;
    }
    Ok(())
}

#[test]
#[ignore = "needs a cluster"]
fn with_an_internal_policy_of_local_only_the_nodes_own_backends_count() -> Result<()> {
    let _guard = cluster::shared();
    let shapes = [pod("client", 0), pod("near", 0).label("pool", "yes"), pod("far", 1).label("pool", "yes")];
    let scene = Scene::build("local", &shapes)?;
    let fields = json!({"selector": {"pool": "yes"}, "internalTrafficPolicy": "Local"});
    let vip = both(&sockets(&scene.service("pool", None, &fields)?, FRONT));
    let fields = json!({"selector": {"app": "far"}, "internalTrafficPolicy": "Local"});
    let far = both(&sockets(&scene.service("far", None, &fields)?, FRONT));
    scene.reaches("client", "near", &vip)?;
    if scene.cluster.nodes().len() > 1 {
        // kube-proxy drops it, without any policy, once it knows the Service.
        wait_for("kube-proxy drops what has no backend here", PATIENCE, || {
            scene.is_dropped("client", &far).ok()
        })?;
    }
    // That the far one is denied does not matter: the proxy never leads there.
    scene.policy("client", &egress_of("client", &json!([{"to": app("near"), "ports": ports(ALLOWED)}])))?;
    scene.reaches("client", "near", &vip)?;
    scene.policy("client", &egress_of("client", &json!([{"to": app("far"), "ports": ports(ALLOWED)}])))?;
    scene.is_dropped("client", &vip)
}

/// How many packets a node has closed because the backends of their Service are judged differently.
fn closed(scene: &Scene, node: &Node) -> Result<u64> {
    let status = scene.agents.status(node)?;
    let counters = status["counters"].as_array().context("a status without counters")?;
    let lines = counters.iter().filter(|line| line["reason"] == DIFFER);
    Ok(lines.filter_map(|line| line["packets"].as_u64()).sum())
}

/// Why flows of the client to a Service passed or did not, as its agent remembers them.
fn reasons(scene: &Scene, service: &str) -> Result<BTreeSet<String>> {
    let namespace = &scene.namespace;
    let (from, to) = (format!("{namespace}/client"), format!("svc/{namespace}/{service}"));
    let words = ["observe", "-o", "json", "--from", &from, "--to", &to];
    let output = scene.agents.client(&scene.pod("client")?.node, &words)?.output()?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let mut reasons = BTreeSet::new();
    for line in String::from_utf8(output.stdout)?.lines() {
        let verdict: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        reasons.extend(verdict["reason"].as_str().map(str::to_owned));
    }
    Ok(reasons)
}

/// What only translation decides is left to the destinations where they can recognise the sender, and else closed: that is
/// said of the flow and counted, where it is closed and nowhere else.
#[test]
#[ignore = "needs a cluster"]
fn backends_that_differ_are_told_apart_here_and_closed_elsewhere() -> Result<()> {
    // Other tests' packets would be counted as well.
    let _guard = cluster::exclusive();
    let shapes = [
        pod("client", 0),
        pod("good", 0).label("pool", "yes"),
        pod("bad", 0).label("pool", "yes"),
        pod("far-good", 1).label("far", "yes"),
        pod("far-bad", 1).label("far", "yes"),
    ];
    let scene = Scene::build("differ", &shapes)?;
    let pool = |label: &str| json!({"selector": {label: "yes"}});
    let near = tcp(&sockets(&scene.service("pool", None, &pool("pool"))?, FRONT));
    let far = tcp(&sockets(&scene.service("far", None, &pool("far"))?, FRONT));
    let many = |to: &[_]| -> Vec<_> { std::iter::repeat_n(to.to_vec(), 12).flatten().collect() };
    // Each is led to both, sooner or later.
    for (to, names) in [(&near, ["bad", "good"]), (&far, ["far-bad", "far-good"])] {
        wait_for("both backends answer", PATIENCE, || {
            let outcomes = scene.ask("client", &many(to), 3000).ok()?;
            let seen = |name: &str| outcomes.iter().any(|one| one.who() == Some(name));
            (outcomes.iter().all(|one| one.who().is_some()) && names.iter().all(|name| seen(name)))
                .then_some(())
        })?;
    }
    let rules = json!([{"to": app("good")}, {"to": app("far-good")}]);
    scene.policy("client", &egress_of("client", &rules))?;
    let (here, there) = (scene.node(0), scene.node(1));
    let before = [closed(&scene, here)?, closed(&scene, there)?];
    let outcomes = scene.ask("client", &many(&near), 1500)?;
    let good = outcomes.iter().filter(|one| one.who() == Some("good")).count();
    let dropped = outcomes.iter().filter(|one| one.all_timed_out()).count();
    ensure!(good > 0 && dropped > 0 && good + dropped == outcomes.len(), "{outcomes:?}");
    let told = closed(&scene, here)?;
    ensure!(told == before[0], "{told} packets are said to be closed, not {}: none was", before[0]);
    if scene.cluster.nodes().len() > 1 {
        scene.is_dropped("client", &far)?;
        wait_for("it is said why the flow is closed", PATIENCE, || {
            reasons(&scene, "far").ok().filter(|reasons| reasons.contains(DIFFER))
        })?;
        let status = scene.agents.status(here)?;
        let services = status["undecided"].as_array().into_iter().flatten();
        let named: BTreeSet<&str> = services.filter_map(|line| line["service"].as_str()).collect();
        let name = |service: &str| format!("{}/{service}", scene.namespace);
        ensure!(
            named.contains(&*name("far")) && !named.contains(&*name("pool")),
            "status names the Service that is closed, and no other: {named:?}"
        );
        let now = [closed(&scene, here)?, closed(&scene, there)?];
        let least = before[0] + u64::try_from(far.len())?;
        ensure!(
            now[0] >= least && now[1] == before[1],
            "{now:?} packets are said to be closed, and {before:?} were before"
        );
    }
    let told = reasons(&scene, "pool")?;
    ensure!(!told.is_empty() && !told.contains(DIFFER), "of what is told apart it is said: {told:?}");
    let before = closed(&scene, here)?;
    // Where all agree again, all are reached.
    let rules =
        json!([{"to": app("good")}, {"to": app("far-good")}, {"to": app("far-bad")}, {"to": app("bad")}]);
    scene.policy("client", &egress_of("client", &rules))?;
    let all = scene.ask("client", &many(&[near, far].concat()), 5000)?;
    ensure!(all.iter().all(|one| one.who().is_some()), "{all:?}");
    let now = closed(&scene, here)?;
    ensure!(now == before, "{now} packets are said to be closed, not {before}: all agree");
    Ok(())
}

/// What stands behind it are no pods: blocks name it.
#[test]
#[ignore = "needs a cluster"]
fn the_api_servers_own_service_is_judged_by_blocks() -> Result<()> {
    let _guard = cluster::shared();
    let scene = Scene::build("api", &[pod("client", 0)])?;
    let get = |what: &str, path: &str| {
        scene.cluster.kubectl(&["get", "-n", "default", what, "-o", &format!("jsonpath={path}")])
    };
    let vip: std::net::IpAddr = get("service/kubernetes", "{.spec.clusterIP}")?.trim().parse()?;
    let slices = get("endpointslices", "{.items[*].endpoints[*].addresses[*]}")?;
    let behind = slices.split_whitespace().map(str::parse).collect::<Result<Vec<std::net::IpAddr>, _>>()?;
    let port: u16 = get("endpointslices", "{.items[0].ports[0].port}")?.trim().parse()?;
    // It is no prober: what it says to a line in the clear is an answer.
    let asks = |patience| -> Result<_> {
        let to = sockets(&[vip], 443);
        let raw = Some(b"GET / HTTP/1.0\r\n\r\n".to_vec());
        let probe = |to: &_| netpol_prober::Probe {
            raw: raw.clone(),
            ..netpol_prober::Probe::new(netpol_prober::Protocol::Tcp, *to, patience)
        };
        scene.pod("client")?.prober.probe(&to.iter().map(probe).collect::<Vec<_>>())
    };
    let answers = || asks(5000).map(|all| all.iter().all(netpol_prober::Outcomes::all_reached));
    ensure!(answers()?, "{:?}", asks(5000)?);
    scene.policy("client", &egress_of("client", &json!([{"to": [{"namespaceSelector": {}}]}])))?;
    let outcomes = asks(1000)?;
    ensure!(outcomes.iter().all(netpol_prober::Outcomes::all_timed_out), "{outcomes:?}");
    let to = |port: u16| egress_of("client", &json!([{"to": blocks(&behind), "ports": ports(port)}]));
    scene.policy("client", &to(443))?;
    let outcomes = asks(1000)?;
    ensure!(port == 443 || outcomes.iter().all(netpol_prober::Outcomes::all_timed_out), "{outcomes:?}");
    scene.policy("client", &to(port))?;
    ensure!(answers()?, "{:?}", asks(5000)?);
    Ok(())
}
