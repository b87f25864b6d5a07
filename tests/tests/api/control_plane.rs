//! The control plane that these tests run on: it keeps objects through its faults, and leaves nothing.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use netpol_tests::cluster::ControlPlane;
use netpol_tests::eventually;

const SOON: Duration = Duration::from_secs(30);

#[test]
#[ignore = "needs root and Kubernetes' programs"]
fn objects_survive_a_restart_of_every_part() {
    let plane = ControlPlane::start().unwrap();
    plane
        .apply("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: kept\n  labels: {tier: prod}\n")
        .unwrap();
    let labels = || {
        let read = plane.kubectl(&["get", "namespace", "kept", "-o", "jsonpath={.metadata.labels.tier}"]);
        read.unwrap_or_default()
    };
    assert_eq!(labels(), "prod");
    plane.etcd.restart().unwrap();
    plane.api_server.restart().unwrap();
    plane.wait_until_ready().unwrap();
    eventually("the label is there", SOON, &"prod".to_owned(), labels).unwrap();
}

#[test]
#[ignore = "needs root and Kubernetes' programs"]
fn a_stopped_api_server_answers_nothing_until_it_goes_on() {
    let plane = ControlPlane::start().unwrap();
    let asked = ["get", "--raw", "/readyz", "--request-timeout=1s"];
    assert!(plane.kubectl(&asked).is_ok());
    plane.api_server.stop().unwrap();
    assert!(plane.kubectl(&asked).is_err());
    plane.api_server.resume().unwrap();
    eventually("it answers again", SOON, &true, || plane.kubectl(&asked).is_ok()).unwrap();
}

#[test]
#[ignore = "needs root and Kubernetes' programs"]
fn a_watch_from_before_a_compaction_is_gone() {
    let plane = ControlPlane::with(&["--watch-cache=false"]).unwrap();
    let path = "/api/v1/namespaces?watch=true&timeoutSeconds=1&resourceVersion=";
    plane.kubectl(&["create", "namespace", "later"]).unwrap();
    let before = plane
        .kubectl(&["get", "namespace", "default", "-o", "jsonpath={.metadata.resourceVersion}"])
        .unwrap();
    let watch = || plane.kubectl(&["get", "--raw", &format!("{path}{before}")]).unwrap_or_default();
    assert!(watch().contains("later"));
    plane.compact().unwrap();
    assert!(watch().contains("\"code\":410"), "{}", watch());
}

#[test]
#[ignore = "needs root and Kubernetes' programs"]
fn the_agents_user_may_nothing_until_it_is_given_rights() {
    let plane = ControlPlane::start().unwrap();
    let config = plane.agent_kubeconfig().unwrap();
    let may = || plane.kubectl(&["--kubeconfig", &config.to_string_lossy(), "get", "namespaces"]).is_ok();
    assert!(!may());
    let account = "--serviceaccount=kube-system:netpol-agent";
    plane.kubectl(&["create", "clusterrole", "reader", "--verb=list", "--resource=namespaces"]).unwrap();
    plane.kubectl(&["create", "clusterrolebinding", "agent", "--clusterrole=reader", account]).unwrap();
    eventually("it may read", SOON, &true, may).unwrap();
}

#[test]
#[ignore = "needs root and Kubernetes' programs"]
fn nothing_is_left_of_it() {
    let plane = ControlPlane::start().unwrap();
    let parts = [plane.etcd.pid().unwrap(), plane.api_server.pid().unwrap()];
    let (folder, network) = (plane.folder().unwrap(), plane.network().path().to_owned());
    assert!(folder.exists() && network.exists());
    assert!(parts.iter().all(|pid| Path::new(&format!("/proc/{pid}")).exists()));
    drop(plane);
    assert!(!folder.exists() && !network.exists());
    assert!(!parts.iter().any(|pid| Path::new(&format!("/proc/{pid}")).exists()));
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    assert!(!mounts.contains(&*network.to_string_lossy()));
    let links = Command::new("ip").args(["netns", "list"]).output().unwrap();
    let name = network.file_name().unwrap().to_string_lossy().into_owned();
    assert!(!String::from_utf8_lossy(&links.stdout).contains(&name));
}
