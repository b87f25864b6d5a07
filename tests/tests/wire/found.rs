//! Which interface is which pod, when libcni's cache does not say so, says something else, or names several; and what
//! nobody can enforce.

mod cgroup;

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use netpol_tests::deadline::wait_for;
use netpol_tests::laboratory::{Program, network};
use netpol_tests::probe::{Kind, Probe, expect_dropped, expect_reached};
use netpol_tests::{Laboratory, Link, Pod, PodSpec, Setup, eventually, serve};
use serde_json::{Value, json};

use self::cgroup::Cgroup;
use crate::setup::{ALLOWED, OTHER, Three, from_client, ingress_of_server};

/// How long a pod may take to be found by what runs in it.
const FOUND: Duration = Duration::from_secs(10);

/// A laboratory whose pods' namespaces are known for what they are by their names.
fn with_sandboxes(link: Link) -> Setup {
    let agent_flags = ["--sandbox-namespace", "npl-*-*-[0-9]*-*"].map(str::to_owned).to_vec();
    Setup { link, agent_flags, ..Setup::default() }
}

/// The agent's line of a pod's interface.
fn line(lab: &Laboratory, interface: &str) -> Result<Value> {
    let status = lab.agent()?.status()?;
    let lines = status["endpoints"].as_array().cloned().unwrap_or_default();
    Ok(lines.into_iter().find(|line| line["interface"] == interface).unwrap_or_default())
}

/// Waits until the agent says of an interface whose it is, and what told it.
fn is_found(lab: &Laboratory, pod: &Pod, by: &str) -> Result<()> {
    let expected = (json!(pod.key()), json!(by));
    eventually("the pod is found", FOUND, &expected, || {
        let line = line(lab, &pod.host_interface).unwrap_or_default();
        (line["pod"].clone(), line["foundBy"].clone())
    })?;
    Ok(())
}

/// A process in a pod, in the cgroup that a kubelet would have made.
fn process_of(lab: &Laboratory, pod: &Pod, uid: &str) -> Result<(Program, Cgroup)> {
    let mut command = Command::new("sleep");
    command.arg("1000");
    pod.enter(&mut command);
    let program = lab.start(command)?;
    let cgroup = Cgroup::make(lab.id(), &format!("kubepods/besteffort/pod{uid}/{}", pod.container))?;
    cgroup.adopt(program.id())?;
    Ok((program, cgroup))
}

/// A neighbour that was asked for in vain is asked for anew only after some seconds.
fn reached_at_last(probes: &[Probe]) -> Result<()> {
    wait_for("they are reached", FOUND, || expect_reached(probes).ok())
}

fn known_by_cgroup(link: Link) -> Result<()> {
    let mut three = Three::with(with_sandboxes(link))?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    let mut unnamed = |name: &str, app: &str| -> Result<Pod> {
        let pod = three.lab.prepare_pod(PodSpec::new("shop", name).label("app", app))?;
        three.lab.announce_pod(&pod)?;
        three.lab.connect_unnamed_pod(&pod)?;
        Ok(pod)
    };
    let (friend, foe, replica) =
        (unnamed("friend", "client")?, unnamed("foe", "foe")?, unnamed("replica", "server")?);
    three.lab.settle()?;
    let _echo = serve::tcp(&replica, ALLOWED)?;
    // Nothing says whose they are: closed, whatever the policies would allow.
    let from_friend = three.all_protocols(&friend, ALLOWED);
    expect_dropped(&from_friend)?;
    let to_replica = Probe::all(&three.client, Kind::Tcp, &replica.sockets(ALLOWED));
    expect_dropped(&to_replica)?;

    let _running = [
        process_of(&three.lab, &friend, &friend.uid)?,
        process_of(&three.lab, &foe, &foe.uid)?,
        process_of(&three.lab, &replica, &replica.uid)?,
    ];
    for pod in [&friend, &foe, &replica] {
        is_found(&three.lab, pod, "cgroup")?;
    }
    reached_at_last(&from_friend)?;
    reached_at_last(&to_replica)?;
    let mut denied = three.all_protocols(&foe, ALLOWED);
    denied.extend(Probe::all(&three.stranger, Kind::Tcp, &replica.sockets(ALLOWED)));
    expect_dropped(&denied)?;
    three.no_policy("server")?;
    expect_reached(&denied)?;

    // The agent comes back and finds all of it again.
    three.policy("server", &ingress_of_server(&from_client()))?;
    three.lab.kill_agent();
    three.lab.start_agent()?;
    is_found(&three.lab, &friend, "cgroup")?;
    expect_reached(&from_friend)?;
    expect_dropped(&denied)
}

#[test]
#[ignore = "needs root and BPF"]
fn without_libcnis_word_a_pod_is_known_by_its_cgroup_over_a_bridge() -> Result<()> {
    known_by_cgroup(Link::Bridge)
}

#[test]
#[ignore = "needs root and BPF"]
fn without_libcnis_word_a_pod_is_known_by_its_cgroup_by_routes() -> Result<()> {
    known_by_cgroup(Link::Proxied)
}

#[test]
#[ignore = "needs root and BPF"]
fn an_address_that_a_pod_gave_itself_is_not_its_own() -> Result<()> {
    let mut three = Three::with(with_sandboxes(Link::Proxied))?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    let pod = three.lab.prepare_pod(PodSpec::new("shop", "greedy").label("app", "client"))?;
    three.lab.announce_pod(&pod)?;
    three.lab.connect_unnamed_pod(&pod)?;
    pod.batch("address add 10.244.0.250/32 dev eth0\n")?;
    let _running = process_of(&three.lab, &pod, &pod.uid)?;
    is_found(&three.lab, &pod, "cgroup")?;
    let addresses = line(&three.lab, &pod.host_interface)?["addresses"].clone();
    assert_eq!(addresses, json!(pod.addresses()), "only what the API confirms");
    expect_reached(&three.all_protocols(&pod, ALLOWED))
}

#[test]
#[ignore = "needs root and BPF"]
fn a_file_that_names_another_pods_interface_is_not_believed() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    let denied = three.all_protocols(&three.stranger, ALLOWED);
    expect_dropped(&denied)?;
    // A file of the client's that outlived its sandbox, whose interface's name the stranger has got; newer than its own.
    let mut lie = three.lab.cni_result(&three.client);
    for interface in lie["result"]["interfaces"].as_array_mut().context("no interfaces")? {
        if interface["name"] == three.client.host_interface.as_str() {
            interface["name"] = three.stranger.host_interface.clone().into();
        }
    }
    three.lab.write_cache("laboratory-lie-eth0", &lie)?;
    eventually("the lie is said", FOUND, &true, || {
        let faults =
            three.lab.agent().and_then(|agent| agent.status()).unwrap_or_default()["faults"].to_string();
        faults.contains("is not believed") && faults.contains(&three.stranger.host_interface)
    })?;
    expect_dropped(&denied)?;
    // Also by an agent that has never seen it otherwise.
    three.lab.kill_agent();
    three.lab.start_agent()?;
    assert_eq!(line(&three.lab, &three.stranger.host_interface)?["pod"], "shop/stranger");
    expect_dropped(&denied)?;
    expect_reached(&three.all_protocols(&three.client, ALLOWED))?;
    three.no_policy("server")?;
    expect_reached(&denied)
}

/// Gives a pod a second interface with an address of its own, by which it answers what comes there.
fn second_interface(lab: &Laboratory, pod: &Pod) -> Result<()> {
    lab.node.batch(&format!(
        "link add second0 type veth peer name net1 netns {}\nlink set second0 up\naddress add 10.245.0.1/24 dev second0\n",
        pod.name()
    ))?;
    pod.batch(
        "address add 10.245.0.2/24 dev net1\nlink set net1 up\n\
         rule add from 10.245.0.2 table 100\nroute add default via 10.245.0.1 table 100\n",
    )
}

/// As libcni would keep it when something like Multus has asked for it.
fn second_file(lab: &Laboratory, pod: &Pod) -> Value {
    let mut file = lab.cni_result(pod);
    file["ifName"] = "net1".into();
    file["networkName"] = "second".into();
    file["result"]["interfaces"] =
        json!([{"name": "second0", "mac": ""}, {"name": "net1", "mac": "", "sandbox": pod.path()}]);
    file["result"]["ips"] = json!([{"address": "10.245.0.2/24", "interface": 1}]);
    file
}

#[test]
#[ignore = "needs root and BPF"]
fn every_interface_of_a_pod_is_enforced_with_its_own_addresses() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    second_interface(&three.lab, &three.server)?;
    let to = |port: u16| ([10, 245, 0, 2], port).into();
    let denied = Probe::all(&three.stranger, Kind::Tcp, &[to(ALLOWED)]);
    let allowed = Probe::all(&three.client, Kind::Tcp, &[to(ALLOWED)]);
    // libcni names the sandbox's pod, but not this interface: it stays closed, also without a policy.
    eventually("it is closed", FOUND, &json!("closed"), || {
        line(&three.lab, "second0").unwrap_or_default()["ingress"].clone()
    })?;
    expect_dropped(&denied)?;
    three.lab.write_cache("second-net1", &second_file(&three.lab, &three.server))?;
    eventually("it is the server's", FOUND, &json!("shop/server"), || {
        line(&three.lab, "second0").unwrap_or_default()["pod"].clone()
    })?;
    expect_reached(&denied)?;
    three.lab.policy("shop", "server", &ingress_of_server(&from_client()))?;
    for interface in ["second0", three.server.host_interface.as_str()] {
        eventually("it is isolated", FOUND, &json!("isolated"), || {
            line(&three.lab, interface).unwrap_or_default()["ingress"].clone()
        })?;
    }
    expect_reached(&allowed)?;
    expect_dropped(&denied)?;
    expect_dropped(&Probe::all(&three.client, Kind::Tcp, &[to(OTHER)]))?;
    assert_eq!(line(&three.lab, "second0")?["addresses"], json!(["10.245.0.2"]));
    assert_eq!(line(&three.lab, &three.server.host_interface)?["addresses"], json!(three.server.addresses()));
    three.lab.delete_policy("shop", "server")?;
    eventually("it is open", FOUND, &json!("open"), || {
        line(&three.lab, "second0").unwrap_or_default()["ingress"].clone()
    })?;
    expect_reached(&denied)
}

/// The pods that the agent says it cannot enforce, and why.
fn unenforced(lab: &Laboratory) -> Result<Vec<(String, String)>> {
    let status = lab.agent()?.status()?;
    let lines = status["unenforced"].as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    Ok(lines.iter().map(|line| (text(&line["pod"]), text(&line["cause"]))).collect())
}

#[test]
#[ignore = "needs root and BPF"]
fn a_pod_that_cannot_be_enforced_is_said_by_name() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    let elsewhere = three.lab.prepare_pod(PodSpec::new("shop", "elsewhere"))?;
    three.lab.announce_pod(&elsewhere)?;
    // Its interface ends in another namespace, as one of macvlan's or SR-IOV's does.
    let lines = format!("link add away0 type veth peer name eth0 netns {}\n", elsewhere.name());
    three.lab.outside.batch(&lines)?;
    let mut file = three.lab.cni_result(&elsewhere);
    file["result"]["interfaces"] = json!([{"name": "eth0", "mac": "", "sandbox": elsewhere.path()}]);
    three.lab.write_cache("laboratory-elsewhere-eth0", &file)?;
    let nowhere = three.lab.prepare_pod(PodSpec::new("shop", "nowhere"))?;
    three.lab.announce_pod(&nowhere)?;
    let expected = [("shop/elsewhere", "no-veth"), ("shop/nowhere", "no-interface")]
        .map(|(a, b)| (a.to_owned(), b.to_owned()));
    eventually("both are said", FOUND, &expected.to_vec(), || {
        let mut said = unenforced(&three.lab).unwrap_or_default();
        said.sort();
        said
    })?;
    assert_eq!(three.lab.agent()?.status()?["ready"], true);
    three.lab.delete("Pod", "shop", "nowhere")?;
    eventually("one is left", FOUND, &1, || unenforced(&three.lab).unwrap_or_default().len())?;
    Ok(())
}

#[test]
#[ignore = "needs root and BPF"]
fn lost_events_are_made_good_by_looking_through_everything() -> Result<()> {
    let mut three = Three::start(Link::Bridge)?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    three.lab.freeze_agent()?;
    // More than the kernel keeps for a reader that stands still.
    let turn = |mtu: u32| format!("link set {} mtu {mtu}\n", network::BRIDGE);
    three.lab.node.batch(&(0..20_000).map(|i| turn(1400 + i % 2)).collect::<String>())?;
    let replica = three.lab.add_pod(PodSpec::new("shop", "replica").label("app", "server"))?;
    three.lab.thaw_agent()?;
    let _echo = serve::tcp(&replica, ALLOWED)?;
    // Sooner than by the look that it takes from time to time anyway.
    eventually("the pod is isolated", Duration::from_secs(5), &json!("isolated"), || {
        line(&three.lab, &replica.host_interface).unwrap_or_default()["ingress"].clone()
    })?;
    let log = three.lab.agent()?.log();
    assert!(log.contains("no room for some events"), "the kernel has lost some: {log}");
    expect_reached(&Probe::all(&three.client, Kind::Tcp, &replica.sockets(ALLOWED)))?;
    expect_dropped(&Probe::all(&three.stranger, Kind::Tcp, &replica.sockets(ALLOWED)))
}

#[test]
#[ignore = "needs root and BPF"]
fn pods_behind_a_node_that_answers_for_everything() -> Result<()> {
    let mut three = Three::start(Link::Proxied)?;
    let denied = three.all_protocols(&three.stranger, ALLOWED);
    expect_reached(&denied)?;
    three.policy("server", &ingress_of_server(&from_client()))?;
    assert_eq!(line(&three.lab, &three.server.host_interface)?["foundBy"], "cni-cache");
    expect_reached(&three.all_protocols(&three.client, ALLOWED))?;
    expect_dropped(&denied)?;
    expect_dropped(&three.all_protocols(&three.client, OTHER))?;
    // The node reaches its pods, and they the world.
    expect_reached(&three.all_protocols(&three.lab.node, OTHER))?;
    three.no_policy("server")?;
    expect_reached(&denied)
}
