//! What a node's container runtime and its CNI know of a pod, and what happens to that by force.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::SystemTime;

use anyhow::{Context as _, Result, bail};
use netpol_tests::cluster::Node;
use nix::sys::signal::Signal;
use nix::unistd::Pid;
use serde_json::Value;

use crate::scene::Scene;

/// libcni's cache.
const CACHE: &str = "/var/lib/cni/results";
/// Where the CNI's plugin notes which addresses it has given.
const GIVEN: &str = "/var/lib/cni/networks/cluster";

/// A file of libcni's cache about a pod's first interface: its name and what it says.
pub(super) fn cached(scene: &Scene, name: &str) -> Result<(String, Value)> {
    let folder = scene.pod(name)?.node.path(CACHE);
    let mut newest: Option<(SystemTime, String, Value)> = None;
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {}", folder.display()))?.flatten()
    {
        let Ok(text) = fs::read_to_string(entry.path()) else { continue };
        let Ok(value) = serde_json::from_str::<Value>(&text) else { continue };
        let says = |key: &str, wanted: &str| {
            let mut pairs = value["cniArgs"].as_array().into_iter().flatten();
            pairs.any(|pair| pair[0] == *key && pair[1] == *wanted)
        };
        let is_it = value["ifName"] == "eth0"
            && says("K8S_POD_NAMESPACE", &scene.namespace)
            && says("K8S_POD_NAME", name);
        let written = entry.metadata()?.modified()?;
        if is_it && newest.as_ref().is_none_or(|(then, ..)| *then < written) {
            newest = Some((written, entry.file_name().to_string_lossy().into_owned(), value));
        }
    }
    let (_, file, value) = newest.with_context(|| format!("libcni's cache does not know {name}"))?;
    Ok((file, value))
}

/// The number of a pod's sandbox.
pub(super) fn sandbox(scene: &Scene, name: &str) -> Result<String> {
    let (_, cached) = cached(scene, name)?;
    Ok(cached["containerId"].as_str().context("libcni's cache names no sandbox")?.to_owned())
}

/// The number of a pod's only container.
pub(super) fn container(scene: &Scene, name: &str) -> Result<String> {
    let path = "jsonpath={.status.containerStatuses[0].containerID}";
    let id = scene.kubectl(&["get", "pod", name, "-o", path])?;
    let (_, id) = id.trim().split_once("://").with_context(|| format!("{name} has the container {id:?}"))?;
    Ok(id.to_owned())
}

/// How often a pod's only container was started again.
pub(super) fn restarts(scene: &Scene, name: &str) -> Result<u32> {
    let path = "jsonpath={.status.containerStatuses[0].restartCount}";
    let count = scene.kubectl(&["get", "pod", name, "-o", path])?;
    count.trim().parse().with_context(|| format!("{name} was restarted {count:?} times"))
}

/// Kills the first process of a container or of a sandbox.
pub(super) fn kill(node: &Node, container: &str) -> Result<()> {
    send(node, container, "SIGKILL")
}

/// Sends a signal to the first process of a container or of a sandbox.
pub(super) fn send(node: &Node, container: &str, signal: &str) -> Result<()> {
    let words = ["--namespace", "k8s.io", "task", "kill", "--signal", signal, container];
    node.command("ctr", &words).map(drop)
}

/// Kills the process by which containerd keeps a pod's containers.
pub(super) fn kill_shim(sandbox: &str) -> Result<()> {
    for entry in fs::read_dir("/proc").context("cannot read /proc")?.flatten() {
        let Ok(line) = fs::read(entry.path().join("cmdline")) else { continue };
        let words: Vec<_> = line.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
        let is_shim = words.first().is_some_and(|word| word.contains("containerd-shim"));
        // Nobody else's has this number.
        if is_shim && words.windows(2).any(|pair| pair[0] == "-id" && pair[1] == sandbox) {
            let pid = entry.file_name().to_string_lossy().parse().context("a process without a number")?;
            return nix::sys::signal::kill(Pid::from_raw(pid), Signal::SIGKILL).context("cannot kill a shim");
        }
    }
    bail!("no shim keeps the sandbox {sandbox}")
}

/// Lets the next pod that starts on a node get these addresses, if they are free.
pub(super) fn give_next(node: &Node, addresses: &[IpAddr]) -> Result<()> {
    for (number, address) in addresses.iter().enumerate() {
        // The plugin begins behind the one that it has given last.
        let before = match address {
            IpAddr::V4(address) => IpAddr::V4(Ipv4Addr::from_bits(address.to_bits() - 1)),
            IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() - 1)),
        };
        let file = node.path(&format!("{GIVEN}/last_reserved_ip.{number}"));
        fs::write(&file, before.to_string()).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

/// Writes a file into libcni's cache, as libcni does.
pub(super) fn cache(node: &Node, file: &str, value: &Value) -> Result<()> {
    let path = node.path(&format!("{CACHE}/{file}"));
    fs::write(&path, value.to_string()).with_context(|| format!("cannot write {}", path.display()))
}

/// Removes a file from libcni's cache.
pub(super) fn forget(node: &Node, file: &str) {
    // It may have gone with its sandbox.
    drop(fs::remove_file(node.path(&format!("{CACHE}/{file}"))));
}
