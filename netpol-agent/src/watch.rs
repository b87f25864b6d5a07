//! Looks, again and again, whether what is attached to pods' interfaces is still there and comes first, and which programs of
//! others this host's interfaces carry.
//!
//! The kernel tells of none of it: a link that somebody detaches sends no event. Asking waits for the lock that every change of
//! interfaces holds, for a grace period each on a busy node; so this has a thread of its own, and nobody waits for it.

mod enforcers;
mod programs;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, io,
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rtnetlink::{Handle, new_connection_with_strict_check};
use tracing::debug;

pub use self::enforcers::Enforcers;
use crate::{
    datapath::{Attached, Attachment, Hold, Holder, Side, program_name, tcx_programs},
    discovery::links,
};

/// How often the hooks are looked at.
const PERIOD: Duration = Duration::from_secs(2);
/// How often everything else on this host is looked at too, in looks.
const WHOLE: u32 = 5;

/// How often other engines are looked for, in looks; a whole one each time.
const ENFORCERS: u32 = 15;

/// How an interface carries a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum At {
    /// Before all of tc.
    Xdp,
    /// In TCX's chain.
    Tcx(Side),
    /// In a filter of clsact, after TCX.
    Filter(Side),
}

/// A program that an interface carries.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Program {
    /// How.
    pub at: At,
    /// The kernel's id.
    pub id: u32,
    /// Its name; empty where that cannot be read.
    pub name: String,
}

impl Program {
    fn new(at: At, id: u32) -> Self {
        Self { at, id, name: program_name(id).unwrap_or_default() }
    }
}

impl fmt::Display for Program {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            At::Xdp => write!(out, "XDP")?,
            At::Tcx(side) => write!(out, "TCX {side}")?,
            At::Filter(side) => write!(out, "tc filter {side}")?,
        }
        write!(out, " program {}", self.id)?;
        if self.name.is_empty() { Ok(()) } else { write!(out, " ({})", self.name) }
    }
}

/// A program of somebody else's on an interface.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Foreign {
    /// The interface's index.
    pub ifindex: u32,
    /// Its name.
    pub interface: String,
    /// The program.
    pub program: Program,
}

/// What one look has seen.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// When it began.
    pub begun: Instant,
    /// Entries of ours that are not there any more, with their programs.
    pub lost: BTreeMap<Attachment, Hold>,
    /// Programs that run before an entry of ours, by the entry's interface.
    pub ahead: BTreeMap<u32, BTreeSet<Program>>,
    /// All other programs of others; nothing when it was not looked for them this time.
    pub elsewhere: Option<BTreeSet<Foreign>>,
    /// Other engines that seem to enforce policies here, or why that cannot be told; nothing when it was not looked for them
    /// this time.
    pub enforcers: Option<Result<Enforcers, String>>,
    /// Why something could not be looked at.
    pub failed: Option<String>,
}

/// Looks at the hooks.
#[derive(Debug)]
pub struct Watch {
    /// What is to be there.
    pub attached: Attached,
    /// The XDP program with this id is ours.
    pub own_xdp: u32,
    /// Where the node's bpffs is.
    pub bpffs: PathBuf,
}

impl Watch {
    /// Reports each look until `deliver` says that nobody listens any more (it returns `false`). Runs on a thread of its own.
    ///
    /// # Errors
    /// When there is no netlink.
    pub fn run(self, deliver: &mut dyn FnMut(Sighting) -> bool) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let (connection, handle, _) =
                new_connection_with_strict_check().context("cannot open netlink")?;
            tokio::spawn(connection);
            for turn in 0_u32.. {
                let mut sighting = self.look(&handle, turn.is_multiple_of(WHOLE)).await;
                if turn.is_multiple_of(ENFORCERS) {
                    sighting.enforcers = Some(self.enforcers(&sighting));
                }
                if !deliver(sighting) {
                    break;
                }
                tokio::time::sleep(PERIOD).await;
            }
            Ok(())
        })
    }

    async fn look(&self, handle: &Handle, whole: bool) -> Sighting {
        let begun = Instant::now();
        let before = self.attached.all();
        let mut chains = BTreeMap::new();
        let mut failed = None;
        for (place, held) in &before {
            match self.chain(handle, place, held.by).await {
                Ok(chain) => drop(chains.insert(*place, chain)),
                Err(error) => {
                    failed = Some(format!("cannot look at what is attached to pods' interfaces: {error:#}"));
                }
            }
        }
        let hooks = begun.elapsed();
        let mut elsewhere = None;
        if whole {
            match self.others(handle).await {
                Ok(found) => elsewhere = Some(found),
                Err(error) => {
                    failed =
                        Some(format!("cannot look at the programs on this host's interfaces: {error:#}"));
                }
            }
        }
        // What has been attached or taken off meanwhile is looked at the next time.
        let now = self.attached.all();
        chains.retain(|place, _| before.get(place) == now.get(place));
        let (lost, ahead) = compare(&before, chains);
        if let Some(found) = &mut elsewhere {
            found.retain(|foreign| {
                !now.values().any(|ours| ours.program == foreign.program.id)
                    && !ahead.get(&foreign.ifindex).is_some_and(|ahead| ahead.contains(&foreign.program))
            });
        }
        debug!(count = before.len(), whole, took = ?hooks, all = ?begun.elapsed(), "hooks are looked at");
        Sighting { begun, lost, ahead, elsewhere, enforcers: None, failed }
    }

    /// Other engines, by the programs that were seen among other things.
    fn enforcers(&self, sighting: &Sighting) -> Result<Enforcers, String> {
        let elsewhere = sighting.elsewhere.iter().flatten().map(|foreign| &foreign.program);
        let programs = elsewhere.chain(sighting.ahead.values().flatten());
        let names: Vec<&str> = programs.map(|program| &*program.name).collect();
        enforcers::find(&names, &self.bpffs)
            .map_err(|error| format!("cannot look for other engines: {error}"))
    }

    /// What runs where an entry of ours is to be, in its order; `None` when the interface is gone.
    async fn chain(
        &self,
        handle: &Handle,
        place: &Attachment,
        by: Holder,
    ) -> anyhow::Result<Option<Vec<(At, u32)>>> {
        let side = Side::of(place.direction);
        let Some(ids) = of_interface(tcx_programs(place.ifindex, side))? else { return Ok(None) };
        let mut chain: Vec<_> = ids.into_iter().map(|id| (At::Tcx(side), id)).collect();
        if by == Holder::Filter {
            let filters = programs::filters(handle, place.ifindex, side).await?;
            chain.extend(filters.into_iter().map(|id| (At::Filter(side), id)));
            // One that is gone is said to have no filters.
            if !links::is_there(place.ifindex) {
                return Ok(None);
            }
        }
        Ok(Some(chain))
    }

    /// Every program on this host's interfaces but for our gates.
    async fn others(&self, handle: &Handle) -> anyhow::Result<BTreeSet<Foreign>> {
        let links = links::list(handle).await.context("cannot list the interfaces of this host")?;
        let filtered = programs::with_filters(handle).await.context("cannot list queueing disciplines")?;
        let ours: BTreeSet<u32> = self.attached.all().into_values().map(|held| held.program).collect();
        let mut found = BTreeSet::new();
        for link in links.values() {
            let mut programs = Vec::new();
            programs.extend(link.xdp.filter(|id| *id != self.own_xdp).map(|id| (At::Xdp, id)));
            for side in Side::ALL {
                let ids = of_interface(tcx_programs(link.ifindex, side))?.unwrap_or_default();
                programs.extend(ids.into_iter().map(|id| (At::Tcx(side), id)));
                if filtered.contains(&link.ifindex) {
                    let ids = programs::filters(handle, link.ifindex, side).await?;
                    programs.extend(ids.into_iter().map(|id| (At::Filter(side), id)));
                }
            }
            let foreign = programs.into_iter().filter(|(_, id)| !ours.contains(id));
            found.extend(foreign.map(|(at, id)| Foreign {
                ifindex: link.ifindex,
                interface: link.name.clone(),
                program: Program::new(at, id),
            }));
        }
        Ok(found)
    }
}

/// What the kernel says of an interface; `None` when that is gone.
fn of_interface(said: io::Result<Vec<u32>>) -> anyhow::Result<Option<Vec<u32>>> {
    match said {
        Ok(ids) => Ok(Some(ids)),
        Err(error) if error.raw_os_error() == Some(libc::ENODEV) => Ok(None),
        Err(error) => Err(error).context("the kernel does not say what an interface carries at tc"),
    }
}

/// Which of our entries are gone, and what runs before those that are there.
fn compare(
    wanted: &BTreeMap<Attachment, Hold>,
    chains: BTreeMap<Attachment, Option<Vec<(At, u32)>>>,
) -> (BTreeMap<Attachment, Hold>, BTreeMap<u32, BTreeSet<Program>>) {
    let (mut lost, mut ahead) = (BTreeMap::new(), BTreeMap::<u32, BTreeSet<Program>>::new());
    for (place, chain) in chains {
        let (Some(chain), Some(ours)) = (chain, wanted.get(&place)) else { continue };
        match chain.iter().position(|(_, id)| *id == ours.program) {
            None => drop(lost.insert(place, *ours)),
            Some(0) => {}
            Some(first) => {
                let before = chain[..first].iter().map(|(at, id)| Program::new(*at, *id));
                ahead.entry(place.ifindex).or_default().extend(before);
            }
        }
    }
    (lost, ahead)
}

#[cfg(test)]
mod tests;
