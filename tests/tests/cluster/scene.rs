//! A namespace with pods that ask and answer, on the nodes that a test wants them on.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use netpol_prober::{Outcomes, Probe, Protocol};
use netpol_tests::cluster::{Agents, Cluster, Node, Prober};
use netpol_tests::deadline::wait_for;
use serde_json::{Value, json};

/// What all of a test's pods answer on, with TCP and UDP. Policies allow the first and not the second.
pub(super) const ALLOWED: u16 = 8080;
/// See [`ALLOWED`].
pub(super) const OTHER: u16 = 8081;
/// The port of Services, which no rule names.
pub(super) const FRONT: u16 = 80;

/// How long pods, Services and kube-proxy may take on a machine that is busy.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);
/// How long an answer is waited for that must not come, in milliseconds.
const DROPPED: u64 = 1000;
/// How long one is waited for that must come, in milliseconds.
const ARRIVES: u64 = 3000;

/// A pod in the making.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    pub(super) name: &'static str,
    /// Counted from 0; the last one there is where there are fewer.
    node: usize,
    labels: Vec<(&'static str, &'static str)>,
    /// What is merged into its only container.
    container: Value,
    /// What is merged into its spec.
    spec: Value,
}

/// A pod `app=NAME` on this node.
pub(super) fn pod(name: &'static str, node: usize) -> Shape {
    Shape { name, node, labels: vec![("app", name)], container: json!({}), spec: json!({}) }
}

impl Shape {
    /// With one more label.
    pub(super) fn label(mut self, key: &'static str, value: &'static str) -> Self {
        self.labels.push((key, value));
        self
    }

    /// With further fields of its container.
    pub(super) fn container(mut self, fields: Value) -> Self {
        self.container = fields;
        self
    }

    /// With further fields of its spec.
    pub(super) fn spec(mut self, fields: Value) -> Self {
        self.spec = fields;
        self
    }
}

/// A pod that runs.
#[derive(Debug, Clone)]
pub(super) struct Running {
    pub(super) node: Node,
    pub(super) addresses: Vec<IpAddr>,
    pub(super) prober: Prober,
}

impl Running {
    /// A port of it by each of its addresses.
    pub(super) fn sockets(&self, port: u16) -> Vec<SocketAddr> {
        sockets(&self.addresses, port)
    }
}

/// A port at each of these addresses.
pub(super) fn sockets(addresses: &[IpAddr], port: u16) -> Vec<SocketAddr> {
    addresses.iter().map(|address| SocketAddr::new(*address, port)).collect()
}

/// A namespace with its pods; it goes when this is dropped.
pub(super) struct Scene {
    pub(super) cluster: Cluster,
    pub(super) agents: Agents,
    pub(super) namespace: String,
    /// No other scene of this run has it; never 0.
    pub(super) number: u8,
    pods: BTreeMap<String, Running>,
}

static SCENES: AtomicU8 = AtomicU8::new(1);

impl Scene {
    /// A namespace with these pods, and agents on all nodes.
    pub(super) fn build(name: &str, shapes: &[Shape]) -> Result<Self> {
        Self::with(name, shapes, &[])
    }

    /// The same, with further flags of the agents: for a test that has the cluster alone.
    pub(super) fn with(name: &str, shapes: &[Shape], flags: &[&str]) -> Result<Self> {
        let cluster = Cluster::running()?;
        let agents = Agents::start(&cluster, flags)?;
        let namespace = format!("network-{name}-{}", std::process::id());
        let number = SCENES.fetch_add(1, Ordering::Relaxed);
        let mut scene = Self { cluster, agents, namespace, number, pods: BTreeMap::new() };
        scene
            .put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": scene.namespace}}))?;
        wait_for("the namespace has an account for its pods", PATIENCE, || {
            scene.cluster.kubectl(&["get", "serviceaccount", "-n", &scene.namespace, "default"]).ok()
        })?;
        scene.add(shapes)?;
        // What a runtime still tears down of another test's pods carries no classifier; beside it no tag is believed.
        wait_for("the tag is believed behind every bridge", PATIENCE, || {
            let believed = |node: &Node| {
                let status = scene.agents.status(node).ok()?;
                status["bridges"].as_array()?.iter().all(|bridge| bridge["trusted"] == true).then_some(())
            };
            scene.cluster.nodes().iter().all(|node| believed(node).is_some()).then_some(())
        })?;
        Ok(scene)
    }

    /// More pods.
    pub(super) fn add(&mut self, shapes: &[Shape]) -> Result<()> {
        if shapes.is_empty() {
            return self.agents.settled();
        }
        let items: Vec<Value> = shapes.iter().map(|shape| self.object(shape)).collect();
        self.put(&json!({"apiVersion": "v1", "kind": "List", "items": items}))?;
        for shape in shapes {
            self.meet(shape.name, &self.node(shape.node).clone())?;
        }
        self.agents.settled()
    }

    /// Notes the addresses of a pod, which has others once its sandbox was made anew.
    pub(super) fn meet(&mut self, name: &str, node: &Node) -> Result<()> {
        let pod = format!("pod/{name}");
        let timeout = format!("--timeout={}s", PATIENCE.as_secs());
        self.kubectl(&["wait", "--for=condition=Ready", &timeout, &pod])?;
        let addresses = self.addresses(&pod, "{.status.podIPs[*].ip}")?;
        let first = addresses.first().with_context(|| format!("{pod} has no address"))?;
        let (node, prober) = (node.clone(), Prober::at(node, *first));
        self.pods.insert(name.to_owned(), Running { node, addresses, prober });
        Ok(())
    }

    /// A node, counted from 0; the last one there is where there are fewer.
    pub(super) fn node(&self, number: usize) -> &Node {
        let nodes = self.cluster.nodes();
        &nodes[number.min(nodes.len() - 1)]
    }

    /// What the pod of a shape is for the API server.
    pub(super) fn object(&self, shape: &Shape) -> Value {
        let labels: BTreeMap<_, _> = shape.labels.iter().copied().collect();
        let ports = format!("{ALLOWED},{OTHER}");
        let mut container = json!({
            "name": "main",
            "image": "localhost/netpol-test:1",
            "command": ["/prober", "serve", "--name", shape.name, "--tcp", ports, "--udp", ports],
        });
        if let (Value::Object(all), Value::Object(more)) = (&mut container, &shape.container) {
            all.extend(more.clone());
        }
        let mut spec = json!({
            "nodeName": self.node(shape.node).name(),
            "automountServiceAccountToken": false,
            "terminationGracePeriodSeconds": 1,
            "containers": [container],
        });
        if let (Value::Object(all), Value::Object(more)) = (&mut spec, &shape.spec) {
            all.extend(more.clone());
        }
        let metadata = json!({"namespace": self.namespace, "name": shape.name, "labels": labels});
        json!({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})
    }

    /// What the agent of a node says of the interfaces of a pod.
    pub(super) fn endpoints(&self, node: &Node, name: &str) -> Result<Vec<Value>> {
        let key = format!("{}/{name}", self.namespace);
        let status = self.agents.status(node)?;
        let lines = status["endpoints"].as_array().into_iter().flatten();
        Ok(lines.filter(|line| line["pod"] == *key).cloned().collect())
    }

    /// A pod that runs.
    pub(super) fn pod(&self, name: &str) -> Result<&Running> {
        self.pods.get(name).with_context(|| format!("there is no pod {name}"))
    }

    /// kubectl in the scene's namespace.
    pub(super) fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        self.cluster.kubectl(&[&["-n", &self.namespace], arguments].concat())
    }

    /// Creates or changes an object.
    pub(super) fn put(&self, object: &Value) -> Result<()> {
        self.cluster.apply(&object.to_string())
    }

    /// The addresses that an object names at a path of it.
    pub(super) fn addresses(&self, what: &str, path: &str) -> Result<Vec<IpAddr>> {
        let text = self.kubectl(&["get", what, "-o", &format!("jsonpath={path}")])?;
        let addresses: Result<Vec<IpAddr>, _> = text.split_whitespace().map(str::parse).collect();
        addresses.with_context(|| format!("{what} has the addresses {text:?}"))
    }

    /// Makes a Service, for pods of this label or none, and says its ClusterIPs.
    pub(super) fn service(&self, name: &str, app: Option<&str>, fields: &Value) -> Result<Vec<IpAddr>> {
        let port = |protocol: &str| json!({"name": protocol.to_lowercase(), "protocol": protocol, "port": FRONT, "targetPort": ALLOWED});
        let mut spec = json!({"ipFamilyPolicy": "PreferDualStack", "ports": [port("TCP"), port("UDP")]});
        if let Some(app) = app {
            spec["selector"] = json!({"app": app});
        }
        if let (Value::Object(all), Value::Object(more)) = (&mut spec, fields) {
            all.extend(more.clone());
        }
        let metadata = json!({"namespace": self.namespace, "name": name});
        self.put(&json!({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}))?;
        if spec["clusterIP"] == "None" {
            return Ok(Vec::new());
        }
        self.addresses(&format!("service/{name}"), "{.spec.clusterIPs[*]}")
    }

    /// A port of a Service that was made as it is: its port on the nodes.
    pub(super) fn node_port(&self, service: &str) -> Result<u16> {
        let text = self.kubectl(&["get", "service", service, "-o", "jsonpath={.spec.ports[0].nodePort}"])?;
        text.trim().parse().with_context(|| format!("{service} has the port {text:?} on the nodes"))
    }

    /// A policy, in force when this returns.
    pub(super) fn policy(&self, name: &str, spec: &Value) -> Result<()> {
        self.put(&json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"namespace": self.namespace, "name": name},
            "spec": spec,
        }))?;
        self.agents.settled()
    }

    /// Takes a policy away.
    pub(super) fn no_policy(&self, name: &str) -> Result<()> {
        self.kubectl(&["delete", "networkpolicy", name])?;
        self.agents.settled()
    }

    /// All ask all of these places from inside a pod.
    pub(super) fn ask(
        &self,
        from: &str,
        to: &[(Protocol, SocketAddr)],
        patience: u64,
    ) -> Result<Vec<Outcomes>> {
        let probes: Vec<Probe> =
            to.iter().map(|(protocol, to)| Probe::new(*protocol, *to, patience)).collect();
        self.pod(from)?.prober.probe(&probes)
    }

    /// Everything arrives at this pod, once whoever lags has caught up.
    pub(super) fn reaches(&self, from: &str, who: &str, to: &[(Protocol, SocketAddr)]) -> Result<()> {
        ensure!(!to.is_empty(), "nothing is asked");
        let mut last = Vec::new();
        let arrived = wait_for(&format!("{from} reaches {who}"), PATIENCE, || {
            last = self.ask(from, to, ARRIVES).unwrap_or_default();
            let all = last.len() == to.len() && last.iter().all(|one| one.who() == Some(who));
            all.then_some(())
        });
        arrived.with_context(|| describe(from, to, &last))
    }

    /// Nothing comes back, not even an error.
    pub(super) fn is_dropped(&self, from: &str, to: &[(Protocol, SocketAddr)]) -> Result<()> {
        ensure!(!to.is_empty(), "nothing is asked");
        let outcomes = self.ask(from, to, DROPPED)?;
        if !outcomes.iter().all(Outcomes::all_timed_out) {
            bail!("not dropped: {}", describe(from, to, &outcomes));
        }
        Ok(())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // What could not be removed has a name that no other run uses.
        drop(self.cluster.kubectl(&["delete", "namespace", "--wait=false", &self.namespace]));
    }
}

fn describe(from: &str, to: &[(Protocol, SocketAddr)], outcomes: &[Outcomes]) -> String {
    let lines =
        to.iter().zip(outcomes).map(|((protocol, to), out)| format!("{from} to {protocol}/{to}: {out}"));
    lines.collect::<Vec<_>>().join("; ")
}

/// Both protocols at these places.
pub(super) fn both(to: &[SocketAddr]) -> Vec<(Protocol, SocketAddr)> {
    to.iter().flat_map(|to| [(Protocol::Tcp, *to), (Protocol::Udp, *to)]).collect()
}

/// TCP alone.
pub(super) fn tcp(to: &[SocketAddr]) -> Vec<(Protocol, SocketAddr)> {
    to.iter().map(|to| (Protocol::Tcp, *to)).collect()
}

/// One port with both protocols, as a rule names it.
pub(super) fn ports(port: u16) -> Value {
    json!([{"protocol": "TCP", "port": port}, {"protocol": "UDP", "port": port}])
}

/// Pods of the namespace with this label `app`, as a peer.
pub(super) fn app(value: &str) -> Value {
    json!([{"podSelector": {"matchLabels": {"app": value}}}])
}

/// Blocks of one address each.
pub(super) fn blocks(addresses: &[IpAddr]) -> Value {
    let block = |address: &IpAddr| {
        let length = if address.is_ipv4() { 32 } else { 128 };
        json!({"ipBlock": {"cidr": format!("{address}/{length}")}})
    };
    addresses.iter().map(block).collect()
}

/// These pods send by these rules only.
pub(super) fn egress_of(value: &str, rules: &Value) -> Value {
    json!({"podSelector": {"matchLabels": {"app": value}}, "policyTypes": ["Egress"], "egress": rules})
}

/// These pods take by these rules only.
pub(super) fn ingress_of(value: &str, rules: &Value) -> Value {
    json!({"podSelector": {"matchLabels": {"app": value}}, "policyTypes": ["Ingress"], "ingress": rules})
}

/// Nobody in the namespace may send or take anything.
pub(super) fn nothing() -> Value {
    json!({"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
}
