//! containerd, kubelet and kube-proxy of a node: their settings, and how they are called.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::binaries;
use super::credentials::{Credentials, User};
use super::images::PAUSE;
use super::options::{Cni, Options, Proxy};
use super::state::State;
use super::supervisor::Make;

/// Where Debian has the plugins of CNI.
const PLUGINS: &str = "/usr/lib/cni";

/// Writes the settings of a node's parts into its folder.
pub(super) fn write_settings(state: &State, options: &Options, node: &str) -> Result<()> {
    let folder = state.node(node);
    let number = options.node_names().iter().position(|name| name == node).map_or(0, |index| index + 1);
    let number = u8::try_from(number).context("there are not so many nodes")?;
    for part in ["cni", "manifests"] {
        fs::create_dir_all(folder.join(part))
            .with_context(|| format!("cannot make the node's folder {part}"))?;
    }
    write(&folder.join("containerd.toml"), &containerd(&folder))?;
    write(&folder.join("resolv.conf"), "")?;
    let addresses: Vec<String> = options.node_addresses(number).iter().map(ToString::to_string).collect();
    write(&folder.join("addresses"), &addresses.join(","))?;
    let kubelet = kubelet(&folder, options);
    write(&folder.join("kubelet.json"), &kubelet.to_string())?;
    let credentials = Credentials::at(&state.credentials());
    let proxy = proxy(&credentials, options, node);
    write(&folder.join("kube-proxy.json"), &proxy.to_string())?;
    let cni = cni(options, number);
    write(&folder.join("cni").join("10-cluster.conflist"), &cni.to_string())
}

fn write(file: &Path, text: &str) -> Result<()> {
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// How each part is called.
pub(super) fn all(state: &State, node: &str) -> BTreeMap<String, Make> {
    let (containerd, kubelet, proxy) = (state.node(node), state.node(node), state.node(node));
    let kubeconfig = Credentials::at(&state.credentials()).kubeconfig_file(&User::node(node));
    let node = node.to_owned();
    let mut parts: BTreeMap<String, Make> = BTreeMap::new();
    parts.insert(
        "containerd".to_owned(),
        Box::new(move || {
            let mut command = Command::new("containerd");
            command.arg("--config").arg(containerd.join("containerd.toml"));
            Ok(command)
        }),
    );
    parts.insert(
        "kubelet".to_owned(),
        Box::new(move || {
            let mut command = Command::new(binaries::find("kubelet")?);
            let addresses =
                fs::read_to_string(kubelet.join("addresses")).context("cannot read the node's addresses")?;
            command.arg("--config").arg(kubelet.join("kubelet.json"));
            command.arg("--kubeconfig").arg(&kubeconfig);
            command.args([format!("--node-ip={addresses}"), format!("--hostname-override={node}")]);
            Ok(command)
        }),
    );
    parts.insert(
        "kube-proxy".to_owned(),
        Box::new(move || {
            let mut command = Command::new(binaries::find("kube-proxy")?);
            command.arg("--config").arg(proxy.join("kube-proxy.json"));
            Ok(command)
        }),
    );
    parts
}

fn containerd(folder: &Path) -> String {
    let cni = folder.join("cni");
    format!(
        r#"version = 2
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs", "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{PLUGINS}"
    conf_dir = "{}"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"#,
        cni.display()
    )
}

fn kubelet(folder: &Path, options: &Options) -> Value {
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        // Only what is inside the cluster's own namespaces reaches it.
        "authentication": {"anonymous": {"enabled": true}, "webhook": {"enabled": false}},
        "authorization": {"mode": "AlwaysAllow"},
        "cgroupDriver": "cgroupfs",
        "failCgroupV1": false,
        "failSwapOn": false,
        "enforceNodeAllocatable": [],
        "localStorageCapacityIsolation": false,
        // The machine's disk is others' as well: how full it is decides nothing here.
        "evictionHard": {
            "memory.available": "1Mi",
            "nodefs.available": "0%",
            "nodefs.inodesFree": "0%",
            "imagefs.available": "0%",
            "imagefs.inodesFree": "0%",
        },
        "imageGCHighThresholdPercent": 100,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "staticPodPath": folder.join("manifests"),
        "fileCheckFrequency": "1s",
        "resolvConf": folder.join("resolv.conf"),
        "clusterDNS": options.dns_addresses(),
        "clusterDomain": "cluster.local",
        "maxPods": 250,
        "serializeImagePulls": false,
        "nodeStatusUpdateFrequency": "5s",
        "volumePluginDir": "/var/lib/kubelet/volume-plugins",
    })
}

fn proxy(credentials: &Credentials, options: &Options, node: &str) -> Value {
    json!({
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "clientConnection": {"kubeconfig": credentials.kubeconfig_file(&User::component("kube-proxy"))},
        "hostnameOverride": node,
        "mode": match options.proxy { Proxy::Nftables => "nftables", Proxy::Iptables => "iptables" },
        "clusterCIDR": options.pod_ranges().join(","),
        "bindAddress": if options.node_addresses(1)[0].is_ipv4() { "0.0.0.0" } else { "::" },
        // The size of the connection table is the whole machine's.
        "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
    })
}

fn cni(options: &Options, number: u8) -> Value {
    let ranges: Vec<Value> =
        options.node_pod_ranges(number).iter().map(|range| json!([{"subnet": range}])).collect();
    let routes: Vec<Value> = options
        .node_addresses(number)
        .iter()
        .map(|address| json!({"dst": if address.is_ipv4() { "0.0.0.0/0" } else { "::/0" }}))
        .collect();
    let ipam = json!({"type": "host-local", "ranges": ranges, "routes": routes});
    let plugin = match options.cni {
        Cni::Bridge => json!({
            "type": "bridge",
            "bridge": "cni0",
            "isGateway": true,
            "hairpinMode": true,
            "ipam": ipam,
        }),
        Cni::Ptp => json!({"type": "ptp", "ipam": ipam}),
    };
    json!({
        "cniVersion": "1.0.0",
        "name": "cluster",
        "plugins": [plugin, {"type": "portmap", "capabilities": {"portMappings": true}}],
    })
}
