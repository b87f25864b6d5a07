//! The embedded eBPF objects, loaded with every map pinned.

use std::{fs, path::Path};

use aya::{Ebpf, EbpfLoader, include_bytes_aligned, programs::SchedClassifier};

use netpol_common::{
    flow::{Timeouts, table::Hashing},
    tables::{Peer, Rule},
};
use nix::{
    errno::Errno,
    time::{ClockId, clock_getres},
};

use super::{Error, Reports, Sizes, buckets::Named as _, events, flow_tables, layout, pins, raw::Raw};

/// The classifiers, with all maps.
pub(super) const CLASSIFIERS: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/classifiers"));
/// The entry of one endpoint and direction.
pub(super) const ENTRY: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/entry"));
/// What closes the interface of a pod that is not known yet.
pub(super) const GATE: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/gate"));

/// The classifier that does nothing, for the bench.
pub(super) const EMPTY: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/empty"));
/// The classifier of the common shape, for the bench.
pub(super) const COMMON_SHAPE: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/common_shape"));
/// What makes a test run's packet another one each time, for the bench.
pub(super) const CYCLE: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/cycle"));

/// The classifiers in the object, those that are called before the one that calls them.
pub(super) const PROGRAMS: [&str; 3] = [SHORT_WAY, SOURCE_CHECK, LONG_WAY];
/// What the entries of a pod call that a policy selects.
pub(super) const SHORT_WAY: &str = "short_way";
/// What the entry of another pod's egress calls, on a node where one is isolated.
pub(super) const SOURCE_CHECK: &str = "source_check";
/// What both of these call for all that they do not see at once.
pub(super) const LONG_WAY: &str = "long_way";

/// The program that returns the classifiers' time.
pub(super) const CLOCK: &str = "clock";

/// Maps that are pinned: all but one packet's working memory.
pub(super) const PINNED: &[&str] = &[
    "ENDPOINTS",
    Peer::BUCKETS,
    "PEERS",
    "PREFIXES",
    "POLICY_SETS",
    Rule::BUCKETS,
    "RULES",
    "PORT_SETS",
    "PORT_CHUNKS",
    "FRONTENDS",
    "BACKENDS",
    "MEMBERS",
    "SOURCES",
    "INTERFACES",
    "FLOW_TABLES",
    "FRAGMENTS",
    "RINGS",
    "EVENTS",
    "COUNTS",
    "RATES",
    "PROGRAMS",
    "INTERNED",
];

/// What is set in the programs before they are loaded.
pub(super) struct Constants {
    pub(super) timeouts: Timeouts,
    pub(super) hashing: Hashing,
    pub(super) reports: Reports,
}

/// Loads the classifiers' maps, new ones or those that an earlier agent left, and parses the programs.
///
/// `maps` is the folder for pins, or `None` to pin nothing.
pub(super) fn load(maps: Option<&Path>, sizes: &Sizes, constants: &Constants) -> Result<Ebpf, Error> {
    let (timeouts, hashing) = (Raw(constants.timeouts), Raw(constants.hashing));
    let reports = constants.reports.bits();
    let jiffy = jiffy()?;
    let ring_mask = events::ring_len(maps, sizes)? - 1;
    let peer_buckets = pins::entries(maps, Peer::BUCKETS, sizes.peer_buckets())?;
    let rule_buckets = pins::entries(maps, Rule::BUCKETS, sizes.rule_buckets())?;
    let mut loader = EbpfLoader::new();
    // None of them looks at the kernel's own types.
    loader.btf(None);
    loader.override_global("TIMEOUTS", &timeouts, true);
    loader.override_global("JIFFY", &jiffy, true);
    loader.override_global("RING_MASK", &ring_mask, true);
    loader.override_global("HASHING", &hashing, true);
    loader.override_global("REPORTS", &reports, true);
    loader.override_global("PEER_BUCKET_COUNT", &peer_buckets, true);
    loader.override_global("RULE_BUCKET_COUNT", &rule_buckets, true);
    for (name, entries) in sizes.by_map()? {
        loader.map_max_entries(name, entries);
    }
    if let Some(folder) = maps {
        // aya takes a pinned map as it is, whatever its shape: that was compared (see `layout`).
        for name in PINNED {
            loader.map_pin_path(name, folder.join(name));
        }
    }
    loader.load(CLASSIFIERS).map_err(|source| Error::Load { source })
}

/// Nanoseconds of a jiffy: the resolution of the kernel's coarse clocks.
fn jiffy() -> Result<u32, Error> {
    let resolution =
        clock_getres(ClockId::CLOCK_MONOTONIC_COARSE).map_err(|source| Error::Clock { source })?;
    u32::try_from(resolution.tv_nsec()).map_err(|_| Error::Clock { source: Errno::ERANGE })
}

/// Takes away the pins of maps that this version does not have: those that another one has left would keep their memory.
/// What still runs with them keeps them until it goes.
pub(super) fn forget_others(bpffs: &Path) -> Result<(), Error> {
    let cells = [flow_tables::HASHING, layout::NAME];
    let is_ours = |name: &str| [PINNED, &cells, &layout::SAID].iter().any(|names| names.contains(&name));
    forget_unless(&bpffs.join("maps"), &is_ours)?;
    forget_unless(&bpffs.join(flow_tables::FOLDER), &|name| name.parse::<u32>().is_ok())
}

fn forget_unless(folder: &Path, is_ours: &dyn Fn(&str) -> bool) -> Result<(), Error> {
    let failed = |source| Error::Folder { path: folder.to_owned(), source };
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !is_ours(&entry.file_name().to_string_lossy()) {
            pins::remove_whatever(&entry.path())?;
        }
    }
    Ok(())
}

/// A program of an object.
pub(super) fn program<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut SchedClassifier, Error> {
    object
        .program_mut(name)
        .ok_or_else(|| Error::Missing { what: "program", name: name.to_owned() })?
        .try_into()
        .map_err(|source| Error::Program { name: name.to_owned(), source })
}
