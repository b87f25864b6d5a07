//! Follows what changes: interfaces by netlink, libcni's cache by inotify, and, for what neither names, processes from
//! time to time. Each event is taken in by itself; all is looked through as a net, and at once when the kernel has
//! lost events.

mod folder;

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use futures::{FutureExt as _, StreamExt as _};
use globset::{Glob, GlobSet, GlobSetBuilder};
use rtnetlink::{
    Handle, MulticastGroup, new_connection_with_strict_check, packet_route::nsid::NsidAttribute,
};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::{
    Discovered, Discovery, LocalPod,
    addresses::{self, Own},
    cgroups,
    cni::Cache,
    incarnations::Incarnations,
    join::{Behind, Read},
    links::{self, Event, Link},
    sandboxes::Sandboxes,
};
use crate::sources::manifests::watch::Changes;

/// How often everything is looked through.
const IDLE: Duration = Duration::from_secs(10);
/// How long after an interface came, which nothing names, processes are looked through for the first time; then after
/// twice as long each time.
const FIRST_SEARCH: Duration = Duration::from_millis(100);
/// And how long at most until they are again: an interface may be nobody's for ever.
const LAST_SEARCH: Duration = IDLE;

/// Where to look.
#[derive(Clone, Debug)]
pub struct Places {
    /// libcni's cache.
    pub cache: PathBuf,
    /// The folder with the files of network namespaces.
    pub sandboxes: PathBuf,
    /// Patterns of the names of those that are pods'.
    pub names: Vec<String>,
    /// Patterns of interfaces to leave alone.
    pub excluded: Vec<String>,
}

impl Places {
    pub(super) fn sandbox_names(&self) -> anyhow::Result<GlobSet> {
        globs(&self.names, "--sandbox-namespace")
    }

    pub(super) fn excluded_interfaces(&self) -> anyhow::Result<GlobSet> {
        globs(&self.excluded, "--exclude-interface")
    }
}

/// The ways that need nothing but the host: libcni's cache, netlink, cgroups.
#[derive(Debug)]
pub struct Local {
    places: Places,
    names: GlobSet,
    excluded: GlobSet,
    own_xdp: Option<u32>,
}

impl Local {
    /// Looks there.
    ///
    /// # Errors
    /// When a pattern is none.
    pub fn new(places: Places) -> anyhow::Result<Self> {
        let (names, excluded) = (places.sandbox_names()?, places.excluded_interfaces()?);
        Ok(Self { places, names, excluded, own_xdp: None })
    }

    /// The XDP program with this id is ours.
    #[must_use]
    pub fn with_own_xdp(self, program: u32) -> Self {
        Self { own_xdp: Some(program), ..self }
    }
}

fn globs(patterns: &[String], flag: &str) -> anyhow::Result<GlobSet> {
    let mut globs = GlobSetBuilder::new();
    for glob in patterns {
        globs.add(Glob::new(glob).with_context(|| format!("{flag} {glob:?} is no pattern"))?);
    }
    Ok(globs.build()?)
}

impl Discovery for Local {
    fn name(&self) -> String {
        format!(
            "libcni's cache in {}, then the cgroups of processes behind interfaces",
            self.places.cache.display()
        )
    }

    fn run(self: Box<Self>, deliver: &mut dyn FnMut(Discovered) -> bool) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.follow(deliver))
    }
}

/// What has been read.
struct Seen {
    handle: Handle,
    cache: Cache,
    links: BTreeMap<u32, Link>,
    incarnations: Incarnations,
    addresses: BTreeSet<Own>,
    sandboxes: Sandboxes,
    behind: BTreeMap<u32, Behind>,
    pods: BTreeMap<u32, LocalPod>,
    excluded: GlobSet,
    own_xdp: Option<u32>,
    /// Where an interface leads, or what the cache names, has changed.
    look: bool,
}

impl Seen {
    /// Looks through everything.
    async fn everything(&mut self, folder: &Path) -> anyhow::Result<()> {
        self.cache.read(folder);
        let listed = links::list(&self.handle).await.context("cannot list the interfaces of this host")?;
        self.links = links::completed(listed, std::mem::take(&mut self.links), links::is_there);
        self.addresses =
            addresses::list(&self.handle).await.context("cannot list the addresses of this host")?;
        self.sandboxes.forget();
        self.look = true;
        // The pods' own word for their addresses is checked anew.
        for (ifindex, behind) in &mut self.behind {
            if !behind.uids.is_empty()
                && let Some(link) = self.links.get(ifindex)
            {
                behind.addresses = addresses_behind(&self.handle, link).await;
            }
        }
        Ok(())
    }

    /// Takes in an event; whether it says that others were lost.
    fn take(&mut self, event: Event) -> bool {
        match event {
            Event::There(link) => {
                let before = self.links.get(&link.ifindex);
                if before != Some(&link) {
                    self.look |= before.is_none_or(|before| before.leads_to != link.leads_to);
                    self.links.insert(link.ifindex, link);
                }
            }
            Event::Gone(ifindex) => {
                self.links.remove(&ifindex);
                // What was known of it is not so of the next one with this index.
                self.incarnations.gone(ifindex);
                self.pods.remove(&ifindex);
                self.behind.remove(&ifindex);
                self.addresses.retain(|(of, _)| *of != ifindex);
            }
            Event::Address(own) => drop(self.addresses.insert(own)),
            Event::NoAddress(own) => drop(self.addresses.remove(&own)),
            Event::Lost => return true,
            Event::Nothing => {}
        }
        false
    }

    /// What all of it says together.
    async fn join(&mut self) -> Discovered {
        if std::mem::take(&mut self.look) {
            let named: Vec<PathBuf> =
                self.cache.entries().iter().filter_map(|entry| entry.namespace.clone()).collect();
            self.sandboxes.look(&self.handle, named.iter().map(PathBuf::as_path)).await;
        }
        self.behind.retain(|ifindex, _| self.links.contains_key(ifindex));
        self.incarnations.are(self.links.keys().copied());
        let entries = self.cache.entries();
        let read = Read {
            entries: &entries,
            links: &self.links,
            sandboxes: &self.sandboxes,
            behind: &self.behind,
            known: &self.pods,
            excluded: &self.excluded,
            own_xdp: self.own_xdp,
        };
        let mut discovered = read.join();
        discovered.incarnations = self.incarnations.of(discovered.veths.keys().copied());
        discovered.addresses = addresses::of_host(&self.addresses, &self.links);
        discovered.problems.extend(self.cache.problems().cloned());
        self.pods.clone_from(&discovered.pods);
        discovered
    }

    /// Looks for processes behind interfaces that nothing names; whether any was found.
    async fn search(&mut self, waiting: &BTreeMap<u32, String>) -> bool {
        let leads_to = |ifindex: &u32| self.links.get(ifindex).and_then(|link| link.leads_to);
        let wanted: BTreeSet<i32> = waiting.keys().filter_map(leads_to).collect();
        let mut found: BTreeMap<i32, Vec<Vec<String>>> = BTreeMap::new();
        for (pid, uids) in cgroups::processes(Path::new("/proc")) {
            let id = links::namespace_id(&self.handle, NsidAttribute::Pid(pid)).await;
            if let Some(id) = id.filter(|id| wanted.contains(id)) {
                found.entry(id).or_default().push(uids);
            }
        }
        let mut any = false;
        for ifindex in waiting.keys() {
            let Some(link) = self.links.get(ifindex) else { continue };
            let Some(uids) = link.leads_to.and_then(|id| found.get(&id)) else { continue };
            let uids = cgroups::common(uids);
            if uids.is_empty() {
                debug!(interface = link.name, "processes of several pods are behind an interface");
                continue;
            }
            let addresses = addresses_behind(&self.handle, link).await;
            self.behind.insert(*ifindex, Behind { uids, addresses });
            any = true;
        }
        any
    }
}

/// The addresses at the other end of an interface; none when the kernel does not say, and then the pod has none.
async fn addresses_behind(handle: &Handle, link: &Link) -> Vec<std::net::IpAddr> {
    let (Some(namespace), Some(peer)) = (link.leads_to, link.peer) else { return Vec::new() };
    let found = addresses::behind(handle, namespace, peer).await;
    found.unwrap_or_else(|error| {
        warn!(interface = link.name, %error, "cannot read the addresses at the other end of an interface");
        Vec::new()
    })
}

impl Local {
    async fn follow(&self, deliver: &mut dyn FnMut(Discovered) -> bool) -> anyhow::Result<()> {
        // Watched before anything is read: nothing that happens in between is missed.
        let mut messages =
            links::listen(&[MulticastGroup::Link, MulticastGroup::Ipv4Ifaddr, MulticastGroup::Ipv6Ifaddr])?;
        let (changed, mut changes) = mpsc::unbounded_channel();
        folder::watch(&self.places.cache, changed)?;
        // Questions have a connection of their own: lost events must not take answers along.
        let (connection, handle, _) = new_connection_with_strict_check().context("cannot open netlink")?;
        tokio::spawn(connection);
        let mut seen = Seen {
            handle,
            cache: Cache::default(),
            links: BTreeMap::new(),
            incarnations: Incarnations::default(),
            addresses: BTreeSet::new(),
            sandboxes: Sandboxes::new(self.places.sandboxes.clone(), self.names.clone()),
            behind: BTreeMap::new(),
            pods: BTreeMap::new(),
            excluded: self.excluded.clone(),
            own_xdp: self.own_xdp,
            look: true,
        };
        let mut last: Option<Discovered> = None;
        let mut everything = Instant::now();
        let mut search = (Instant::now(), FIRST_SEARCH);
        loop {
            let now = Instant::now();
            if everything <= now {
                seen.everything(&self.places.cache).await?;
                everything = now + IDLE;
            }
            let mut discovered = seen.join().await;
            if !discovered.waiting.is_empty() {
                let known = last.as_ref().map(|last| &last.waiting);
                if discovered.waiting.keys().any(|one| known.is_none_or(|known| !known.contains_key(one))) {
                    search = (now + FIRST_SEARCH, FIRST_SEARCH);
                } else if search.0 <= now {
                    if seen.search(&discovered.waiting).await {
                        discovered = seen.join().await;
                    }
                    search = (Instant::now() + search.1, (search.1 * 2).min(LAST_SEARCH));
                }
            }
            let due = if discovered.waiting.is_empty() { everything } else { everything.min(search.0) };
            if last.as_ref() != Some(&discovered) {
                if !deliver(discovered.clone()) {
                    return Ok(());
                }
                last = Some(discovered);
            }
            let mut lost = false;
            tokio::select! {
                message = messages.next() => {
                    let (message, _) = message.context("netlink has closed")?;
                    lost |= seen.take(links::event(&message));
                }
                change = changes.recv() => self.take_change(&mut seen, &change.context("inotify has closed")?),
                () = tokio::time::sleep_until(due.into()) => {}
            }
            // What has come meanwhile is one change.
            while let Some(Some((message, _))) = messages.next().now_or_never() {
                lost |= seen.take(links::event(&message));
            }
            while let Ok(change) = changes.try_recv() {
                self.take_change(&mut seen, &change);
            }
            if lost {
                for event in links::rest(&mut messages).await {
                    seen.take(event);
                }
                warn!("the kernel had no room for some events of interfaces: all of them are looked through");
                everything = Instant::now();
            }
        }
    }

    fn take_change(&self, seen: &mut Seen, change: &Changes) {
        if change.everything {
            seen.cache.read(&self.places.cache);
        }
        for path in change.closed.iter().filter(|path| path.parent() == Some(&self.places.cache)) {
            seen.cache.read_file(path);
        }
        seen.look = true;
    }
}

#[cfg(test)]
mod tests;
