//! What the ways of finding pods say together: pure, from what was read to [`Discovered`].
//!
//! libcni's cache names the host's interface and the sandbox; the kernel says where the interface leads, and where both
//! are known they must agree: a file that outlived its sandbox may name an interface that is another pod's by now. What
//! the cache does not name, and leads into a sandbox, is known by the cgroup of a process there.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

use globset::GlobSet;

use super::{
    Bridge, Cause, Discovered, LocalPod, Owner, Unenforced,
    cni::Entry,
    links::{Link, LinkKind},
    sandboxes::Sandboxes,
};

/// Of an interface that the cache does not name: whose it is by the cgroups, and the addresses at its other end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Behind {
    /// As [`Owner::Uids`].
    pub uids: Vec<String>,
    /// As they are now.
    pub addresses: Vec<IpAddr>,
}

/// What was read.
#[derive(Debug)]
pub struct Read<'a> {
    /// Of libcni's cache, the oldest first.
    pub entries: &'a [&'a Entry],
    /// The host's interfaces.
    pub links: &'a BTreeMap<u32, Link>,
    /// The namespaces of pods.
    pub sandboxes: &'a Sandboxes,
    /// By interface index.
    pub behind: &'a BTreeMap<u32, Behind>,
    /// Pods that were found before.
    pub known: &'a BTreeMap<u32, LocalPod>,
    /// Interfaces to leave alone.
    pub excluded: &'a GlobSet,
    /// The XDP program that is ours: it redirects nothing.
    pub own_xdp: Option<u32>,
}

/// How an entry of the cache and an interface fit together.
enum End<'a> {
    /// It is the pod's; whether the kernel has said so, too.
    Found(&'a Link, bool),
    /// The pod is going, or not yet there.
    Gone,
    /// Its interface leads elsewhere.
    Elsewhere(&'a Link),
    /// It is connected by something that we cannot hook.
    Blind(Unenforced),
}

impl Read<'_> {
    /// All of it together.
    #[must_use]
    pub fn join(&self) -> Discovered {
        let mut discovered = self.surroundings();
        self.add_named(&mut discovered);
        self.keep_known(&mut discovered);
        self.add_unnamed(&mut discovered);
        for local in discovered.pods.values() {
            let xdp = self.links.get(&local.ifindex).and_then(|link| link.xdp);
            let foreign = xdp.filter(|id| Some(*id) != self.own_xdp);
            discovered.unenforced.extend(foreign.map(|id| Unenforced {
                pod: local.name(),
                interface: local.interface.clone(),
                cause: Cause::Xdp,
                detail: format!("program {id}"),
            }));
        }
        discovered
    }

    /// The bridges and the veths.
    fn surroundings(&self) -> Discovered {
        let mut discovered = Discovered::default();
        for link in self.links.values().filter(|link| link.kind == LinkKind::Bridge) {
            discovered.bridges.insert(link.ifindex, Bridge { name: link.name.clone(), veths: Vec::new() });
        }
        for link in self.links.values().filter(|link| link.kind == LinkKind::Veth) {
            if !self.excluded.is_match(&link.name) {
                discovered.veths.insert(link.ifindex, link.name.clone());
            }
            if let Some(bridge) = link.master.and_then(|master| discovered.bridges.get_mut(&master)) {
                bridge.veths.push(link.ifindex);
            }
        }
        discovered
    }

    /// What libcni's cache names.
    fn add_named(&self, discovered: &mut Discovered) {
        let by_name: BTreeMap<&str, &Link> =
            self.links.values().map(|link| (link.name.as_str(), link)).collect();
        let mut confirmed = BTreeSet::new();
        for entry in self.entries {
            let (link, sure) = match self.host_end(entry, &by_name) {
                End::Found(link, sure) => (link, sure),
                End::Gone => continue,
                End::Elsewhere(link) => {
                    discovered.problems.push(format!(
                        "libcni's file of the pod {} (sandbox {}) names the interface {}, which leads elsewhere: the file is not believed; remove it if the sandbox is gone",
                        entry.pod, entry.container, link.name
                    ));
                    continue;
                }
                End::Blind(blind) => {
                    discovered.unenforced.push(blind);
                    continue;
                }
            };
            if confirmed.contains(&link.ifindex) && !sure {
                continue;
            }
            if self.excluded.is_match(&link.name) {
                let (pod, interface) = (Some(entry.pod.clone()), link.name.clone());
                let detail = String::new();
                discovered.unenforced.push(Unenforced { pod, interface, cause: Cause::Excluded, detail });
                continue;
            }
            let local = LocalPod {
                owner: Owner::Named { pod: entry.pod.clone(), uid: entry.uid.clone() },
                interface: link.name.clone(),
                ifindex: link.ifindex,
                addresses: entry.addresses.clone(),
                hardware: entry.hardware,
                bridge: bridge_of(link, discovered),
                namespace: entry.namespace.clone(),
            };
            let other = discovered.pods.insert(link.ifindex, local);
            let doubted = !(sure && confirmed.insert(link.ifindex));
            if let Some(LocalPod { owner: Owner::Named { pod, .. }, .. }) = other
                && pod != entry.pod
                && doubted
            {
                discovered.problems.push(format!(
                    "the pods {pod} and {} both claim the interface {}: the second one is taken, as its file is newer; remove the stale file of libcni's cache",
                    entry.pod, link.name
                ));
            }
        }
    }

    /// The host's end of an entry's interface.
    fn host_end<'l>(&'l self, entry: &Entry, by_name: &BTreeMap<&str, &'l Link>) -> End<'l> {
        let sandbox = entry.namespace.as_deref().and_then(|file| self.sandboxes.id_of(file));
        let present: Vec<&Link> =
            entry.host_interfaces.iter().filter_map(|name| by_name.get(name.as_str()).copied()).collect();
        let veths = || present.iter().copied().filter(|link| link.kind == LinkKind::Veth);
        match sandbox {
            Some(id) => {
                if let Some(link) = veths().find(|link| link.leads_to == Some(id)) {
                    return End::Found(link, true);
                }
                match veths().next() {
                    Some(link) if link.leads_to.is_some() => return End::Elsewhere(link),
                    // The kernel has not said yet where it leads.
                    Some(_) => return End::Gone,
                    None => {}
                }
            }
            None => {
                if let Some(link) = veths().next() {
                    return End::Found(link, false);
                }
            }
        }
        let blind = |cause, interface: &str, detail| {
            let interface = interface.to_owned();
            End::Blind(Unenforced { pod: Some(entry.pod.clone()), interface, cause, detail })
        };
        let other = present.iter().find(|link| link.kind != LinkKind::Bridge);
        match other.map(|link| (&link.name, &link.kind)) {
            Some((name, LinkKind::Netkit)) => blind(Cause::Netkit, name, String::new()),
            Some((name, LinkKind::Other(kind))) => blind(Cause::NotVeth, name, kind.clone()),
            _ if entry.host_interfaces.is_empty() => self.only_one(entry, sandbox).map_or_else(
                || {
                    let network = &entry.network;
                    let plugin = if entry.plugin.is_empty() {
                        ""
                    } else {
                        &format!(" by the plugin {}", entry.plugin)
                    };
                    blind(Cause::NoVeth, &entry.inside, format!("connected to the network {network}{plugin}"))
                },
                |link| End::Found(link, true),
            ),
            _ => End::Gone,
        }
    }

    /// The veth that leads into a sandbox, where the plugin does not name the host's end but there is no choice.
    fn only_one(&self, entry: &Entry, sandbox: Option<i32>) -> Option<&Link> {
        let id = sandbox?;
        let others = self.entries.iter().filter(|other| other.namespace == entry.namespace).count();
        let mut veths = self.links.values().filter(|l| l.kind == LinkKind::Veth && l.leads_to == Some(id));
        let only = veths.next()?;
        (others == 1 && veths.next().is_none()).then_some(only)
    }

    /// A pod's interface goes with it: while it is there, it is enforced, whatever became of libcni's file.
    fn keep_known(&self, discovered: &mut Discovered) {
        for (ifindex, before) in self.known {
            let Some(link) = self.links.get(ifindex).filter(|link| link.name == before.interface) else {
                continue;
            };
            if discovered.pods.contains_key(ifindex) {
                continue;
            }
            let mut local = LocalPod { bridge: bridge_of(link, discovered), ..before.clone() };
            match &before.owner {
                Owner::Named { pod, .. } => discovered.problems.push(format!(
                    "libcni does not know the pod {pod} any more, but its interface {} is still there: it stays enforced",
                    before.interface
                )),
                Owner::Uids(_) => {
                    if let Some(behind) = self.behind.get(ifindex) {
                        local.addresses.clone_from(&behind.addresses);
                    }
                }
            }
            discovered.pods.insert(*ifindex, local);
        }
    }

    /// What leads into a sandbox and libcni's cache does not name.
    fn add_unnamed(&self, discovered: &mut Discovered) {
        let sandboxes = self.sandboxes.ids();
        for link in self.unnamed(discovered) {
            let Some(id) = link.leads_to.filter(|id| sandboxes.contains(id)) else { continue };
            match self.behind.get(&link.ifindex).filter(|behind| !behind.uids.is_empty()) {
                Some(behind) => {
                    let local = LocalPod {
                        owner: Owner::Uids(behind.uids.clone()),
                        interface: link.name.clone(),
                        ifindex: link.ifindex,
                        addresses: behind.addresses.clone(),
                        hardware: None,
                        bridge: bridge_of(link, discovered),
                        namespace: self.sandboxes.file_of(id),
                    };
                    discovered.pods.insert(link.ifindex, local);
                }
                None => drop(discovered.waiting.insert(link.ifindex, link.name.clone())),
            }
        }
    }

    /// Interfaces that may be those of pods which nobody has named.
    #[must_use]
    pub fn unnamed(&self, discovered: &Discovered) -> Vec<&Link> {
        let unnamed = |link: &&Link| {
            link.kind == LinkKind::Veth
                && link.leads_to.is_some()
                && !discovered.pods.contains_key(&link.ifindex)
                && !self.excluded.is_match(&link.name)
        };
        self.links.values().filter(unnamed).collect()
    }
}

fn bridge_of(link: &Link, discovered: &Discovered) -> Option<u32> {
    link.master.filter(|master| discovered.bridges.contains_key(master))
}

#[cfg(test)]
mod tests;
