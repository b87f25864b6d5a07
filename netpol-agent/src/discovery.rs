//! Which interface of this host belongs to which local pod.
//!
//! [`cni`] reads what libcni keeps of each pod it has connected, [`links`] asks the kernel which interfaces there
//! are, [`local`] joins the two. It knows nothing of policies; how pods are found is interchangeable
//! ([`Discovery`]).

pub mod cni;
pub mod links;
pub mod local;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
};

use netpol_policy::model::Key;

/// A way to find the interfaces of local pods.
pub trait Discovery: Send {
    /// What people call it, such as the folder it reads.
    fn name(&self) -> String;

    /// Reports until `deliver` says that nobody listens any more (it returns `false`). Runs on a thread of its own.
    ///
    /// # Errors
    /// What keeps it from reporting at all.
    fn run(self: Box<Self>, deliver: &mut dyn FnMut(Discovered) -> bool) -> anyhow::Result<()>;
}

/// All that there is now, whole.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Discovered {
    /// Interfaces of pods, by interface index.
    pub pods: BTreeMap<u32, LocalPod>,
    /// Interfaces that lead into a sandbox of which it is not said yet whose it is: names by interface index.
    pub waiting: BTreeMap<u32, String>,
    /// Every veth of this host that is not excluded: names by interface index.
    pub veths: BTreeMap<u32, String>,
    /// Bridges, with those of their ports that are veths.
    pub bridges: BTreeMap<u32, Bridge>,
    /// Addresses that packets of pods may use for this host, whatever interface has them.
    pub addresses: BTreeSet<IpAddr>,
    /// What is wrong, for people.
    pub problems: Vec<String>,
}

/// A local pod's interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPod {
    /// The pod.
    pub pod: Key,
    /// Its UID; empty when it was not said.
    pub uid: String,
    /// The host's end of its veth.
    pub interface: String,
    /// The index of that.
    pub ifindex: u32,
    /// The pod's addresses as they were given to it.
    pub addresses: Vec<IpAddr>,
    /// The hardware address of the pod's end.
    pub hardware: Option<[u8; 6]>,
    /// The bridge that the host's end is a port of.
    pub bridge: Option<u32>,
    /// The file of its network namespace, where it was said.
    pub namespace: Option<PathBuf>,
}

/// A bridge of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// Ports that are veths, by interface index.
    pub veths: Vec<u32>,
}
