//! libcni's cache: one file for each network that a pod was connected to, written when the plugin returns, named
//! `NETWORK-CONTAINER-INTERFACE`. containerd and CRI-O write it alike.

mod folder;

use std::{io, net::IpAddr, path::PathBuf};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ipnet::IpNet;
use netpol_policy::model::Key;
use serde::Deserialize;
use serde_json::Value;

pub use self::folder::Cache;

/// The interface of every namespace that packets of no other place cross.
const LOOPBACK: &str = "lo";

/// What one file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The pod.
    pub pod: Key,
    /// Its UID; empty when the runtime did not say.
    pub uid: String,
    /// The sandbox's id.
    pub container: String,
    /// The network's name.
    pub network: String,
    /// The plugin that made the interface, such as `bridge`; empty when it is not said.
    pub plugin: String,
    /// The interface's name in the pod.
    pub inside: String,
    /// Interfaces of the host that the plugin named: the bridge, the host's end of the veth.
    pub host_interfaces: Vec<String>,
    /// The pod's addresses on this network.
    pub addresses: Vec<IpAddr>,
    /// The hardware address of the pod's end.
    pub hardware: Option<[u8; 6]>,
    /// The file of the pod's network namespace.
    pub namespace: Option<PathBuf>,
}

/// What keeps an entry from being used.
#[derive(Debug, thiserror::Error)]
pub enum CacheError {
    /// It cannot be read.
    #[error("cannot read it")]
    Read(#[source] io::Error),
    /// It is not what libcni writes.
    #[error("it is not what libcni writes")]
    Parse(#[source] serde_json::Error),
    /// It is of another kind.
    #[error("its kind is {0:?}, not \"cniCacheV1\"")]
    Kind(String),
    /// It does not say which pod it is of.
    #[error("it does not name a pod (K8S_POD_NAMESPACE and K8S_POD_NAME in cniArgs)")]
    NoPod,
    /// It is of a sandbox's loopback, which runtimes connect like a network: it leads nowhere.
    #[error("it is of the loopback of a sandbox")]
    Loopback,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(default)]
    kind: String,
    #[serde(default)]
    container_id: String,
    #[serde(default)]
    network_name: String,
    #[serde(default)]
    if_name: String,
    #[serde(default)]
    netns: String,
    /// The network's configuration in base64.
    #[serde(default)]
    config: String,
    #[serde(default)]
    cni_args: Vec<Vec<String>>,
    #[serde(default)]
    result: Value,
}

#[derive(Default, Deserialize)]
struct Outcome {
    #[serde(default)]
    interfaces: Vec<Interface>,
    #[serde(default)]
    ips: Vec<Ip>,
}

#[derive(Deserialize)]
struct Interface {
    #[serde(default)]
    name: String,
    #[serde(default)]
    mac: String,
    #[serde(default)]
    sandbox: String,
}

#[derive(Deserialize)]
struct Ip {
    address: String,
    interface: Option<usize>,
}

/// Reads the text of a file of the cache.
///
/// # Errors
/// When it is of no use; a network that is not of a pod is [`CacheError::NoPod`], one that leads nowhere
/// [`CacheError::Loopback`].
pub fn parse(text: &[u8]) -> Result<Entry, CacheError> {
    let file: File = serde_json::from_slice(text).map_err(CacheError::Parse)?;
    if file.kind != "cniCacheV1" {
        return Err(CacheError::Kind(file.kind));
    }
    let argument = |name: &str| {
        file.cni_args.iter().find(|pair| pair.first().is_some_and(|k| k == name)).and_then(|pair| pair.get(1))
    };
    let (Some(namespace), Some(name)) = (argument("K8S_POD_NAMESPACE"), argument("K8S_POD_NAME")) else {
        return Err(CacheError::NoPod);
    };
    if file.if_name == LOOPBACK {
        return Err(CacheError::Loopback);
    }
    // Some versions hold the plugin's answer as text.
    let outcome: Outcome = match &file.result {
        Value::Null => Outcome::default(),
        Value::String(text) => serde_json::from_str(text).map_err(CacheError::Parse)?,
        value => Outcome::deserialize(value).map_err(CacheError::Parse)?,
    };
    let inside = |index: usize| outcome.interfaces.get(index).is_some_and(|i| !i.sandbox.is_empty());
    let sandbox = outcome.interfaces.iter().map(|i| &i.sandbox).find(|sandbox| !sandbox.is_empty());
    let sandbox = sandbox.unwrap_or(&file.netns);
    Ok(Entry {
        pod: Key::new(namespace, name),
        uid: argument("K8S_POD_UID").cloned().unwrap_or_default(),
        container: file.container_id,
        network: file.network_name,
        host_interfaces: outcome
            .interfaces
            .iter()
            .filter(|i| i.sandbox.is_empty())
            .map(|i| i.name.clone())
            .collect(),
        addresses: outcome
            .ips
            .iter()
            .filter(|ip| ip.interface.is_none_or(inside))
            .filter_map(|ip| address_of(&ip.address))
            .collect(),
        hardware: outcome.interfaces.iter().find(|i| !i.sandbox.is_empty()).and_then(|i| hardware_of(&i.mac)),
        namespace: (!sandbox.is_empty()).then(|| PathBuf::from(sandbox)),
        plugin: plugin_of(&file.config),
        inside: file.if_name,
    })
}

/// The type of the plugin that makes the interface: the first of the list.
fn plugin_of(config: &str) -> String {
    let decoded = BASE64_STANDARD.decode(config).ok();
    let config: Value = decoded.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
    let plugin = config.pointer("/plugins/0/type").or_else(|| config.get("type")).and_then(Value::as_str);
    plugin.unwrap_or_default().to_owned()
}

fn address_of(text: &str) -> Option<IpAddr> {
    text.parse::<IpNet>().map(|net| net.addr()).or_else(|_| text.parse()).ok()
}

/// A hardware address in its usual form.
#[must_use]
pub fn hardware_of(text: &str) -> Option<[u8; 6]> {
    let mut bytes = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut bytes {
        *byte = u8::from_str_radix(parts.next()?, 16).ok()?;
    }
    parts.next().is_none().then_some(bytes)
}

#[cfg(test)]
mod tests;
