//! Which entries are attached where, for whoever looks whether they still are; and what an interface really carries.

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aya::programs::TcAttachType;
use netpol_common::Direction;

use super::{attach::tc_side, sys};

/// A place for an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attachment {
    /// The endpoint's slot.
    pub slot: u32,
    /// The host's interface.
    pub ifindex: u32,
    /// The pod's direction.
    pub direction: Direction,
}

/// What holds an entry in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// A TCX link.
    Link,
    /// A filter of clsact, which runs after all of TCX.
    Filter,
}

/// An entry in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// The kernel's id of its program.
    pub program: u32,
    /// By what.
    pub by: Holder,
}

/// The entries that this process has attached or replaced. One that is there was attached when it was put in: whoever does not
/// find it afterwards knows that somebody has taken it off.
#[derive(Clone, Debug, Default)]
pub struct Attached(Arc<Mutex<BTreeMap<Attachment, Hold>>>);

impl Attached {
    fn locked(&self) -> MutexGuard<'_, BTreeMap<Attachment, Hold>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// All of them now.
    #[must_use]
    pub fn all(&self) -> BTreeMap<Attachment, Hold> {
        self.locked().clone()
    }

    /// What is in a place.
    pub(super) fn at(&self, place: Attachment) -> Option<Hold> {
        self.locked().get(&place).copied()
    }

    pub(super) fn insert(&self, place: Attachment, held: Hold) {
        self.locked().insert(place, held);
    }

    pub(super) fn remove(&self, place: Attachment) -> Option<Hold> {
        self.locked().remove(&place)
    }
}

/// A side of an interface, in tc's sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// What comes in by it.
    Ingress,
    /// What goes out by it.
    Egress,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];

    /// The side of the host's interface where a direction of the pod is judged.
    #[must_use]
    pub fn of(direction: Direction) -> Self {
        if tc_side(direction) == TcAttachType::Egress { Self::Egress } else { Self::Ingress }
    }
}

impl fmt::Display for Side {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        })
    }
}

/// The ids of the programs that an interface carries by TCX, in the order in which they run; none where the kernel has no
/// TCX. It waits for the lock that every change of interfaces holds.
///
/// # Errors
///
/// ENODEV when there is no such interface, or what the kernel says.
pub fn tcx_programs(ifindex: u32, side: Side) -> io::Result<Vec<u32>> {
    sys::tcx_programs(ifindex, side == Side::Egress)
}

/// A program's name; `None` without CAP_SYS_ADMIN, and when it is gone.
#[must_use]
pub fn program_name(id: u32) -> Option<String> {
    sys::program_name(id)
}
