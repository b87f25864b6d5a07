//! What the agent tells the cluster and its monitoring: the startup taint that goes, Events, metrics, and the time in
//! which there was no agent.

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netpol_tests::cluster::ControlPlane;
use netpol_tests::deadline::wait_for;
use netpol_tests::etcd::Etcd;
use netpol_tests::{Laboratory, PodSpec, Setup, eventually};
use serde_json::{Value, json};

const SOON: Duration = Duration::from_secs(30);
const TAINT: &str = "netpol.io/agent-not-ready";
const METRICS: &str = "127.0.0.1:9911";

struct Scene {
    lab: Laboratory,
    plane: ControlPlane,
}

impl Scene {
    fn new() -> Result<Self> {
        let flags = ["--startup-taint", TAINT, "--metrics", METRICS].map(str::to_owned).to_vec();
        let mut lab = Laboratory::with(Setup { agent_flags: flags, ..Setup::default() })?;
        let plane = ControlPlane::beside(&lab, &[])?;
        plane.apply(include_str!("../../../deploy/rbac.yaml"))?;
        lab.use_api(&plane.agent_kubeconfig()?, Etcd::new(plane.network()))?;
        lab.add_pod(PodSpec::new("shop", "web").label("app", "web"))?;
        let taints = [TAINT, "example.org/other"].map(|key| json!({"key": key, "effect": "NoSchedule"}));
        lab.apply(&json!({
            "apiVersion": "v1",
            "kind": "Node",
            // What has none was never created, as the API server sees it, and cannot be changed.
            "metadata": {
                "name": "node-1",
                "uid": "00000000-0000-4000-8000-00000000aaaa",
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
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

    /// Reasons of Warnings on an object of the namespace `shop`.
    fn warnings(&self, kind: &str, name: &str) -> Vec<Value> {
        let text = self.plane.kubectl(&["get", "events", "-n", "shop", "-o", "json"]).unwrap_or_default();
        let list: Value = serde_json::from_str(&text).unwrap_or_default();
        let of = |event: &&Value| {
            event["involvedObject"]["kind"] == kind
                && event["involvedObject"]["name"] == name
                && event["type"] == "Warning"
        };
        list["items"].as_array().into_iter().flatten().filter(of).cloned().collect()
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
    let spec = |cidr: &str| {
        json!({
            "podSelector": {"matchLabels": {"app": "web"}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": [{"ipBlock": {"cidr": cidr}}]}],
        })
    };
    scene.lab.policy("shop", "good", &spec("10.0.0.0/8"))?;
    // As an older server may have stored it: this one would refuse it.
    scene.lab.policy("shop", "bad", &spec("10.0.0.0/99"))?;
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
