//! The cluster that these tests run on: what one expects of Kubernetes works there without netpol.

use std::net::{IpAddr, SocketAddr};
use std::process::Output;
use std::time::Duration;

use anyhow::{Result, ensure};
use netpol_tests::cluster::{self, Agents, Cluster, Pod};
use netpol_tests::counted;
use netpol_tests::deadline::wait_for;

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).trim().to_owned()
}

/// What a pod hears of an address of a server.
fn hears(pod: &Pod, address: IpAddr, port: u16) -> Result<String> {
    let url = format!("http://{}/hostname", SocketAddr::new(address, port));
    pod.exec(&["wget", "-qO-", "--timeout=5", "--tries=3", &url]).map(|output| said(&output))
}

#[test]
#[ignore = "needs a cluster"]
fn in_each_combination_pods_reach_each_other_on_every_node_and_by_services() -> Result<()> {
    let _guard = cluster::shared();
    let cluster = Cluster::running()?;
    let namespace = cluster.namespace("plain")?;
    let serve = ["netexec", "--http-port=8080", "--udp-port=-1"];
    let pods: Vec<Pod> = cluster
        .nodes()
        .iter()
        .map(|node| {
            cluster.pod(&namespace, node.name()).on(node).label("app", node.name()).args(&serve).start()
        })
        .collect::<Result<_>>()?;
    let mut probes = 0;
    for server in &pods {
        let service = ["expose", "pod", server.name(), "--port=80", "--target-port=8080"];
        cluster.kubectl(&[&service[..], &["--namespace", &namespace]].concat())?;
        for client in &pods {
            for address in server.addresses() {
                ensure!(
                    hears(client, *address, 8080)? == server.name(),
                    "{client:?} does not hear {address}"
                );
                probes += 1;
            }
            let url = format!("http://{}.{}.svc.cluster.local/hostname", server.name(), namespace.name());
            // kube-proxy hears of a new Service in its own time.
            wait_for(&format!("{} hears {url}", client.name()), Duration::from_secs(30), || {
                let answer = client.exec(&["wget", "-qO-", "--timeout=5", &url]).ok()?;
                (said(&answer) == server.name()).then_some(())
            })?;
            let name = format!("{}.{}.svc.cluster.local", server.name(), namespace.name());
            let answer = client.exec(&["nslookup", &name])?;
            ensure!(answer.status.success(), "{client:?} cannot look up {name}: {answer:?}");
            probes += 2;
        }
        ensure!(server.logs()?.contains("Started HTTP server"), "the logs are {:?}", server.logs());
    }
    counted(&[(probes, "probes between real pods without policies")]);
    Ok(())
}

#[test]
#[ignore = "needs a cluster"]
fn the_world_beyond_reaches_pods_and_their_own_network_is_the_pods() -> Result<()> {
    let _guard = cluster::shared();
    let cluster = Cluster::running()?;
    let namespace = cluster.namespace("world")?;
    let serve = ["netexec", "--http-port=8080", "--udp-port=-1"];
    let pod = cluster.pod(&namespace, "server").on(&cluster.nodes()[0]).args(&serve).start()?;
    let server = SocketAddr::new(pod.addresses()[0], 8080);
    cluster.network().run(|| std::net::TcpStream::connect(server))??;
    let stream = pod.network()?.run(|| std::net::TcpStream::connect(server))??;
    ensure!(stream.local_addr()?.ip() == server.ip(), "{:?}", stream.local_addr());
    Ok(())
}

#[test]
#[ignore = "needs a cluster"]
fn agents_are_ready_on_every_node_and_know_what_was_written() -> Result<()> {
    let _guard = cluster::shared();
    let cluster = Cluster::running()?;
    let agents = Agents::start(&cluster, &[])?;
    let namespace = cluster.namespace("agents")?;
    let pod = cluster.pod(&namespace, "one").on(&cluster.nodes()[0]).start()?;
    agents.settled()?;
    let status = agents.status(&cluster.nodes()[0])?;
    let known = status["endpoints"].as_array().into_iter().flatten().any(|line| line["pod"] == *pod.key());
    ensure!(known, "{status}");
    for node in cluster.nodes() {
        let output = node.output("cat", &["/proc/sys/kernel/hostname"])?;
        ensure!(said(&output) == node.name(), "{output:?}");
    }
    Ok(())
}
