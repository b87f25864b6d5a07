//! Local pods by libcni's cache and the kernel's list of interfaces, and what changes in either.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context as _;
use futures::{FutureExt as _, StreamExt as _};
use globset::{Glob, GlobSet, GlobSetBuilder};
use rtnetlink::{MulticastGroup, new_multicast_connection};
use tokio::sync::mpsc;

use super::{
    Bridge, Discovered, Discovery, LocalPod,
    cni::{Cache, Entry},
    links::{self, Link, LinkKind},
};
use crate::sources::manifests::watch::Watch;

/// How long to wait for more after a change: a pod's start changes several things at once.
const QUIET: Duration = Duration::from_millis(3);
/// How often to look without any event.
const IDLE: Duration = Duration::from_secs(10);

/// The way by libcni's cache.
#[derive(Debug)]
pub struct CniCache {
    folder: PathBuf,
    excluded: GlobSet,
    sandboxes: GlobSet,
}

impl CniCache {
    /// Reads `folder`. Interfaces whose name matches a glob of `excluded` are left alone; named network namespaces
    /// that match one of `sandboxes` are those of pods.
    ///
    /// # Errors
    /// When a glob is none.
    pub fn new(folder: &Path, excluded: &[String], sandboxes: &[String]) -> anyhow::Result<Self> {
        Ok(Self {
            folder: folder.to_owned(),
            excluded: globs(excluded, "--exclude-interface")?,
            sandboxes: globs(sandboxes, "--sandbox-namespace")?,
        })
    }

    /// Interfaces that may be those of pods which libcni does not know yet.
    fn unclaimed<'a>(&self, discovered: &Discovered, links: &'a BTreeMap<u32, Link>) -> Vec<&'a Link> {
        links
            .values()
            .filter(|link| {
                link.kind == LinkKind::Veth
                    && link.leads_to.is_some()
                    && !discovered.pods.contains_key(&link.ifindex)
                    && !self.excluded.is_match(&link.name)
            })
            .collect()
    }

    /// `known` are the pods that were found before.
    fn join(
        &self,
        cache: &Cache,
        links: &BTreeMap<u32, Link>,
        known: &BTreeMap<u32, LocalPod>,
        mut problems: Vec<String>,
    ) -> Discovered {
        let mut discovered = Discovered::default();
        let by_name: BTreeMap<&str, &Link> = links.values().map(|link| (link.name.as_str(), link)).collect();
        for link in links.values().filter(|link| link.kind == LinkKind::Bridge) {
            discovered.bridges.insert(link.ifindex, Bridge { name: link.name.clone(), veths: Vec::new() });
        }
        for link in links.values().filter(|link| link.kind == LinkKind::Veth) {
            if !self.excluded.is_match(&link.name) {
                discovered.veths.insert(link.ifindex, link.name.clone());
            }
            if let Some(bridge) = link.master.and_then(|master| discovered.bridges.get_mut(&master)) {
                bridge.veths.push(link.ifindex);
            }
        }
        for entry in cache.entries() {
            match host_end(entry, &by_name) {
                Ok(link) if self.excluded.is_match(&link.name) => {}
                Ok(link) => {
                    let pod = LocalPod {
                        pod: entry.pod.clone(),
                        uid: entry.uid.clone(),
                        interface: link.name.clone(),
                        ifindex: link.ifindex,
                        addresses: entry.addresses.clone(),
                        hardware: entry.hardware,
                        bridge: link.master.filter(|master| discovered.bridges.contains_key(master)),
                        namespace: entry.namespace.clone(),
                    };
                    if let Some(other) = discovered.pods.insert(link.ifindex, pod)
                        && other.pod != entry.pod
                    {
                        problems.push(format!(
                            "the pods {} and {} both claim the interface {}: the second one is taken; remove the stale file from {}",
                            other.pod, entry.pod, link.name, self.folder.display()
                        ));
                    }
                }
                Err(Some(problem)) => problems.push(problem),
                // The pod is going, or not yet there.
                Err(None) => {}
            }
        }
        // A pod's interface goes with it: while it is there, it is enforced, whatever became of libcni's file.
        for (ifindex, before) in known {
            let Some(link) = links.get(ifindex).filter(|link| link.name == before.interface) else {
                continue;
            };
            discovered.pods.entry(*ifindex).or_insert_with(|| {
                let bridge = link.master.filter(|master| discovered.bridges.contains_key(master));
                problems.push(format!(
                    "libcni does not know the pod {} any more, but its interface {} is still there: it stays enforced",
                    before.pod, before.interface
                ));
                LocalPod { bridge, ..before.clone() }
            });
        }
        discovered.problems = problems;
        discovered
    }
}

fn globs(patterns: &[String], flag: &str) -> anyhow::Result<GlobSet> {
    let mut globs = GlobSetBuilder::new();
    for glob in patterns {
        globs.add(Glob::new(glob).with_context(|| format!("{flag} {glob:?} is no pattern"))?);
    }
    Ok(globs.build()?)
}

/// The host's end of the entry's veth. Without a problem to tell when the interface is gone already.
fn host_end<'a>(entry: &Entry, links: &BTreeMap<&str, &'a Link>) -> Result<&'a Link, Option<String>> {
    if entry.host_interfaces.is_empty() {
        return Err(Some(format!(
            "the network {:?} does not say which interface of this host leads to the pod {}: it cannot be enforced",
            entry.network, entry.pod
        )));
    }
    let present: Vec<&Link> =
        entry.host_interfaces.iter().filter_map(|name| links.get(name.as_str()).copied()).collect();
    match present.iter().find(|link| link.kind == LinkKind::Veth) {
        Some(link) => Ok(link),
        None if present.iter().all(|link| link.kind == LinkKind::Bridge) => Err(None),
        None => Err(Some(format!(
            "the pod {} has no veth on this host (network {:?}, interfaces {}): it cannot be enforced",
            entry.pod,
            entry.network,
            entry.host_interfaces.join(", ")
        ))),
    }
}

impl Discovery for CniCache {
    fn name(&self) -> String {
        format!("libcni's cache in {}", self.folder.display())
    }

    fn run(self: Box<Self>, deliver: &mut dyn FnMut(Discovered) -> bool) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.follow(deliver))
    }
}

impl CniCache {
    async fn follow(&self, deliver: &mut dyn FnMut(Discovered) -> bool) -> anyhow::Result<()> {
        let (connection, handle, mut messages) = new_multicast_connection(&[
            MulticastGroup::Link,
            MulticastGroup::Ipv4Ifaddr,
            MulticastGroup::Ipv6Ifaddr,
        ])
        .context("cannot open netlink")?;
        tokio::spawn(connection);
        // Watched before anything is read: nothing that happens in between is missed.
        let (changed, mut changes) = mpsc::channel(1);
        watch_folder(&self.folder, changed)?;
        let mut cache = Cache::default();
        let mut last: Option<Discovered> = None;
        let none = BTreeMap::new();
        loop {
            let problems = cache.read(&self.folder);
            let links = links::list(&handle).await.context("cannot list the interfaces of this host")?;
            let mut discovered =
                self.join(&cache, &links, last.as_ref().map_or(&none, |last| &last.pods), problems);
            let addresses = links::addresses(&handle, &links).await;
            discovered.addresses = addresses.context("cannot list the addresses of this host")?;
            let unclaimed = self.unclaimed(&discovered, &links);
            if !unclaimed.is_empty() {
                let sandboxes = links::sandboxes(&handle, &self.sandboxes).await;
                let waiting = unclaimed
                    .into_iter()
                    .filter(|link| link.leads_to.is_some_and(|id| sandboxes.contains(&id)));
                discovered.waiting = waiting.map(|link| (link.ifindex, link.name.clone())).collect();
            }
            if last.as_ref() != Some(&discovered) {
                if !deliver(discovered.clone()) {
                    return Ok(());
                }
                last = Some(discovered);
            }
            tokio::select! {
                message = messages.next() => anyhow::ensure!(message.is_some(), "netlink has closed"),
                change = changes.recv() => anyhow::ensure!(change.is_some(), "inotify has closed"),
                () = tokio::time::sleep(IDLE) => {}
            }
            tokio::time::sleep(QUIET).await;
            while messages.next().now_or_never().flatten().is_some() {}
            while changes.try_recv().is_ok() {}
        }
    }
}

/// Says, from a thread of its own, when something happens in the folder; or in the nearest one above it while it does
/// not exist, since libcni makes it with the first pod.
fn watch_folder(folder: &Path, changed: mpsc::Sender<()>) -> anyhow::Result<()> {
    let mut watch = Watch::new().context("cannot watch libcni's cache")?;
    let folder = folder.to_owned();
    let add = |watch: &mut Watch, folder: &Path| {
        let there = folder.ancestors().find(|ancestor| ancestor.is_dir());
        watch.add(there.unwrap_or(Path::new("/")));
        there == Some(folder)
    };
    let mut there = add(&mut watch, &folder);
    std::thread::Builder::new().name("cni-cache".into()).spawn(move || {
        loop {
            match watch.wait(IDLE, Duration::ZERO, Duration::ZERO) {
                Ok(changes) => {
                    if changes.everything || !there {
                        there = add(&mut watch, &folder);
                    }
                    if matches!(changed.try_send(()), Err(mpsc::error::TrySendError::Closed(()))) {
                        return;
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "cannot watch libcni's cache any more; it is looked through from time to time");
                    // Keeps the channel open: the other side goes on by its own clock.
                    loop {
                        std::thread::park();
                    }
                }
            }
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests;
