//! libcni's cache: one file for each network that a pod was connected to, written when the plugin returns, named
//! `NETWORK-CONTAINER-INTERFACE`. containerd and CRI-O write it alike.

use std::{
    collections::BTreeMap,
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
};

use ipnet::IpNet;
use netpol_policy::model::Key;
use serde::Deserialize;
use serde_json::Value;

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
/// When it is of no use; a network that is not of a pod is [`CacheError::NoPod`].
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
    // Some versions hold the plugin's answer as text.
    let outcome: Outcome = match &file.result {
        Value::Null => Outcome::default(),
        Value::String(text) => serde_json::from_str(text).map_err(CacheError::Parse)?,
        value => Outcome::deserialize(value).map_err(CacheError::Parse)?,
    };
    let inside = |index: usize| outcome.interfaces.get(index).is_some_and(|i| !i.sandbox.is_empty());
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
        namespace: outcome.interfaces.iter().map(|i| &i.sandbox).find(|s| !s.is_empty()).map(PathBuf::from),
    })
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

/// The cache's folder, and what was read of it. A file that cannot be read keeps what it said before.
#[derive(Debug, Default)]
pub struct Cache {
    entries: BTreeMap<PathBuf, Entry>,
}

impl Cache {
    /// Reads the whole folder; without one there are no pods. Says what is wrong.
    pub fn read(&mut self, folder: &Path) -> Vec<String> {
        let mut problems = Vec::new();
        let mut entries = BTreeMap::new();
        let listing = match fs::read_dir(folder) {
            Ok(listing) => listing,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.entries.clear();
                return problems;
            }
            Err(error) => {
                problems.push(format!(
                    "cannot list {}: {error}; pods that are known stay hooked",
                    folder.display()
                ));
                return problems;
            }
        };
        for path in listing.filter_map(|entry| Some(entry.ok()?.path())) {
            if path.is_dir() {
                continue;
            }
            match fs::read(&path).map_err(CacheError::Read).and_then(|text| parse(&text)) {
                Ok(entry) => {
                    entries.insert(path, entry);
                }
                Err(CacheError::Read(error)) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => {
                    match self.entries.remove(&path) {
                        Some(old) => drop(entries.insert(path.clone(), old)),
                        // A network of something that is no pod is none of our business.
                        None if matches!(error, CacheError::NoPod) => continue,
                        None => {}
                    }
                    problems.push(format!("{}: {:#}", path.display(), anyhow::Error::new(error)));
                }
            }
        }
        self.entries = entries;
        problems
    }

    /// What the files say.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.values()
    }
}

#[cfg(test)]
mod tests;
