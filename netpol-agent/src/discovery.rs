//! Which interface of this host belongs to which local pod.
//!
//! Several ways, one result ([`Discovered`]). [`cni`] reads what libcni keeps of each pod it has connected; [`links`] asks
//! the kernel which interfaces there are and which namespaces they lead to, [`addresses`] which addresses they have; [`sandboxes`] knows which of these are of
//! pods; [`cgroups`] says which pod a process there is of, `incarnations` whether an interface is another one than before. [`join`] brings them together, [`local`] follows what
//! changes. [`fresh`] tells of new
//! interfaces before any of this. What cannot be enforced is [`unenforced`]. Nothing here knows policies or the API's objects.

pub mod addresses;
pub mod cgroups;
pub mod cni;
pub mod fresh;
mod incarnations;
pub mod join;
pub mod links;
pub mod local;
pub mod sandboxes;
pub mod unenforced;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    path::PathBuf,
};

use netpol_policy::model::Key;

pub use self::unenforced::{Cause, Unenforced};

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
    /// Which one each of those is of all interfaces that there have been: an index is given again, even with its name.
    pub incarnations: BTreeMap<u32, u64>,
    /// Bridges, with those of their ports that are veths.
    pub bridges: BTreeMap<u32, Bridge>,
    /// Addresses that packets of pods may use for this host, whatever interface has them.
    pub addresses: BTreeSet<IpAddr>,
    /// What cannot be enforced.
    pub unenforced: Vec<Unenforced>,
    /// What is wrong, for people.
    pub problems: Vec<String>,
}

/// Whose an interface is, and who says so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// libcni's cache, by name.
    Named {
        /// The pod.
        pod: Key,
        /// Its UID as the node knows it; empty when it was not said.
        uid: String,
    },
    /// The cgroup of a process behind it, by the pod's UID: the first of these that is a pod's.
    Uids(Vec<String>),
}

impl Owner {
    /// What says so, for people.
    #[must_use]
    pub const fn said_by(&self) -> &'static str {
        match self {
            Self::Named { .. } => "cni-cache",
            Self::Uids(_) => "cgroup",
        }
    }
}

/// A local pod's interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPod {
    /// The pod.
    pub owner: Owner,
    /// The host's end of its veth.
    pub interface: String,
    /// The index of that.
    pub ifindex: u32,
    /// The addresses of the pod's end: as they were given to it where libcni's cache names the pod, otherwise as it has
    /// them, which it may have changed itself.
    pub addresses: Vec<IpAddr>,
    /// The hardware address of the pod's end.
    pub hardware: Option<[u8; 6]>,
    /// The bridge that the host's end is a port of.
    pub bridge: Option<u32>,
    /// The file of its network namespace, where it was said.
    pub namespace: Option<PathBuf>,
}

impl LocalPod {
    /// The pod, where it is known by its name.
    #[must_use]
    pub fn name(&self) -> Option<Key> {
        match &self.owner {
            Owner::Named { pod, .. } => Some(pod.clone()),
            Owner::Uids(_) => None,
        }
    }
}

/// A bridge of the host.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bridge {
    /// Its name.
    pub name: String,
    /// Ports that are veths, by interface index.
    pub veths: Vec<u32>,
}
