//! A node of a large cluster whose agent asks a real API server: the objects are in etcd, the node's own pods are real.

mod services;

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use netpol_tests::cluster::ControlPlane;
use netpol_tests::deadline::wait_for;
use netpol_tests::etcd::Etcd;
use netpol_tests::laboratory::network::ROUTER;
use netpol_tests::relay::Relay;
use netpol_tests::stat;
use netpol_tests::{Laboratory, PodSpec};
use serde_json::{Value, json};

/// Policies.
pub(crate) const POLICIES: u32 = 1000;
/// Namespaces; the node's pods and the policies are in the first tenth.
const NAMESPACES: u32 = 100;
/// Namespaces with policies.
const ISOLATED: u32 = 10;
/// Different labels `app`.
const APPS: u32 = 50;
/// Nodes that the other pods are on.
const NODES: u32 = 200;
/// Where the relay listens.
const RELAY_PORT: u16 = 7443;
/// How long the agent may take to start.
const PATIENCE: Duration = Duration::from_mins(5);

/// The node.
pub(crate) struct ApiNode {
    pub(crate) lab: Laboratory,
    pub(crate) plane: ControlPlane,
    pub(crate) relay: Relay,
    pub(crate) etcd: Etcd,
}

/// What one start of the agent took, until everything was written.
pub(crate) struct Start {
    /// Seconds of processor time.
    pub(crate) cpu: f64,
    /// Seconds.
    pub(crate) wall: f64,
    /// MiB that it had in memory at most.
    pub(crate) memory: f64,
}

impl ApiNode {
    /// With so many pods, some of them on the node itself, and without an agent.
    pub(crate) fn new(pods: u32, local: u32) -> Result<Self> {
        let mut lab = Laboratory::new()?;
        for number in 0..local {
            let namespace = namespace(number % ISOLATED);
            lab.add_pod(
                PodSpec::new(&namespace, &format!("local-{number}")).label("app", &app(number / ISOLATED)),
            )?;
        }
        let plane = ControlPlane::beside(&lab, &[])?;
        let rules = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/rbac.yaml");
        plane.apply(
            &fs::read_to_string(&rules).with_context(|| format!("cannot read {}", rules.display()))?,
        )?;
        let etcd = Etcd::new(plane.network());
        etcd.fill((0..NAMESPACES).map(namespace_object))?;
        etcd.fill((0..POLICIES).map(|number| policy(number, 8000)))?;
        etcd.fill((0..pods.saturating_sub(local)).map(|number| pod(number, &app(number))))?;
        etcd.fill(services::all())?;
        let relay = Relay::start(&lab.outside, RELAY_PORT, (ROUTER[0], 6443).into())?;
        lab.use_api(&plane.agent_kubeconfig()?, etcd.clone())?;
        let node = Self { lab, plane, relay, etcd };
        node.wait_for_pods(pods)?;
        Ok(node)
    }

    /// The agent that is started next reaches the API server through the relay.
    pub(crate) fn use_relay(&mut self) -> Result<()> {
        let text = fs::read_to_string(self.plane.agent_kubeconfig()?).context("cannot read a kubeconfig")?;
        let path = self.plane.folder()?.join("through-relay.kubeconfig");
        fs::write(&path, text.replace(":6443", &format!(":{RELAY_PORT}")))
            .context("cannot write a kubeconfig")?;
        self.lab.use_api(&path, self.etcd.clone())
    }

    /// Waits until the API server has taken in what was written into etcd: that is not the agent's work.
    fn wait_for_pods(&self, pods: u32) -> Result<()> {
        wait_for("the API server knows every pod", PATIENCE, || {
            let list = self.plane.kubectl(&["get", "--raw", "/api/v1/pods?limit=1"]).ok()?;
            let list: Value = serde_json::from_str(&list).ok()?;
            let beside = list["metadata"]["remainingItemCount"].as_u64().unwrap_or_default();
            (beside + 1 >= pods.into()).then_some(())
        })
    }

    /// Starts the agent on a node that nothing is enforced on, and waits until everything is written.
    pub(crate) fn start(&mut self) -> Result<Start> {
        self.take_down()?;
        let log = self.lab.folder().join("agent.log");
        let begun = Instant::now();
        self.lab.launch_agent()?;
        let id = self.lab.agent_id().context("no agent runs")?;
        let written = wait_for("everything is written", PATIENCE, || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            (text.contains("everything is written")).then(|| begun.elapsed())
        });
        let wall = written.with_context(|| self.lab.agent().map(|agent| agent.log()).unwrap_or_default())?;
        Ok(Start { cpu: cpu_seconds(id)?, wall: wall.as_secs_f64(), memory: memory(id, "VmHWM:")? })
    }

    /// MiB that the agent has in memory now.
    pub(crate) fn resident(&self) -> Result<f64> {
        memory(self.lab.agent_id().context("no agent runs")?, "VmRSS:")
    }

    /// Ends the agent and all that it enforces.
    pub(crate) fn take_down(&mut self) -> Result<()> {
        self.lab.uninstall_agent()?;
        let log = self.lab.folder().join("agent.log");
        if log.exists() {
            fs::remove_file(log).context("cannot remove a log")?;
        }
        Ok(())
    }
}

/// MiB of a process' memory, of the sort that the kernel names so.
pub(crate) fn memory(id: u32, name: &str) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{id}/status")).context("the agent has ended")?;
    let kibibytes = status.lines().find_map(|line| line.strip_prefix(name)?.strip_suffix("kB"));
    let kibibytes: f64 = kibibytes.with_context(|| format!("the kernel tells no {name}"))?.trim().parse()?;
    Ok(kibibytes / 1024.0)
}

/// The processor time of a process with all its threads.
fn cpu_seconds(id: u32) -> Result<f64> {
    let fields = stat::fields_of(id).context("the agent has ended")?;
    // utime and stime, the 12th and 13th field after the name, in hundredths of a second.
    let ticks = fields.iter().skip(11).take(2).map(|field| field.parse::<f64>());
    Ok(ticks.sum::<Result<f64, _>>().context("/proc/PID/stat holds no number")? / 100.0)
}

/// A namespace's name.
pub(crate) fn namespace(number: u32) -> String {
    format!("team-{number:03}")
}

/// A label `app`.
pub(crate) fn app(number: u32) -> String {
    format!("app-{}", number % APPS)
}

fn namespace_object(number: u32) -> Value {
    let name = namespace(number);
    json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {
            "name": name,
            "uid": uid(1, number),
            "labels": {"kubernetes.io/metadata.name": name, "team": format!("team-{}", number % 10)},
        },
        "status": {"phase": "Active"},
    })
}

/// A policy that selects some of the node's pods, with a port of its own.
pub(crate) fn policy(number: u32, port: u32) -> Value {
    let peers = json!([
        {"podSelector": {"matchLabels": {"app": app(number / 7)}}},
        {"namespaceSelector": {"matchLabels": {"team": format!("team-{}", number % 10)}},
         "podSelector": {"matchLabels": {"app": app(number / 11)}}},
    ]);
    json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {
            "namespace": namespace(number % ISOLATED),
            "name": format!("policy-{number:04}"),
            "uid": uid(2, number),
        },
        "spec": {
            "podSelector": {"matchLabels": {"app": app(number / ISOLATED)}},
            "policyTypes": ["Ingress"],
            "ingress": [{"from": peers, "ports": [{"protocol": "TCP", "port": port}]}],
        },
    })
}

/// An address of a pod elsewhere.
pub(crate) fn address(number: u32) -> std::net::Ipv4Addr {
    std::net::Ipv4Addr::from_bits(0x0a80_0000 + number)
}

/// A pod of another node, as long as what the kubelet and the controllers write: most of it decides nothing.
pub(crate) fn pod(number: u32, app: &str) -> Value {
    let (name, address) = (pod_name(number), address(number));
    let started = "2026-01-01T00:00:00Z";
    let condition = |kind: &str| json!({"type": kind, "status": "True", "lastTransitionTime": started});
    let conditions = ["PodScheduled", "Initialized", "ContainersReady", "Ready"].map(condition);
    let setting = |at| json!({"name": format!("SETTING_{at}"), "value": "a value of some length"});
    let settings: Vec<Value> = (0..8).map(setting).collect();
    let container = json!({
        "name": "web",
        "image": "registry.example.com/team/web:1.2.3",
        "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
        "env": settings,
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "256Mi"}},
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http", "scheme": "HTTP"}, "periodSeconds": 10},
        "volumeMounts": [{"name": "token", "readOnly": true, "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount"}],
        "terminationMessagePath": "/dev/termination-log",
        "imagePullPolicy": "IfNotPresent",
    });
    let fields = json!({
        "f:metadata": {"f:labels": {".": {}, "f:app": {}, "f:pod-template-hash": {}}},
        "f:spec": {"f:containers": {"k:{\"name\":\"web\"}": {
            ".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}, "f:ports": {".": {}}, "f:resources": {},
        }}, "f:restartPolicy": {}, "f:terminationGracePeriodSeconds": {}},
    });
    let written = ["kube-controller-manager", "kubelet"].map(|by| fields_of(by, &fields));
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": namespace(number % NAMESPACES),
            "name": name,
            "uid": uid(3, number),
            "creationTimestamp": started,
            "labels": {"app": app, "pod-template-hash": "7d4b9c6f8d"},
            "ownerReferences": [{
                "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-7d4b9c6f8d", "uid": uid(4, number),
                "controller": true, "blockOwnerDeletion": true,
            }],
            "managedFields": written,
        },
        "spec": {
            "nodeName": format!("node-{}", 100 + number % NODES),
            "serviceAccountName": "default",
            "restartPolicy": "Always",
            "containers": [container],
            "volumes": [{"name": "token", "projected": {"sources": [
                {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
            ], "defaultMode": 420}}],
            "tolerations": [{"key": "node.kubernetes.io/not-ready", "operator": "Exists", "effect": "NoExecute",
                "tolerationSeconds": 300}],
        },
        "status": {
            "phase": "Running",
            "hostIP": "192.0.2.7",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "startTime": started,
            "conditions": conditions,
            "containerStatuses": [{
                "name": "web", "ready": true, "restartCount": 0, "started": true, "image": "registry.example.com/team/web:1.2.3",
                "imageID": "registry.example.com/team/web@sha256:0123456789abcdef0123456789abcdef",
                "containerID": "containerd://0123456789abcdef0123456789abcdef0123456789abcdef",
                "state": {"running": {"startedAt": started}},
            }],
            "qosClass": "Burstable",
        },
    })
}

fn pod_name(number: u32) -> String {
    format!("web-{number:06}-7d4b9c6f8d-x{}", number % 97)
}

/// What a writer of an object has noted of its fields.
fn fields_of(writer: &str, fields: &Value) -> Value {
    json!({
        "manager": writer, "operation": "Update", "apiVersion": "v1", "time": "2026-01-01T00:00:00Z",
        "fieldsType": "FieldsV1", "fieldsV1": fields,
    })
}

fn uid(kind: u32, number: u32) -> String {
    format!("00000000-0000-4000-{:04x}-{number:012x}", 0x8000 + kind)
}
