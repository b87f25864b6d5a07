//! What the agent tells the cluster and its monitoring: the startup taint that goes, Events, metrics, and the time in
//! which there was no agent.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use netpol_tests::cluster::ControlPlane;
use netpol_tests::deadline::wait_for;
use netpol_tests::etcd::Etcd;
use netpol_tests::probe::{ARRIVAL_PATIENCE, DROP_PATIENCE, exchange};
use netpol_tests::{Laboratory, Outcome, PodSpec, Setup, command, eventually, serve};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
const TAINT: &str = "netpol.io/agent-not-ready";
const METRICS: &str = "127.0.0.1:9911";

/// A policy that lets a block in.
fn from_block(cidr: &str) -> Value {
    json!({
        "podSelector": {"matchLabels": {"app": "web"}},
        "policyTypes": ["Ingress"],
        "ingress": [{"from": [{"ipBlock": {"cidr": cidr}}]}],
    })
}

struct Scene {
    lab: Laboratory,
    plane: ControlPlane,
}

impl Scene {
    fn new() -> Result<Self> {
        Self::with(&[])
    }

    /// With further flags of the agent.
    fn with(flags: &[&str]) -> Result<Self> {
        let flags = [&["--startup-taint", TAINT, "--metrics", METRICS], flags].concat();
        let flags = flags.into_iter().map(str::to_owned).collect();
        let mut lab = Laboratory::with(Setup { agent_flags: flags, ..Setup::default() })?;
        let plane = ControlPlane::beside(&lab, &[])?;
        plane.apply(include_str!("../../../deploy/rbac.yaml"))?;
        lab.use_api(&plane.agent_kubeconfig()?, Etcd::new(plane.network()))?;
        // What has none was never created, as the API server sees it, and cannot be changed.
        let born = |name: &str| {
            json!({
                "name": name,
                "uid": "00000000-0000-4000-8000-00000000aaaa",
                "creationTimestamp": "2026-01-01T00:00:00Z",
            })
        };
        lab.apply(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": born("shop")}))?;
        lab.add_pod(PodSpec::new("shop", "web").label("app", "web"))?;
        let taints = [TAINT, "example.org/other"].map(|key| json!({"key": key, "effect": "NoSchedule"}));
        lab.apply(&json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": born("node-1"),
            "spec": {"taints": taints},
        }))?;
        let scene = Self { lab, plane };
        // What is written into etcd is not seen at once by those who ask the API server.
        eventually("the node is there", SOON, &format!("{TAINT} example.org/other"), || scene.taints())?;
        Ok(scene)
    }

    fn taints(&self) -> String {
        let path = "jsonpath={.spec.taints[*].key}";
        self.plane.kubectl(&["get", "node", "node-1", "-o", path]).unwrap_or_default()
    }

    /// Events of a type on an object, of whatever namespace.
    fn events(&self, of_type: &str, kind: &str, name: &str) -> Vec<Value> {
        let text = self.plane.kubectl(&["get", "events", "-A", "-o", "json"]).unwrap_or_default();
        let list: Value = serde_json::from_str(&text).unwrap_or_default();
        let of = |event: &&Value| {
            event["involvedObject"]["kind"] == kind
                && event["involvedObject"]["name"] == name
                && event["type"] == of_type
        };
        list["items"].as_array().into_iter().flatten().filter(of).cloned().collect()
    }

    fn warnings(&self, kind: &str, name: &str) -> Vec<Value> {
        self.events("Warning", kind, name)
    }

    /// The reasons of all Events of a type on an object, each once.
    fn reasons(&self, of_type: &str, kind: &str, name: &str) -> BTreeSet<String> {
        let events = self.events(of_type, kind, name);
        events.iter().filter_map(|event| event["reason"].as_str()).map(str::to_owned).collect()
    }

    /// Sets an annotation of an object, or takes it away (`KEY-`), as an operator does.
    fn annotate(&self, kind: &str, name: &str, what: &str) -> Result<()> {
        self.plane.kubectl(&["annotate", "--overwrite", kind, name, what]).map(drop)
    }

    /// The status and the text of an answer.
    fn get(&self, path: &str) -> Result<(u16, String)> {
        let text = self.lab.node.run(|| -> std::io::Result<String> {
            let mut stream = TcpStream::connect(METRICS)?;
            stream.set_read_timeout(Some(SOON))?;
            stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: agent\r\n\r\n").as_bytes())?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        })??;
        let (head, body) = text.split_once("\r\n\r\n").context("this is no HTTP")?;
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).context("no status")?;
        Ok((code, body.to_owned()))
    }
}

#[test]
#[ignore = "needs root, BPF and Kubernetes' programs"]
fn the_startup_taint_goes_when_the_agent_is_ready_and_may_patch_its_node() -> Result<()> {
    let mut scene = Scene::new()?;
    let both = format!("{TAINT} example.org/other");
    // Without the right it stays, and the agent works nevertheless.
    scene.lab.start_agent()?;
    eventually("the agent says why", SOON, &true, || {
        scene.lab.agent().is_ok_and(|agent| agent.log().contains("deploy/startup-taint/rbac.yaml"))
    })?;
    ensure!(scene.taints() == both, "{}", scene.taints());
    scene.plane.apply(include_str!("../../../deploy/startup-taint/rbac.yaml"))?;
    eventually("the taint is gone, the other is not", SOON, &"example.org/other".to_owned(), || {
        scene.taints()
    })?;
    // Whoever registers the node anew puts it on again.
    scene.plane.kubectl(&["taint", "node", "node-1", &format!("{TAINT}=:NoSchedule")])?;
    eventually("it goes again", 2 * SOON, &"example.org/other".to_owned(), || scene.taints())?;
    Ok(())
}

#[test]
#[ignore = "needs root, BPF and Kubernetes' programs"]
fn a_policy_that_is_not_realized_as_written_gets_one_event() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.lab.policy("shop", "good", &from_block("10.0.0.0/8"))?;
    // As an older server may have stored it: this one would refuse it.
    scene.lab.policy("shop", "bad", &from_block("10.0.0.0/99"))?;
    scene.lab.start_agent()?;
    eventually("it is said", SOON, &1, || scene.warnings("NetworkPolicy", "bad").len())?;
    let event = scene.warnings("NetworkPolicy", "bad").remove(0);
    ensure!(event["reason"] == "NotRealizedAsWritten", "{event}");
    ensure!(event["message"].as_str().is_some_and(|text| text.contains("cidr")), "{event}");
    // Another agent, or the same one again, says it, too, and is told that it is said. In the next hour it is said anew: by
    // the second agent, if that hour begins between the two, and the third one is told so.
    let told = |scene: &Scene| scene.plane.answers("POST", "events", 409);
    for _ in 0..2 {
        let (before, made) = (told(&scene)?, scene.plane.answers("POST", "events", 201)?);
        scene.lab.kill_agent();
        scene.lab.start_agent()?;
        wait_for("another agent has spoken", SOON, || {
            let spoken = told(&scene).ok()? + scene.plane.answers("POST", "events", 201).ok()?;
            (spoken > before + made).then_some(())
        })?;
        if told(&scene)? > before {
            break;
        }
    }
    ensure!(told(&scene)? > 0, "nobody was told that it is said");
    let events = scene.warnings("NetworkPolicy", "bad");
    let hour =
        |event: &Value| event["firstTimestamp"].as_str().and_then(|time| time.get(..13)).map(str::to_owned);
    let hours: BTreeSet<_> = events.iter().map(hour).collect();
    ensure!(hours.len() == events.len() && !hours.contains(&None), "more than one an hour: {events:?}");
    ensure!(scene.warnings("NetworkPolicy", "good").is_empty());
    Ok(())
}

#[test]
#[ignore = "needs root, BPF and Kubernetes' programs"]
fn metrics_and_readiness_are_served_and_an_absence_is_told() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.lab.start_agent()?;
    let (code, text) = scene.get("/metrics")?;
    ensure!(code == 200 && text.contains("\nnetpol_ready 1\n"), "{code} {text}");
    ensure!(text.contains("netpol_endpoints{state=\"enforced\"} 1"), "{text}");
    ensure!(text.contains("netpol_absence_pods 1"), "before the first agent everything was open: {text}");
    let (code, text) = scene.get("/readyz")?;
    ensure!(code == 200, "{code} {text}");
    ensure!(scene.get("/healthz")?.0 == 200);
    ensure!(scene.get("/anything")?.0 == 404);

    scene.lab.kill_agent();
    scene.lab.add_pod(PodSpec::new("shop", "late").label("app", "late"))?;
    std::thread::sleep(Duration::from_secs(2));
    scene.lab.start_agent()?;
    let absence = scene.lab.agent()?.status()?["absence"].clone();
    ensure!(absence["pods"] == json!(["shop/late"]), "{absence}");
    let (_, text) = scene.get("/metrics")?;
    ensure!(text.contains("netpol_absence_pods 1"), "{text}");
    let seconds = text.lines().find_map(|line| line.strip_prefix("netpol_absence_seconds "));
    let seconds: u64 = seconds.and_then(|text| text.parse().ok()).context("no absence")?;
    ensure!((2..600).contains(&seconds), "{seconds}");
    // An agent that is replaced at once leaves nothing open.
    scene.lab.kill_agent();
    scene.lab.start_agent()?;
    let absence = scene.lab.agent()?.status()?["absence"].clone();
    ensure!(absence["pods"] == json!([]), "{absence}");
    Ok(())
}

fn only(reasons: &[&str]) -> BTreeSet<String> {
    reasons.iter().map(|reason| (*reason).to_owned()).collect()
}

#[test]
#[ignore = "needs root, BPF and Kubernetes' programs"]
fn what_is_mended_is_a_warning_no_more_and_one_again_when_it_comes_back() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.lab.policy("shop", "bad", &from_block("10.0.0.0/99"))?;
    scene.lab.start_agent()?;
    let warned = only(&["NotRealizedAsWritten"]);
    let warnings = |scene: &Scene| scene.reasons("Warning", "NetworkPolicy", "bad");
    eventually("it is said", SOON, &warned, || warnings(&scene))?;

    scene.lab.policy("shop", "bad", &from_block("10.0.0.0/8"))?;
    eventually("it is no warning any more", SOON, &only(&[]), || warnings(&scene))?;
    let normal = scene.events("Normal", "NetworkPolicy", "bad");
    ensure!(normal.iter().all(|event| event["reason"] == "Mended"), "{normal:?}");
    let message = normal.first().and_then(|event| event["message"].as_str()).context("no Event is left")?;
    ensure!(message.starts_with("no longer so: spec.ingress[0]"), "{message}");

    scene.lab.policy("shop", "bad", &from_block("10.0.0.0/99"))?;
    eventually("it is a warning again", SOON, &warned, || warnings(&scene))?;
    Ok(())
}

#[test]
#[ignore = "needs root, BPF and Kubernetes' programs"]
fn break_glass_is_obeyed_said_and_taken_back_as_its_annotation_comes_and_goes() -> Result<()> {
    const PORT: u16 = 7000;
    let mut scene = Scene::new()?;
    let web = scene.lab.pod("shop/web")?.clone();
    let client = scene.lab.add_pod(PodSpec::new("shop", "client").label("app", "client"))?;
    let _server = serve::tcp(&web, PORT)?;
    let to = web.sockets(PORT)[0];
    scene.lab.policy(
        "shop",
        "closed",
        &json!({"podSelector": {"matchLabels": {"app": "web"}}, "policyTypes": ["Ingress"]}),
    )?;
    scene.lab.start_agent()?;
    let seen = |what: &str, outcome: Outcome| {
        eventually(what, SOON, &outcome, || client.tcp(to, DROP_PATIENCE)).map(drop)
    };
    seen("the policy is in force", Outcome::TimedOut)?;
    for (kind, name, label) in [("Namespace", "shop", "namespace"), ("Node", "node-1", "node")] {
        ensure!(scene.warnings(kind, name).is_empty());
        scene.annotate(kind, name, "netpol.io/break-glass=true")?;
        seen("the switch opens", Outcome::Reached)?;
        let mut open = client
            .connect(to, ARRIVAL_PATIENCE)
            .map_err(|outcome| anyhow!("cannot connect to {to}: {outcome:?}"))?;
        ensure!(exchange(&mut open, ARRIVAL_PATIENCE) == Outcome::Reached);
        let status = scene.lab.agent()?.status()?;
        let line = json!([{"kind": kind, "name": name, "pods": ["shop/web"]}]);
        ensure!(status["breakGlass"] == line, "{}", status["breakGlass"]);
        let (_, text) = scene.get("/metrics")?;
        ensure!(text.contains(&format!("netpol_break_glass{{object=\"{label}\"}} 1")), "{text}");
        eventually("an Event says it", SOON, &only(&["BreakGlass"]), || {
            scene.reasons("Warning", kind, name)
        })?;

        scene.annotate(kind, name, "netpol.io/break-glass-")?;
        seen("the policy is in force again", Outcome::TimedOut)?;
        ensure!(exchange(&mut open, DROP_PATIENCE) == Outcome::TimedOut, "the open connection stops");
        eventually("the Event is no warning any more", SOON, &only(&[]), || {
            scene.reasons("Warning", kind, name)
        })?;
        ensure!(scene.reasons("Normal", kind, name) == only(&["BreakGlassEnded"]));
        let (_, text) = scene.get("/metrics")?;
        ensure!(text.contains(&format!("netpol_break_glass{{object=\"{label}\"}} 0")), "{text}");
    }
    // `kubectl describe node` finds the Events of a node by this.
    let event = scene.events("Normal", "Node", "node-1").remove(0);
    ensure!(
        event["involvedObject"]["uid"] == "node-1" && event["metadata"]["namespace"] == "default",
        "{event}"
    );
    // What cannot be read opens nothing, and is said.
    scene.annotate("Namespace", "shop", "netpol.io/break-glass=yes")?;
    eventually("it is a problem", SOON, &true, || {
        let status = scene.lab.agent().and_then(|agent| agent.status()).unwrap_or_default();
        status["problems"].to_string().contains("netpol.io/break-glass")
    })?;
    ensure!(client.tcp(to, DROP_PATIENCE) == Outcome::TimedOut);
    Ok(())
}

#[test]
#[ignore = "needs root, BPF and Kubernetes' programs"]
fn a_hook_that_somebody_takes_off_is_an_event_on_its_pod() -> Result<()> {
    let mut scene = Scene::with(&["--attach", "filter"])?;
    scene.lab.policy("shop", "closed", &json!({"podSelector": {}, "policyTypes": ["Ingress"]}))?;
    scene.lab.start_agent()?;
    ensure!(scene.warnings("Pod", "web").is_empty());
    let interface = scene.lab.pod("shop/web")?.host_interface.clone();
    let mut tc = std::process::Command::new("tc");
    tc.args(["qdisc", "del", "dev", &interface, "clsact"]);
    scene.lab.node.enter(&mut tc);
    command::feed_command(tc, "")?;
    eventually("an Event says it", SOON, &only(&["HookRepaired"]), || {
        scene.reasons("Warning", "Pod", "web")
    })?;
    let event = scene.warnings("Pod", "web").remove(0);
    ensure!(event["message"].as_str().is_some_and(|text| text.contains("not enforced until")), "{event}");
    Ok(())
}
