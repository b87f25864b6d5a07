//! From the first instant, on real nodes: many pods that start at once and send from their first instruction on, to a place
//! that their policy allows and to one that it forbids.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netpol_prober::{Heard, Protocol};
use netpol_tests::cluster::{self, Agents, Cluster, Pod, PodDraft, Prober, TestNamespace};
use netpol_tests::deadline::wait_for;
use netpol_tests::{counted, figure};
use serde_json::{Value, json};

use crate::figures::median;

/// Pods that start at the same time.
const TOGETHER: usize = 30;
/// The port that the places answer on.
const PORT: u16 = 9000;
/// How long what is allowed may take to arrive, on a machine that is busy.
const ARRIVES: Duration = Duration::from_secs(60);

/// Rounds of that many starts with agents, each beside one without.
const ROUNDS: usize = 10;

/// A place that is sent to.
struct Place {
    pod: Pod,
    prober: Prober,
}

impl Place {
    fn start(scene: &Scene, name: &str) -> Result<Self> {
        let port = PORT.to_string();
        let command = ["/prober", "serve", "--name", name, "--tcp", &port, "--udp", &port];
        let pod = scene.draft(name, 0, name).command(&command).start()?;
        let prober = Prober::of(&pod)?;
        Ok(Self { pod, prober })
    }

    /// By every family and protocol.
    fn targets(&self) -> impl Iterator<Item = String> {
        let sockets = self.pod.addresses().iter().map(|address| SocketAddr::new(*address, PORT));
        sockets.flat_map(|socket| [format!("tcp/{socket}"), format!("udp/{socket}")])
    }

    /// Who of these has been heard here.
    fn heard(&self, of: &BTreeSet<IpAddr>) -> Result<Vec<Heard>> {
        let mut heard = self.prober.heard(false)?;
        heard.retain(|heard| of.contains(&heard.source));
        Ok(heard)
    }

    /// Waits until each of these has been heard here by both protocols.
    fn hears_all(&self, of: &BTreeSet<IpAddr>) -> Result<()> {
        let mut last = Vec::new();
        let all = wait_for(&format!("{:?} hears everybody", self.pod.name()), ARRIVES, || {
            last = self.heard(of).unwrap_or_default();
            let by = |protocol| last.iter().filter(|heard| heard.protocol == protocol).count();
            (by(Protocol::Tcp) == of.len() && by(Protocol::Udp) == of.len()).then_some(())
        });
        all.with_context(|| format!("of {of:?} it has heard {last:?}"))
    }
}

struct Scene {
    cluster: Cluster,
    namespace: TestNamespace,
}

impl Scene {
    fn draft(&self, name: &str, node: usize, app: &str) -> PodDraft {
        let nodes = self.cluster.nodes();
        self.cluster.pod(&self.namespace, name).on(&nodes[node % nodes.len()]).label("app", app)
    }

    /// Starts pods on all nodes at once, lets them be judged by what the places hear, and ends them.
    fn starts(&self, [allowed, forbidden]: &[Place; 2], isolated: bool) -> Result<()> {
        for place in [allowed, forbidden] {
            place.prober.heard(true)?;
        }
        let mut command: Vec<String> = ["/prober", "send", "--every", "10"].map(str::to_owned).to_vec();
        command.extend(allowed.targets().chain(forbidden.targets()));
        let command: Vec<&str> = command.iter().map(String::as_str).collect();
        let names: Vec<String> = (0..TOGETHER).map(|number| format!("starter-{number}")).collect();
        let draft = |(node, name): (usize, &String)| self.draft(name, node, "starter").command(&command);
        let objects: Vec<Value> = names.iter().enumerate().map(|one| draft(one).object()).collect();
        self.cluster.apply(&json!({"apiVersion": "v1", "kind": "List", "items": objects}).to_string())?;
        let pods: Result<Vec<Pod>> =
            names.iter().map(|name| Pod::ready(&self.cluster, &self.namespace, name)).collect();
        let sources: BTreeSet<IpAddr> = pods?.iter().flat_map(|pod| pod.addresses().to_vec()).collect();
        ensure!(sources.len() >= TOGETHER, "{} addresses for {TOGETHER} pods", sources.len());
        allowed.hears_all(&sources)?;
        if isolated {
            let leaked = forbidden.heard(&sources)?;
            ensure!(leaked.is_empty(), "forbidden packets of pods that started arrived: {leaked:?}");
        } else {
            forbidden.hears_all(&sources)?;
        }
        let what = ["-n", &self.namespace, "delete", "pod", "-l", "app=starter", "--wait"];
        self.cluster.kubectl(&what).map(drop)
    }

    /// What the kubelets have needed so far from the beginning of a sandbox to the start of its container: seconds, pods.
    fn launches(&self) -> Result<[f64; 2]> {
        let mut sums = [0.0, 0.0];
        for node in self.cluster.nodes() {
            let path = format!("/api/v1/nodes/{}/proxy/metrics", node.name());
            let metrics = self.cluster.kubectl(&["get", "--raw", &path])?;
            let sum = |name: &str, label: &str| -> f64 {
                let lines = metrics.lines().filter(|line| line.starts_with(name) && line.contains(label));
                lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
            };
            let operation = "kubelet_runtime_operations_duration_seconds_sum";
            sums[0] += sum("kubelet_run_podsandbox_duration_seconds_sum", "")
                + sum(operation, "operation_type=\"create_container\"")
                + sum(operation, "operation_type=\"start_container\"");
            sums[1] += sum("kubelet_run_podsandbox_duration_seconds_count", "");
        }
        Ok(sums)
    }

    /// The mean of that for the pods which start meanwhile, in seconds.
    fn launch(&self, start: impl FnOnce() -> Result<()>) -> Result<f64> {
        let before = self.launches()?;
        start()?;
        let after = self.launches()?;
        ensure!(after[1] > before[1], "the kubelets have counted no start: {before:?}, {after:?}");
        Ok((after[0] - before[0]) / (after[1] - before[1]))
    }
}

#[test]
#[ignore = "needs a cluster"]
fn nothing_forbidden_leaves_pods_that_start_at_once() -> Result<()> {
    let _guard = cluster::exclusive();
    let cluster = Cluster::running()?;
    let scene = Scene { namespace: cluster.namespace("start")?, cluster };
    let places = [Place::start(&scene, "allowed")?, Place::start(&scene, "forbidden")?];
    let policy = json!({
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"namespace": scene.namespace.name(), "name": "starters"},
        "spec": {
            "podSelector": {"matchLabels": {"app": "starter"}},
            "policyTypes": ["Ingress", "Egress"],
            "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "allowed"}}}]}],
        },
    });
    scene.cluster.apply(&policy.to_string())?;
    let [mut with, mut without, mut ratios] = [Vec::new(), Vec::new(), Vec::new()];
    for round in 0..ROUNDS {
        let mut launches = [0.0; 2];
        // Who is first changes: what one leaves behind is in the other's next.
        for turn in 0..2 {
            let agents = (turn + round) % 2;
            launches[agents] = if agents == 0 {
                // Nobody enforces, and all arrives.
                scene.launch(|| scene.starts(&places, false))?
            } else {
                let running = Agents::start(&scene.cluster, &[])?;
                running.settled()?;
                scene.launch(|| scene.starts(&places, true))?
            };
        }
        let [alone, enforced] = launches;
        without.push(alone);
        with.push(enforced);
        ratios.push(enforced / alone);
    }
    figure(format_args!(
        "from the beginning of a sandbox to the start of its container, {TOGETHER} pods at once: {:.3} s with agents, {:.3} s \
         without, ratio {:.3}",
        median(with),
        median(without),
        median(ratios)
    ));
    counted(&[((TOGETHER * ROUNDS) as u64, "starts of real pods that send from their first instruction")]);
    Ok(())
}
