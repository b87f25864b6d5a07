//! `kubectl netpol`, called by kubectl: the agents of both nodes are asked through the API server and their kubelets.
//!
//! The agents are those of the other tests, processes of their nodes. The pods that are entered stand for theirs: they have
//! the label, the program and the agent's socket.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use netpol_tests::cluster::{self, TestNamespace};
use netpol_tests::command::Killed;
use netpol_tests::deadline::wait_for;
use netpol_tests::laboratory::agent_binary;
use netpol_tests::not_run;
use serde_json::{Value, json};

use crate::scene::{ALLOWED, OTHER, PATIENCE, Scene, app, both, ingress_of, pod, ports, tcp};

/// The rights that the documents tell operators to take.
const RIGHTS: &str = include_str!("../../../deploy/rbac-operator.yaml");

/// kubectl with the plugin, as somebody with no other rights than those.
struct Operator<'a> {
    scene: &'a Scene,
    /// Where the pods are that are entered.
    agents: TestNamespace,
    folder: PathBuf,
    /// Where the folder of the agent's socket is in them.
    run: PathBuf,
}

impl<'a> Operator<'a> {
    fn new(scene: &'a Scene) -> Result<Self> {
        let agents = scene.cluster.namespace("plugin")?;
        let folder = std::env::temp_dir().join(agents.name());
        let run = Path::new("/run").join(agents.name());
        let operator = Self { scene, agents, folder, run };
        fs::create_dir_all(&operator.folder)?;
        symlink(agent_binary()?, operator.folder.join("kubectl-netpol"))?;
        for node in scene.cluster.nodes() {
            operator.pod_of(node)?;
        }
        operator.credentials()?;
        Ok(operator)
    }

    /// A pod through which the agent of a node is asked.
    fn pod_of(&self, node: &cluster::Node) -> Result<()> {
        let program = agent_binary()?;
        let mut volumes = Vec::new();
        let mut mounts = Vec::new();
        // The test's program is linked to libraries, which the image has not all.
        for (name, host, inside) in [
            ("program", program.as_path(), Path::new("/netpol")),
            ("socket", Path::new("/run/netpol"), &self.run),
            ("loader", Path::new("/lib64"), Path::new("/lib64")),
            ("libraries", Path::new("/lib/x86_64-linux-gnu"), Path::new("/lib/x86_64-linux-gnu")),
        ] {
            volumes.push(json!({"name": name, "hostPath": {"path": host}}));
            mounts.push(json!({"name": name, "mountPath": inside, "readOnly": name != "socket"}));
        }
        let pod = self.scene.cluster.pod(&self.agents, &format!("agent-{}", node.name())).on(node);
        let pod = pod.label("app.kubernetes.io/name", "netpol").container("name", json!("agent"));
        let pod = pod.container("volumeMounts", json!(mounts)).spec("volumes", json!(volumes));
        pod.spec("hostNetwork", json!(true)).start().map(drop)
    }

    /// A kubeconfig of one who has what `deploy/rbac-operator.yaml` gives.
    fn credentials(&self) -> Result<()> {
        let (cluster, namespace) = (&self.scene.cluster, self.agents.name());
        cluster.kubectl(&["create", "serviceaccount", "-n", namespace, "operator"])?;
        let subject = format!("  - kind: ServiceAccount\n    name: operator\n    namespace: {namespace}");
        let group = "  - apiGroup: rbac.authorization.k8s.io\n    kind: Group\n    name: netpol-operators";
        ensure!(RIGHTS.contains(group), "the bindings of deploy/rbac-operator.yaml have other subjects");
        let rights = RIGHTS
            .replace(group, &subject)
            .replace("namespace: kube-system", &format!("namespace: {namespace}"));
        cluster.apply(&rights)?;
        let token = cluster.kubectl(&["create", "token", "-n", namespace, "operator"])?;
        let config = cluster.kubectl(&["config", "view", "--raw", "-o", "json"])?;
        let mut config: Value = serde_json::from_str(&config).context("kubectl wrote no JSON")?;
        config["users"][0]["user"] = json!({"token": token.trim()});
        config["contexts"][0]["context"]["namespace"] = json!(self.scene.namespace);
        fs::write(self.kubeconfig(), config.to_string())?;
        Ok(())
    }

    fn kubeconfig(&self) -> PathBuf {
        self.folder.join("config")
    }

    /// The agent's socket in the pods. No other test's has this name.
    fn socket(&self) -> String {
        self.run.join("netpol.sock").to_string_lossy().into_owned()
    }

    fn command(&self, arguments: &[&str]) -> Result<std::process::Command> {
        let mut command = self.scene.cluster.kubectl_command(&["netpol"])?;
        command.args(arguments).args(["--agents-namespace", self.agents.name()]);
        command.args(["--agents-socket", &self.socket()]);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.folder.display()));
        command.env("KUBECONFIG", self.kubeconfig()).stdin(Stdio::null());
        Ok(command)
    }

    fn netpol(&self, arguments: &[&str]) -> Result<Output> {
        self.command(arguments)?.output().context("cannot start kubectl")
    }

    fn says(&self, arguments: &[&str]) -> Result<String> {
        let output = self.netpol(arguments)?;
        ensure!(output.status.success(), "{arguments:?}: {output:?}");
        Ok(String::from_utf8(output.stdout)?)
    }

    /// What is followed, as lines; it ends when the child is dropped.
    fn follow(&self, arguments: &[&str]) -> Result<(Killed, mpsc::Receiver<String>)> {
        let mut child =
            self.command(arguments)?.stdout(Stdio::piped()).spawn().context("cannot start kubectl")?;
        let lines = BufReader::new(child.stdout.take().context("kubectl has no output")?).lines();
        let (line, hears) = mpsc::channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|text| line.send(text)));
        Ok((Killed(child), hears))
    }
}

impl Drop for Operator<'_> {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
        for kind in ["clusterrole", "clusterrolebinding"] {
            drop(self.scene.cluster.kubectl(&["delete", "--ignore-not-found", kind, "netpol-operator"]));
        }
    }
}

#[test]
#[ignore = "needs a cluster"]
fn kubectl_asks_the_agents_of_all_nodes_and_merges_what_they_say() -> Result<()> {
    let _guard = cluster::exclusive();
    let scene = Scene::build("plugin", &[pod("one", 0), pod("two", 1), pod("asks", 0)])?;
    let names: Vec<&str> = scene.cluster.nodes().iter().map(cluster::Node::name).collect();
    if names.len() < 2 {
        not_run("kubectl netpol, which wants two nodes");
        return Ok(());
    }
    let operator = Operator::new(&scene)?;
    for closed in ["one", "two"] {
        scene
            .policy(closed, &ingress_of(closed, &json!([{"from": app("asks"), "ports": ports(ALLOWED)}])))?;
    }
    // The control: what is allowed arrives at both.
    let (mut first, mut second) = (scene.pod("one")?.sockets(OTHER), scene.pod("two")?.sockets(OTHER));
    first.truncate(1);
    second.truncate(1);
    for to in ["one", "two"] {
        scene.reaches("asks", to, &both(&scene.pod(to)?.sockets(ALLOWED)))?;
    }

    let filters = ["-n", &scene.namespace, "--verdict", "dropped", "-o", "json"];
    let (following, hears) = operator.follow(&[&["observe", "--follow"][..], &filters].concat())?;
    let mut seen: Vec<String> = Vec::new();
    // It may have begun to follow after the first of them.
    while !names.iter().all(|node| seen.iter().any(|one| one == node)) {
        scene.is_dropped("asks", &tcp(&[first.clone(), second.clone()].concat()))?;
        while let Ok(line) = hears.recv_timeout(Duration::from_secs(3)) {
            let line: Value = serde_json::from_str(&line)?;
            ensure!(line["type"] == "verdict" && line["reason"] == "policy-denied", "{line}");
            seen.extend(line["node"].as_str().map(str::to_owned));
        }
        ensure!(seen.len() < 1000, "only of {seen:?}");
    }
    drop(following);

    let past = operator.says(&[&["observe"][..], &filters].concat())?;
    let past: Vec<Value> = past.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let times: Vec<&str> = past.iter().filter_map(|line| line["time"].as_str()).collect();
    ensure!(
        times.is_sorted() && names.iter().all(|node| past.iter().any(|line| line["node"] == *node)),
        "{past:?}"
    );

    let status = operator.says(&["status"])?;
    ensure!(names.iter().all(|node| status.contains(node)) && !status.contains("NO A"), "{status}");
    // The kubeconfig's context names the namespace.
    let policies = operator.says(&["policy", "list"])?;
    let on = |name: &str, node: &str| {
        let line = policies.lines().find(|line| line.starts_with(&format!("{}/{name} ", scene.namespace)));
        line.is_some_and(|line| line.contains(&format!("{node}: 1")) && line.ends_with("yes"))
    };
    ensure!(on("one", names[0]) && on("two", names[1]), "{policies}");

    let explained = operator.says(&["explain", "asks", "two", &format!("{ALLOWED}/TCP")])?;
    ensure!(explained.contains("(live: the same)") && !explained.contains("not judged here"), "{explained}");
    let denied = operator.netpol(&["explain", "asks", "two", &format!("{OTHER}/TCP")])?;
    ensure!(denied.status.code() == Some(1), "{denied:?}");

    // One node less: it is named, and the other's answer is there.
    scene.cluster.kubectl(&[
        "delete",
        "pod",
        "--wait",
        "-n",
        operator.agents.name(),
        &format!("agent-{}", names[1]),
    ])?;
    let asked = ["status", "-o", "json", "--node", names[0], "--node", names[1]];
    let partial = operator.netpol(&asked)?;
    let said = String::from_utf8_lossy(&partial.stderr);
    ensure!(partial.status.code() == Some(3) && said.contains(&format!("node {}", names[1])), "{partial:?}");
    let list: Value = serde_json::from_slice(&partial.stdout)?;
    ensure!(list[0]["answer"]["ready"] == true && list[1]["error"].is_string(), "{list}");

    // Without the right to exec nobody answers, and it says which right that is.
    scene.cluster.kubectl(&["delete", "rolebinding", "-n", operator.agents.name(), "netpol-operator"])?;
    let forbidden = operator.netpol(&["status"])?;
    ensure!(forbidden.status.code() == Some(2), "{forbidden:?}");
    if !String::from_utf8_lossy(&forbidden.stderr).contains("rbac-operator.yaml") {
        bail!("{forbidden:?}");
    }
    relays_end(&operator)
}

/// Nothing of what was started at the agents is left on the nodes.
fn relays_end(operator: &Operator<'_>) -> Result<()> {
    let socket = operator.socket();
    wait_for("every relay ends", PATIENCE, || {
        let processes = fs::read_dir("/proc").ok()?.flatten();
        let left =
            processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok()).any(|line| {
                line.starts_with(b"/netpol\0relay") && String::from_utf8_lossy(&line).contains(&socket)
            });
        (!left).then_some(())
    })
}
