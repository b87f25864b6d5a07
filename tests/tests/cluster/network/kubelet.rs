//! The kubelet and its callers under a policy that allows nobody anything: probes, exec, logs, port-forward.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use netpol_prober::{Outcomes, Probe, Protocol};
use netpol_tests::cluster;
use netpol_tests::deadline::wait_for;
use serde_json::{Value, json};

use crate::scene::{ALLOWED, OTHER, PATIENCE, Scene, nothing, pod, tcp};

/// Long enough for several probes of each kind, which are asked each second.
const SOME_PROBES: Duration = Duration::from_secs(5);

/// A question to a web server.
const GET: &[u8] = b"GET /hostname HTTP/1.0\r\n\r\n";
/// What a client of gRPC begins with: that it speaks HTTP/2, and that it sets nothing.
const GRPC: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// A container with a probe for being ready and one for being alive, of the same kind.
fn probed(probe: &Value, mut container: Value) -> Value {
    let mut probe = probe.clone();
    probe["periodSeconds"] = 1.into();
    probe["timeoutSeconds"] = 3.into();
    // One answer that is missed on a busy machine is no failure.
    probe["failureThreshold"] = 3.into();
    container["readinessProbe"] = probe.clone();
    container["livenessProbe"] = probe;
    container
}

#[test]
#[ignore = "needs a cluster"]
fn probes_of_every_kind_find_their_pods_and_nobody_else_does() -> Result<()> {
    let _guard = cluster::shared();
    let mut scene = Scene::build("probes", &[pod("client", 0)])?;
    // In force before the pods are there.
    scene.policy("nothing", &nothing())?;
    let http =
        json!({"command": ["/agnhost", "netexec", "--http-port", ALLOWED.to_string(), "--udp-port", "-1"]});
    let grpc = json!({"command": ["/agnhost", "grpc-health-checking", "--port", OTHER.to_string(),
        "--http-port", ALLOWED.to_string()]});
    let shapes = [
        pod("http", 0).container(probed(&json!({"httpGet": {"path": "/hostname", "port": ALLOWED}}), http)),
        pod("tcp", 0).container(probed(&json!({"tcpSocket": {"port": ALLOWED}}), json!({}))),
        pod("grpc", 0).container(probed(&json!({"grpc": {"port": OTHER}}), grpc)),
        pod("exec", 0).container(probed(&json!({"exec": {"command": ["/bin/busybox", "true"]}}), json!({}))),
    ];
    scene.add(&shapes)?;
    thread::sleep(SOME_PROBES);
    let path = "jsonpath={range .items[*]}{.metadata.name} {.status.containerStatuses[0].restartCount} \
                {.status.containerStatuses[0].ready}{\"\\n\"}{end}";
    let pods = scene.kubectl(&["get", "pods", "-o", path])?;
    ensure!(pods.lines().count() == 5 && pods.lines().all(|line| line.ends_with(" 0 true")), "{pods}");
    // As the kubelet asks them, but for the pod's own program.
    let ask = |patience: u64| -> Result<Vec<Outcomes>> {
        let mut probes = Vec::new();
        let raw = |words: &[u8]| Some(words.to_vec());
        for (name, port, raw) in
            [("http", ALLOWED, raw(GET)), ("tcp", ALLOWED, None), ("grpc", OTHER, raw(GRPC))]
        {
            let probe = |to| Probe { raw: raw.clone(), ..Probe::new(Protocol::Tcp, to, patience) };
            probes.extend(scene.pod(name)?.sockets(port).into_iter().map(probe));
        }
        scene.pod("client")?.prober.probe(&probes)
    };
    let outcomes = ask(1000)?;
    ensure!(outcomes.len() >= 3 && outcomes.iter().all(Outcomes::all_timed_out), "{outcomes:?}");
    // The controls: without the policy the client is answered by each, and a probe that must fail does.
    scene.no_policy("nothing")?;
    let outcomes = ask(5000)?;
    ensure!(outcomes.len() >= 3 && outcomes.iter().all(Outcomes::all_reached), "{outcomes:?}");
    let deaf = scene.object(&pod("deaf", 0).container(probed(&json!({"tcpSocket": {"port": 9}}), json!({}))));
    scene.put(&deaf)?;
    let unhealthy = "--field-selector=involvedObject.kind=Pod,involvedObject.name=deaf,reason=Unhealthy";
    wait_for("the kubelet says that nothing answers its probe", PATIENCE, || {
        let said = scene.kubectl(&["get", "events", unhealthy, "-o", "jsonpath={.items[*].message}"]).ok()?;
        said.contains("Readiness probe failed").then_some(())
    })?;
    let ready = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
    let ready = scene.kubectl(&["get", "pod", "deaf", "-o", ready])?;
    ensure!(ready == "False", "a pod is ready ({ready}) though nothing answers its probe");
    Ok(())
}

#[test]
#[ignore = "needs a cluster"]
fn exec_logs_and_port_forward_work_under_a_policy_that_allows_nothing() -> Result<()> {
    let _guard = cluster::shared();
    let port = ALLOWED.to_string();
    let http = json!({"command": ["/agnhost", "netexec", "--http-port", port, "--udp-port", "-1"]});
    let scene = Scene::build("kubectl", &[pod("client", 0), pod("web", 0).container(http)])?;
    scene.policy("nothing", &nothing())?;
    scene.is_dropped("client", &tcp(&scene.pod("web")?.sockets(ALLOWED)))?;

    let said = scene.kubectl(&["exec", "web", "--", "/bin/busybox", "echo", "from inside"])?;
    ensure!(said.trim() == "from inside", "exec said {said:?}");
    let logs = scene.kubectl(&["logs", "web"])?;
    ensure!(logs.contains("Started HTTP server"), "the logs are {logs:?}");

    // It enters the pod's network and asks its own loopback there.
    let forward = Forward::start(&scene, "web", ALLOWED)?;
    let name = forward.get("/hostname")?;
    ensure!(name.ends_with("web"), "port-forward said {name:?}");
    Ok(())
}

/// A running `kubectl port-forward`.
struct Forward<'a> {
    scene: &'a Scene,
    child: Child,
    /// Kept open: kubectl writes a line for each connection, and ends when nobody reads it.
    _output: BufReader<ChildStdout>,
    at: SocketAddr,
}

impl<'a> Forward<'a> {
    fn start(scene: &'a Scene, name: &str, port: u16) -> Result<Self> {
        let (pod, ports) = (format!("pod/{name}"), format!(":{port}"));
        let words = ["-n", &scene.namespace, "port-forward", &pod, &ports];
        let mut command = scene.cluster.kubectl_command(&words)?;
        let mut child = command.stdout(Stdio::piped()).spawn().context("cannot start kubectl")?;
        let output = child.stdout.take().context("kubectl has no output")?;
        let (mut line, mut output) = (String::new(), BufReader::new(output));
        output.read_line(&mut line)?;
        // `Forwarding from 127.0.0.1:40001 -> 8080`
        let at = line.split_whitespace().find_map(|word| word.parse().ok());
        let at = at.with_context(|| format!("port-forward said {line:?}"))?;
        Ok(Self { scene, child, _output: output, at })
    }

    fn get(&self, path: &str) -> Result<String> {
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(self.at)?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            stream.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer)?;
            Ok(answer)
        };
        self.scene.cluster.network().run(ask)?.context("cannot ask by port-forward")
    }
}

impl Drop for Forward<'_> {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
