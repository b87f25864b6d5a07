//! A node with its pods, the world beside it, and what the agent reads: all made here, all removed on drop.

mod agent;
pub(crate) mod claim;
pub(crate) mod interrupt;
mod namespace;
pub mod network;
mod objects;
mod pod;
mod program;
mod proxy;
mod service;
mod together;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};

use crate::etcd::Etcd;
pub(crate) use agent::keep_capabilities;
pub use agent::{Agent, binary as agent_binary, other_binary as other_agent_binary};
use claim::Claim;
pub use namespace::Namespace;
pub use network::Link;
pub use pod::{Pod, PodSpec};
pub use program::Program;
pub(crate) use program::halt;
pub use proxy::Proxy;
pub use service::{ServicePort, ServiceSpec};
pub use together::Start;

/// What a laboratory is built from.
#[derive(Debug, Clone)]
pub struct Setup {
    /// How pods hang on the node.
    pub link: Link,
    /// How Services are translated.
    pub proxy: Proxy,
    /// Whether packets between ports of a bridge pass the node's tables.
    pub bridge_netfilter: bool,
    /// The node's name.
    pub node: String,
    /// Further flags of the agent.
    pub agent_flags: Vec<String>,
    /// All capabilities that the agent has, by their numbers; every one that the test has, when nothing is said.
    pub agent_capabilities: Option<Vec<u8>>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            link: Link::Bridge,
            proxy: Proxy::Nftables,
            bridge_netfilter: true,
            node: "node-1".to_owned(),
            agent_flags: Vec::new(),
            agent_capabilities: None,
        }
    }
}

/// A node, its pods and the world beside it. Everything goes when it is dropped.
#[derive(Debug)]
pub struct Laboratory {
    /// The node's own network.
    pub node: Namespace,
    /// The world: [`network::OUTSIDE`] and [`network::PRIVATE`].
    pub outside: Namespace,
    node_name: String,
    link: Link,
    proxy: Proxy,
    agent_flags: Vec<String>,
    agent_capabilities: Option<Vec<u8>>,
    agent_binary: Option<PathBuf>,
    /// The agent that is started next can pin nothing new.
    pins_are_full: bool,
    pods: BTreeMap<String, Pod>,
    services: Vec<ServiceSpec>,
    /// Where the agent finds the API server, and where objects are written for it, beside the folder.
    api: Option<(PathBuf, Etcd)>,
    /// Files of objects in the agent's folder, by their names.
    objects: BTreeMap<String, serde_json::Value>,
    host_parts: u8,
    /// Incarnations of pods, for their uids.
    born: u32,
    /// Marks written to see what the agent has read.
    marks: u32,
    running: Option<Program>,
    /// The last field: all else is gone when this removes what is left.
    claim: Claim,
}

impl Laboratory {
    /// A node without pods, its pods on a bridge.
    ///
    /// # Errors
    /// Without root, or when some part cannot be made.
    pub fn new() -> Result<Self> {
        Self::with(Setup::default())
    }

    /// A node without pods.
    ///
    /// # Errors
    /// Without root, or when some part cannot be made.
    pub fn with(setup: Setup) -> Result<Self> {
        interrupt::catch()?;
        let claim = Claim::new().context("cannot make a laboratory")?;
        let node = Namespace::new(&claim.namespace("node"))?;
        let outside = Namespace::new(&claim.namespace("outside"))?;
        network::wire_node(&node, &outside, setup.link)?;
        if !setup.bridge_netfilter {
            network::bypass_tables(&node)?;
        }
        let laboratory = Self {
            node,
            outside,
            node_name: setup.node,
            link: setup.link,
            proxy: setup.proxy,
            agent_flags: setup.agent_flags,
            agent_capabilities: setup.agent_capabilities,
            agent_binary: None,
            pins_are_full: false,
            pods: BTreeMap::new(),
            services: Vec::new(),
            api: None,
            objects: BTreeMap::new(),
            host_parts: 100,
            born: 0,
            marks: 0,
            running: None,
            claim,
        };
        for folder in [laboratory.manifests(), laboratory.cni_cache(), laboratory.drafts()] {
            fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let mut laboratory = laboratory;
        laboratory.apply_node()?;
        Ok(laboratory)
    }

    /// The laboratory's id, which its namespaces' names begin with.
    #[must_use]
    pub fn id(&self) -> &str {
        self.claim.id()
    }

    /// Its folder; files in it go with the laboratory.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.claim.folder()
    }

    /// Where the agent's pins are.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        self.claim.pins()
    }

    /// The folder that the agent watches.
    #[must_use]
    pub fn manifests(&self) -> PathBuf {
        self.folder().join("manifests")
    }

    /// Where libcni would keep what its plugins returned.
    fn cni_cache(&self) -> PathBuf {
        self.folder().join("cni")
    }

    /// Where files are written before they are moved to their place in one step.
    fn drafts(&self) -> PathBuf {
        self.folder().join("drafts")
    }

    /// From now on objects are those of an API server, written into its etcd, and the agent that is started next asks it,
    /// as the kubeconfig says. What was written so far is written there too.
    ///
    /// # Errors
    /// When etcd refuses.
    pub fn use_api(&mut self, kubeconfig: &Path, etcd: Etcd) -> Result<()> {
        etcd.put(self.objects.values().cloned())?;
        self.api = Some((kubeconfig.to_owned(), etcd));
        Ok(())
    }

    /// A namespace beside the node, connected to nothing.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn lone_namespace(&self, role: &str) -> Result<Namespace> {
        Namespace::new(&self.claim.namespace(role))
    }

    /// Starts a program that ends with the laboratory; it runs where [`Namespace::enter`] sent it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(&self, command: std::process::Command) -> Result<Program> {
        Program::start(self.folder(), command)
    }

    /// The running pod `namespace/name`.
    ///
    /// # Errors
    /// When there is none.
    pub fn pod(&self, key: &str) -> Result<&Pod> {
        self.pods.get(key).with_context(|| format!("the laboratory has no pod {key}"))
    }

    /// Every running pod.
    pub fn pods(&self) -> impl Iterator<Item = &Pod> {
        self.pods.values()
    }

    /// Starts a pod as a real node would: the object is known first, then its interfaces come, then libcni's cache names
    /// them.
    ///
    /// # Errors
    /// When its namespace or interfaces cannot be made.
    pub fn add_pod(&mut self, spec: PodSpec) -> Result<Pod> {
        let pod = self.prepare_pod(spec)?;
        self.announce_pod(&pod)?;
        self.connect_pod(&pod)?;
        Ok(pod)
    }

    /// A pod that nobody knows yet: a namespace without interfaces.
    ///
    /// # Errors
    /// When its namespace cannot be made.
    pub fn prepare_pod(&mut self, spec: PodSpec) -> Result<Pod> {
        self.born += 1;
        let born = self.born;
        let host_part = spec.host_part.unwrap_or_else(|| {
            self.host_parts += 1;
            self.host_parts
        });
        let (v4, v6) = network::addresses(host_part);
        let namespace = Namespace::new(&self.claim.namespace(&format!("{born}-{}", spec.name)))?;
        let [_, _, high, low] = born.to_be_bytes();
        Ok(Pod {
            uid: format!("00000000-0000-4000-8000-{born:012x}"),
            v4,
            v6,
            hardware: [0x0a, 0x58, 0x0a, 0xf4, high, low],
            host_interface: format!("veth{born:08x}"),
            host_index: None,
            container: format!("{born:064x}"),
            network: namespace,
            spec,
        })
    }

    /// Writes a pod's object, as the API server would have it before the pod has a network.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn announce_pod(&mut self, pod: &Pod) -> Result<()> {
        self.ensure_namespace_object(&pod.spec.namespace)?;
        let object = pod.object(&self.node_name);
        self.apply(&object)
    }

    /// Gives a pod its interfaces, and names them in libcni's cache.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn connect_pod(&mut self, pod: &Pod) -> Result<()> {
        network::wire_pod(&self.node, pod, self.link)?;
        self.write_cache(&cache_name(pod), &self.cni_result(pod))?;
        self.pods.insert(pod.key(), pod.clone());
        self.translate_services()
    }

    /// Gives a pod its interfaces, of which libcni's cache says nothing.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn connect_unnamed_pod(&mut self, pod: &Pod) -> Result<()> {
        network::wire_pod(&self.node, pod, self.link)?;
        self.pods.insert(pod.key(), pod.clone());
        self.translate_services()
    }

    /// What libcni would keep of a pod.
    #[must_use]
    pub fn cni_result(&self, pod: &Pod) -> serde_json::Value {
        match self.link {
            Link::Bridge => pod.cni_result(&[network::BRIDGE], true),
            Link::Routed => pod.cni_result(&[], true),
            // As Calico answers: nothing of the pod's end.
            Link::Proxied => pod.cni_result(&[], false),
        }
    }

    /// Writes a file of libcni's cache, in one step.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write_cache(&self, name: &str, content: &serde_json::Value) -> Result<()> {
        self.place(&self.cni_cache().join(name), &serde_json::to_vec(content)?)
    }

    /// Ends a pod: its network and its entry in libcni's cache go. Its object stays until
    /// [`delete`](Self::delete).
    ///
    /// # Errors
    /// When there is no such pod.
    pub fn disconnect_pod(&mut self, key: &str) -> Result<Pod> {
        let pod = self.pods.remove(key).with_context(|| format!("the laboratory has no pod {key}"))?;
        self.node.batch(&format!("link delete {}\n", pod.host_interface))?;
        match fs::remove_file(self.cni_cache().join(cache_name(&pod))) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).context("cannot remove from libcni's cache");
            }
            _ => {}
        }
        self.translate_services()?;
        Ok(pod)
    }

    /// Gives the node's end of a pod's pair another name, which libcni's cache follows. It is down meanwhile: routes to the
    /// pod are lost.
    ///
    /// # Errors
    /// When there is no such pod.
    pub fn rename_interface(&mut self, key: &str, name: &str) -> Result<()> {
        let pod = self.pods.get_mut(key).with_context(|| format!("the laboratory has no pod {key}"))?;
        let old = std::mem::replace(&mut pod.host_interface, name.to_owned());
        let pod = pod.clone();
        self.node.batch(&format!("link set {old} down\nlink set {old} name {name}\nlink set {name} up\n"))?;
        self.write_cache(&cache_name(&pod), &self.cni_result(&pod))
    }

    /// Further flags of agents that are started from now on, in the place of those before.
    pub fn set_agent_flags(&mut self, flags: &[&str]) {
        self.agent_flags = flags.iter().map(|flag| (*flag).to_owned()).collect();
    }

    /// Ends a pod and deletes its object.
    ///
    /// # Errors
    /// When there is no such pod.
    pub fn remove_pod(&mut self, key: &str) -> Result<()> {
        let pod = self.disconnect_pod(key)?;
        self.delete("Pod", &pod.spec.namespace, &pod.spec.name)
    }

    /// Changes a pod's labels.
    ///
    /// # Errors
    /// When there is no such pod.
    pub fn relabel(&mut self, key: &str, labels: &[(&str, &str)]) -> Result<()> {
        let pod = self.pods.get_mut(key).with_context(|| format!("the laboratory has no pod {key}"))?;
        pod.spec.labels =
            labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let object = pod.object(&self.node_name);
        self.apply(&object)?;
        self.translate_services()
    }
}

fn cache_name(pod: &Pod) -> String {
    format!("laboratory-{}-eth0", pod.container)
}

impl Drop for Laboratory {
    fn drop(&mut self) {
        if let Some(folder) = std::env::var_os("NETPOL_LABORATORY_LOGS") {
            let to = Path::new(&folder).join(format!("{}.log", self.id()));
            drop(fs::copy(self.folder().join("agent.log"), to));
        }
    }
}
