//! The kernel's side of the engine: loads the classifiers, keeps every map, link and program pinned, applies table
//! operations, hooks interfaces, and hands out events and counters.
//!
//! It knows nothing of Kubernetes' objects: only slots, interfaces and tables.

mod alive;
mod apply;
mod aside;
mod attach;
mod attached;
mod buckets;
mod cell;
mod claim;
mod entries;
mod error;
mod events;
mod fault;
mod flow_tables;
mod gate;
mod hooks;
mod interfaces;
mod layout;
mod live;
#[cfg(feature = "bpf-log")]
mod log;
mod mapped;
mod mend;
mod object;
mod pins;
mod raw;
mod recover;
mod sizes;
mod sys;
mod tables;
mod takeover;
mod test_run;
mod told;
mod uninstall;
mod verify;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use aya::{Ebpf, programs::ProgramFd};
use netpol_common::{flow::Timeouts, tables::LONG_WAY_CELL};
use netpol_policy::engine::{HookLevel, Recovered};
use tracing::warn;

pub(crate) use self::takeover::netlink_dump;
pub use self::{
    alive::Alive,
    attach::Attach,
    attached::{Attached, Attachment, Hold, Holder, Side, program_name, tcx_programs},
    buckets::{Buckets, Peers, Rules},
    claim::Claim,
    error::Error,
    events::{Counters, Events, Reports},
    gate::Gate,
    hooks::Classifier,
    live::{Entry, Hook, Meeting, Met, first_packet},
    sizes::Sizes,
    takeover::{Surroundings, TakenOver},
    test_run::{CommonShape, Cycle, Measured, Ran, TestRun, test_run},
    told::Told,
    uninstall::{Uninstalled, uninstall},
    verify::{Verified, verify_programs},
};
use self::{entries::Entries, tables::Tables};

/// How the datapath is opened.
#[derive(Clone, Debug)]
pub struct Options {
    /// The folder for pins, on bpffs.
    pub bpffs: PathBuf,
    /// Sizes of tables that are made anew.
    pub sizes: Sizes,
    /// When idle flows are forgotten.
    pub timeouts: Timeouts,
    /// By what the classifiers are attached.
    pub attach: Attach,
    /// Which verdicts make an event.
    pub reports: Reports,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            bpffs: PathBuf::from("/sys/fs/bpf/netpol"),
            sizes: Sizes::default(),
            timeouts: Timeouts::DEFAULT,
            attach: Attach::Auto,
            reports: Reports::All,
        }
    }
}

/// The tables, programs and hooks of this node.
pub struct Datapath {
    folder: PathBuf,
    sizes: Sizes,
    attach: Attach,
    tables: Tables,
    timeouts: Timeouts,
    /// How the tables of flows are hashed.
    hashing: netpol_common::flow::table::Hashing,
    /// The loaded object: its programs live as long as it, and beyond it in the pinned array of programs.
    object: Ebpf,
    /// The classifiers by name.
    programs: BTreeMap<&'static str, ProgramFd>,
    entries: Entries,
    /// What each slot's interface carries.
    hooks: BTreeMap<u32, (u32, HookLevel)>,
    /// Entries that this process has attached or replaced.
    attached: Attached,
    /// Where new interfaces are.
    steps: gate::Steps,
    /// What becomes of connections that are open when a pod is hooked first.
    takeover: takeover::Takeover,
    /// Tables of another layout by which some pods may still be judged.
    aside: aside::Aside,
    /// Slots whose interfaces carry what an earlier agent has attached, until they are hooked with their flows.
    unswitched: BTreeSet<u32>,
    /// Verdicts that were lost with tables that were put aside.
    lost: u64,
}

fn make_folder(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|source| Error::Folder { path: path.to_owned(), source })
}

impl Datapath {
    /// Opens the tables in a folder of bpffs, new ones or those that an earlier agent left, with what they hold, and
    /// loads the classifiers. Nothing is attached or replaced yet.
    ///
    /// # Errors
    ///
    /// Missing rights, a bpffs that is not mounted, a program that the kernel refuses.
    pub fn open(options: Options) -> Result<(Self, Recovered), Error> {
        let Options { bpffs, sizes, timeouts, attach, reports } = options;
        let maps = bpffs.join("maps");
        make_folder(&maps)?;
        make_folder(&bpffs.join("links"))?;
        make_folder(&bpffs.join(flow_tables::FOLDER))?;
        if let Some(why) = layout::check(&bpffs, &sizes)? {
            warn!(
                "the pinned tables are not this version's or are damaged ({why}): they stay in force until each pod is switched to new ones"
            );
        }
        object::forget_others(&bpffs)?;
        let hashing = flow_tables::hashing(&maps, &sizes)?;
        let mut object =
            object::load(Some(&maps), &sizes, &object::Constants { timeouts, hashing, reports })?;
        #[cfg(feature = "bpf-log")]
        log::follow(&mut object);
        let mut programs = BTreeMap::new();
        for name in object::PROGRAMS {
            let failed = |source| Error::Program { name: name.to_owned(), source };
            let program = object::program(&mut object, name)?;
            program.load().map_err(failed)?;
            let fd = program.fd().map_err(failed)?.try_clone().map_err(|source| Error::Map { source })?;
            programs.insert(name, fd);
        }
        let clock = object::program(&mut object, object::CLOCK)?;
        clock.load().map_err(|source| Error::Program { name: object::CLOCK.to_owned(), source })?;
        let tables = Tables::new(&mut object)?;
        let mut datapath = Self {
            folder: bpffs.clone(),
            sizes,
            attach,
            tables,
            timeouts,
            hashing,
            object,
            programs,
            entries: Entries::new(&maps)?,
            hooks: BTreeMap::new(),
            attached: Attached::default(),
            steps: gate::Steps::default(),
            takeover: takeover::Takeover::default(),
            aside: aside::Aside::of(&bpffs),
            unswitched: BTreeSet::new(),
            lost: 0,
        };
        // It is asked by whichever agent's short way.
        datapath.set_program(LONG_WAY_CELL, object::LONG_WAY)?;
        let new = !layout::is_complete(&maps);
        if new {
            datapath.take_slots_over()?;
        }
        let recovered = datapath.recover()?;
        if !new {
            // Of an agent that was killed after it had switched the last pod.
            datapath.forget_aside();
        }
        Ok((datapath, recovered))
    }
}
