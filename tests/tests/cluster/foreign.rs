//! A cluster that was not made here, known by its kubeconfig: here our own one, under another name.

use std::fs;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, ensure};
use netpol_tests::cluster::{self, Cluster};

fn netpol_cluster(cluster: &Cluster, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netpol-cluster"));
    command.args(arguments).stdin(Stdio::null());
    // Only there its API server's address answers.
    cluster.enter(&mut command);
    command.output().context("cannot start netpol-cluster")
}

/// Forgets it, whatever happens.
struct Forgotten(String);

impl Drop for Forgotten {
    fn drop(&mut self) {
        drop(cluster::up::down(&self.0));
    }
}

#[test]
#[ignore = "needs a cluster"]
fn a_cluster_that_was_not_made_here_is_asked_by_its_kubeconfig_and_what_it_cannot_do_is_said() -> Result<()> {
    let _guard = cluster::shared();
    let cluster = Cluster::running()?;
    let name = format!("foreign-{}", std::process::id());
    let _forgotten = Forgotten(name.clone());
    let ask = |arguments: &[&str]| netpol_cluster(&cluster, arguments);
    let says = |arguments: &[&str], text: &str| -> Result<()> {
        let output = ask(arguments)?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success() && said.contains(text), "{arguments:?}: {output:?}");
        Ok(())
    };
    let refuses = |arguments: &[&str], text: &str| -> Result<()> {
        let output = ask(arguments)?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1) && said.contains(text), "{arguments:?}: {output:?}");
        Ok(())
    };
    let kubeconfig = cluster.kubeconfig().to_string_lossy();
    refuses(&["up", "--name", &name, "--kubeconfig", "/nowhere"], "cannot find the kubeconfig /nowhere")?;
    refuses(&["up", "--name", cluster.name(), "--kubeconfig", &kubeconfig], "that was made here")?;
    refuses(&["kubectl", "--name", &name, "get", "nodes"], "no cluster")?;

    says(&["up", "--name", &name, "--kubeconfig", &kubeconfig], "Server Version: v1.")?;
    says(&["up", "--name", &name, "--kubeconfig", &kubeconfig], "Server Version: v1.")?;
    says(&["status", "--name", &name], "node-1")?;
    says(&["kubectl", "--name", &name, "get", "nodes", "-o", "name"], "node/node-1")?;
    refuses(&["load-image", "--name", &name, "/nowhere"], "kind load image-archive")?;
    refuses(&["netpol", "--name", &name, "status"], "was not made here")?;
    refuses(&["up", "--name", &name], "was not made here")?;
    says(&["down", "--name", &name], "nothing in it was touched")?;
    refuses(&["kubectl", "--name", &name, "get", "nodes"], "no cluster")?;
    cluster.kubectl(&["get", "nodes"])?;
    Ok(())
}

#[test]
#[ignore = "needs a cluster"]
fn what_kubectl_prints_of_a_whole_cluster_is_what_lint_and_explain_read() -> Result<()> {
    let _guard = cluster::shared();
    let cluster = Cluster::running()?;
    let kinds = "networkpolicies,namespaces,pods,services,endpointslices,nodes";
    let all = cluster.kubectl(&["get", kinds, "--all-namespaces", "-o", "yaml"])?;
    ensure!(all.contains("kind: EndpointSlice"), "{all}");
    let folder = std::env::temp_dir().join(format!("netpol-whole-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("all.yaml"), all)?;
    let netpol = netpol_tests::laboratory::agent_binary()?;
    let path = folder.to_string_lossy();
    let ran: Vec<Output> = [
        vec!["lint", &*path],
        vec!["explain", "--manifests", &*path, "kube-system/k8s-app=kube-dns", "8.8.8.8", "53/UDP"],
    ]
    .into_iter()
    .map(|arguments| Command::new(&netpol).args(arguments).stdin(Stdio::null()).output())
    .collect::<Result<_, _>>()?;
    fs::remove_dir_all(&folder)?;
    // Others' policies may well be worth a finding; 2 would be that it could not be read.
    ensure!(matches!(ran[0].status.code(), Some(0 | 1)), "{:?}", ran[0]);
    ensure!(String::from_utf8_lossy(&ran[0].stdout).contains(" file"), "{:?}", ran[0]);
    ensure!(ran[1].status.success(), "{:?}", ran[1]);
    Ok(())
}
