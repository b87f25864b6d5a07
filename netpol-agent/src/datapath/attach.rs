//! How an entry gets to its place and off it, without a packet that goes unjudged.
//!
//! A TCX link is pinned, comes first, and nobody takes it off by deleting a queueing discipline. But attaching one waits for
//! a grace period under the lock that every change of interfaces needs, and pods that start at the same time wait for each
//! other's. A filter of clsact waits for none: it holds the entry of a new interface until nothing starts.

use std::{ops::Bound, path::PathBuf};

use aya::{
    programs::{
        LinkOrder, ProgramError, SchedClassifier, TcAttachType,
        links::{FdLink, PinnedLink},
        tc::{
            NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact,
            qdisc_detach_program,
        },
    },
    util::KernelVersion,
};
use netpol_common::{
    Direction,
    tables::{INTERFACE_ENDPOINT, Interface},
};
use tracing::debug;

use super::{
    Attachment, Datapath, Error,
    attached::{Hold, Holder},
    fault, object,
    pins::{release_link, remove_pin, remove_whatever},
    sys,
};

/// Our filters: the first of the chain, and recognised by this handle.
const PRIORITY: u16 = 1;
const HANDLE: u32 = 0x6e70;

/// The name of the entry's program, by which filters are found again.
pub(super) const ENTRY: &str = "netpol_entry";

/// tc's name for a direction of the pod, as the host's end of the veth sees it.
pub(super) const fn tc_side(direction: Direction) -> TcAttachType {
    match direction {
        Direction::Ingress => TcAttachType::Egress,
        Direction::Egress => TcAttachType::Ingress,
    }
}

/// By what the classifiers are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attach {
    /// By TCX links where the kernel has them, since 6.6 (commit e420bed02507), else by filters. What is new is held by a
    /// filter at first.
    #[default]
    Auto,
    /// By filters of clsact, as on older kernels.
    Filter,
}

impl Attach {
    /// Whether links are used.
    pub(super) fn by_links(self) -> bool {
        let has_links =
            || KernelVersion::current().is_ok_and(|version| version >= KernelVersion::new(6, 6, 0));
        matches!(self, Self::Auto) && has_links()
    }
}

impl Datapath {
    pub(super) fn link_pin(&self, slot: u32, direction: Direction) -> PathBuf {
        self.folder.join("links").join(format!("{slot}-{}", direction.name()))
    }

    /// Attaches the entry, or replaces the one that is there: never by detach and attach.
    pub(super) fn attach(&mut self, slot: u32, ifindex: u32, direction: Direction) -> Result<(), Error> {
        let place = Attachment { slot, ifindex, direction };
        if self.attached.at(place).is_some() {
            return Ok(());
        }
        if !self.attach.by_links() {
            return self.hold(place, Holder::Filter);
        }
        // What is starting is behind a gate.
        if self.is_gated(ifindex) && !self.link_pin(slot, direction).exists() {
            match self.hold(place, Holder::Filter) {
                Ok(()) => return Ok(()),
                // A queueing discipline of another kind may be in the way.
                Err(error) => debug!(slot, ifindex, "no filter: {:#}", anyhow::Error::new(error)),
            }
        }
        self.hold(place, Holder::Link)
    }

    /// Makes an entry, and lets it be held so.
    fn hold(&mut self, place: Attachment, by: Holder) -> Result<(), Error> {
        let Attachment { slot, ifindex, direction } = place;
        let mut object = self.entries.make(slot, direction)?;
        let entry = object::program(&mut object, ENTRY)?;
        let interface = Self::interface_name(ifindex)?;
        let failed =
            |source| Error::Attach { interface: interface.clone(), direction: direction.name(), source };
        let program = entry.info().map_err(failed)?.id();
        match by {
            Holder::Link => {
                self.attach_link(place, &interface, entry)?;
                fault::point();
                // What has held the entry until now, or for an earlier agent.
                detach_filter(&interface, direction)?;
            }
            Holder::Filter => attach_filter(&interface, direction, entry).map_err(failed)?,
        }
        self.attached.insert(place, Hold { program, by });
        Ok(())
    }

    /// Lets a link hold the next entry that a filter holds, where there are links: the first one after a place, in their
    /// order; `None` when there is no other one.
    pub fn hold_by_link(&mut self, after: Option<Attachment>) -> Option<(Attachment, Result<(), Error>)> {
        if !self.attach.by_links() {
            return None;
        }
        let entries = self.attached.all();
        let mut rest = entries.range((after.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded));
        let (place, _) = rest.find(|(_, held)| held.by == Holder::Filter)?;
        Some((*place, self.hold(*place, Holder::Link)))
    }

    /// By a TCX link, pinned before anything else can fail: links detach when they are dropped.
    fn attach_link(
        &self,
        place: Attachment,
        interface: &str,
        entry: &mut SchedClassifier,
    ) -> Result<(), Error> {
        let Attachment { slot, ifindex, direction } = place;
        let pin = self.link_pin(slot, direction);
        let failed =
            |source| Error::Attach { interface: interface.to_owned(), direction: direction.name(), source };
        let pin_failed = |source| Error::Link { path: pin.clone(), source };
        let egress = tc_side(direction) == TcAttachType::Egress;
        if pin.exists() && sys::link_at(&pin) != Some((ifindex, egress)) {
            // Of an interface that is gone, or not ours: somebody else's link is not to be given our program.
            remove_whatever(&pin)?;
        }
        if pin.exists() {
            let old = PinnedLink::from_pin(&pin).map_err(pin_failed)?;
            let link: SchedClassifierLink = FdLink::from(old).try_into().map_err(pin_failed)?;
            match entry.attach_to_link(link) {
                Ok(id) => {
                    // The pin holds the link; ours may go.
                    let link = entry.take_link(id).map_err(failed)?;
                    drop(link);
                    return Ok(());
                }
                // Its interface is gone; another one has taken the slot.
                Err(ProgramError::SyscallError(error))
                    if error.io_error.raw_os_error() == Some(libc::ENOLINK) =>
                {
                    remove_pin(&pin)?;
                }
                Err(source) => return Err(failed(source)),
            }
        }
        let id = entry
            .attach_with_options(interface, tc_side(direction), TcAttachOptions::TcxOrder(LinkOrder::first()))
            .map_err(failed)?;
        let link = entry.take_link(id).map_err(failed)?;
        let link: FdLink = link.try_into().map_err(pin_failed)?;
        // The pin holds the link from here on, so the handle may go.
        drop(link.pin(&pin).map_err(|source| Error::PinLink { path: pin.clone(), source })?);
        Ok(())
    }

    /// Takes the entry of one direction off.
    pub(super) fn detach(&mut self, slot: u32, ifindex: u32, direction: Direction) -> Result<(), Error> {
        let held = self.attached.remove(Attachment { slot, ifindex, direction });
        release_link(&self.link_pin(slot, direction))?;
        if held.is_some_and(|held| held.by == Holder::Link) {
            return Ok(());
        }
        // All filters have one name: another slot's is told by the table.
        let own = self.is_said(Interface { ifindex, kind: INTERFACE_ENDPOINT, slot });
        match Self::interface_name(ifindex).ok().filter(|_| own) {
            Some(interface) => detach_filter(&interface, direction).map(drop),
            None => Ok(()),
        }
    }
}

/// By a filter of clsact: fixed priority and handle, so that a later agent replaces it in place.
fn attach_filter(
    interface: &str,
    direction: Direction,
    entry: &mut SchedClassifier,
) -> Result<(), ProgramError> {
    // It is there already when an earlier agent, or somebody else, made it.
    let _exists = qdisc_add_clsact(interface);
    let handle = TcHandle::from(HANDLE);
    let options = TcAttachOptions::Netlink(NlOptions { priority: PRIORITY, handle, classid: None });
    let id = match entry.attach_with_options(interface, tc_side(direction), options) {
        Ok(id) => id,
        Err(_exists) => return replace_filter(interface, direction, entry),
    };
    // The filter must outlive this process.
    std::mem::forget(entry.take_link(id)?);
    Ok(())
}

/// Replaces our filter where there is one.
pub(super) fn replace_filter(
    interface: &str,
    direction: Direction,
    entry: &mut SchedClassifier,
) -> Result<(), ProgramError> {
    let handle = TcHandle::from(HANDLE);
    let old = SchedClassifierLink::attached(interface, tc_side(direction), PRIORITY, handle, None)
        .map_err(TcError::IoError)?;
    let id = entry.attach_to_link(old)?;
    // The filter must outlive this process.
    std::mem::forget(entry.take_link(id)?);
    Ok(())
}

/// Takes our filter off, and says whether there was one.
pub(super) fn detach_filter(interface: &str, direction: Direction) -> Result<bool, Error> {
    match qdisc_detach_program(interface, tc_side(direction), ENTRY) {
        Ok(()) => Ok(true),
        Err(TcError::IoError(error)) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(source) => Err(Error::Attach {
            interface: interface.to_owned(),
            direction: direction.name(),
            source: source.into(),
        }),
    }
}
