//! Which classifiers an interface carries: an entry per direction, attached once and pinned, that calls what
//! `programs` holds for its cell.
//!
//! From the pod's side to tc's: a pod's egress is tc ingress of the host's interface, its ingress tc egress
//! ([`tc_side`]).

use std::path::{Path, PathBuf};

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
    tables::{ENDPOINT_LIVE, INTERFACE_ENDPOINT, Interface, program_cell},
};
use netpol_policy::engine::HookLevel;

use super::{
    Attachment, Datapath, Error,
    apply::{gone, named},
    fault, object, sys,
};

/// Our filters where there are no TCX links: the first of the chain, and recognised by this handle.
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

/// The classifier for a direction at a level.
const fn classifier(level: HookLevel, direction: Direction) -> Option<&'static str> {
    match (level, direction) {
        (HookLevel::None, _) | (HookLevel::SourceCheck, Direction::Ingress) => None,
        (HookLevel::SourceCheck, Direction::Egress) => Some("source_check"),
        (HookLevel::Full, Direction::Egress) => Some("from_pod"),
        (HookLevel::Full, Direction::Ingress) => Some("to_pod"),
    }
}

/// By what the classifiers are attached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Attach {
    /// By TCX links where the kernel has them, since 6.6 (commit e420bed02507), else by filters.
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
    /// Gives an interface the classifiers of a level. What it carries already is kept.
    pub(super) fn hook(&mut self, slot: u32, ifindex: u32, level: HookLevel) -> Result<(), Error> {
        if level == HookLevel::None {
            return self.unhook(slot, ifindex);
        }
        if level == HookLevel::Full {
            self.make_flow_table(slot)?;
        }
        fault::point();
        self.say(Interface { ifindex, kind: INTERFACE_ENDPOINT, slot })?;
        for direction in Direction::ALL {
            match classifier(level, direction) {
                Some(name) => {
                    fault::point();
                    self.set_program(slot, direction, name)?;
                    fault::point();
                    self.attach(slot, ifindex, direction)?;
                }
                None => {
                    self.detach(slot, ifindex, direction)?;
                    self.clear_program(slot, direction)?;
                }
            }
        }
        if level == HookLevel::Full {
            // It carries what it is to carry, whatever else is still to be hooked.
            self.open_gate(ifindex)?;
        } else {
            self.drop_flow_table(slot)?;
        }
        self.hooks.insert(slot, (ifindex, level));
        self.unswitched.remove(&slot);
        Ok(())
    }

    /// Takes off an interface what a slot has there, and the slot's flows. What another slot has there by now stays.
    pub(super) fn unhook(&mut self, slot: u32, ifindex: u32) -> Result<(), Error> {
        for direction in Direction::ALL {
            self.detach(slot, ifindex, direction)?;
            self.clear_program(slot, direction)?;
        }
        self.forget_interface(Interface { ifindex, kind: INTERFACE_ENDPOINT, slot })?;
        self.hooks.remove(&slot);
        self.unswitched.remove(&slot);
        self.drop_flow_table(slot)
    }

    /// What an interface carries, by slot.
    #[must_use]
    pub fn hooks(&self) -> &std::collections::BTreeMap<u32, (u32, HookLevel)> {
        &self.hooks
    }

    /// Takes an endpoint down: it is not live any more, carries nothing, and its flows go.
    pub(super) fn forget_endpoint(&mut self, slot: u32) -> Result<(), Error> {
        let ifindex = self.hooks.get(&slot).map_or(0, |(ifindex, _)| *ifindex);
        self.unhook(slot, ifindex)?;
        if let Some(mut entry) = self.tables.endpoints.get(slot) {
            entry.flags &= !ENDPOINT_LIVE;
            self.tables.endpoints.set_identity(slot, &entry);
        }
        self.forget_takeover(slot);
        Ok(())
    }

    fn set_program(&mut self, slot: u32, direction: Direction, name: &str) -> Result<(), Error> {
        let program = self
            .programs
            .get(name)
            .ok_or_else(|| Error::Missing { what: "program", name: name.to_owned() })?;
        self.tables.programs.set(program_cell(slot, direction), program, 0).map_err(named("PROGRAMS"))
    }

    fn clear_program(&mut self, slot: u32, direction: Direction) -> Result<(), Error> {
        gone(self.tables.programs.clear_index(&program_cell(slot, direction))).map_err(named("PROGRAMS"))
    }

    pub(super) fn link_pin(&self, slot: u32, direction: Direction) -> PathBuf {
        self.folder.join("links").join(format!("{slot}-{}", direction.name()))
    }

    /// Attaches the entry, or replaces the one that is there: never by detach and attach.
    pub(super) fn attach(&mut self, slot: u32, ifindex: u32, direction: Direction) -> Result<(), Error> {
        let place = Attachment { slot, ifindex, direction };
        if self.attached.program(place).is_some() {
            return Ok(());
        }
        let mut object = self.entries.make(slot, direction)?;
        let entry = object::program(&mut object, ENTRY)?;
        let interface = Self::interface_name(ifindex)?;
        let failed =
            |source| Error::Attach { interface: interface.clone(), direction: direction.name(), source };
        let id = entry.info().map_err(failed)?.id();
        if self.attach.by_links() {
            self.attach_link(place, &interface, entry)?;
        } else {
            attach_filter(&interface, direction, entry).map_err(failed)?;
        }
        self.attached.insert(place, id);
        Ok(())
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
    fn detach(&mut self, slot: u32, ifindex: u32, direction: Direction) -> Result<(), Error> {
        self.attached.remove(Attachment { slot, ifindex, direction });
        if self.attach.by_links() {
            return release_link(&self.link_pin(slot, direction));
        }
        // All filters have one name: another slot's is told by the table.
        let own = self.is_said(Interface { ifindex, kind: INTERFACE_ENDPOINT, slot });
        match Self::interface_name(ifindex).ok().filter(|_| own) {
            Some(interface) => detach_filter(&interface, direction).map(drop),
            None => Ok(()),
        }
    }

    /// The name that an interface has now.
    pub(super) fn interface_name(ifindex: u32) -> Result<String, Error> {
        nix::net::if_::if_indextoname(ifindex)
            .ok()
            .and_then(|name| name.into_string().ok())
            // What was never hooked has index 0, which some C libraries name "".
            .filter(|name| !name.is_empty())
            .ok_or(Error::NoInterface { ifindex })
    }
}

/// Detaches a pinned link and removes its pin; one that is not there is what was wanted, and what is no link only goes.
pub(super) fn release_link(pin: &Path) -> Result<(), Error> {
    use std::io::ErrorKind::{InvalidInput, NotFound};
    if pin.is_dir() {
        return remove_whatever(pin);
    }
    match sys::detach_link(pin) {
        Err(source) if !matches!(source.kind(), NotFound | InvalidInput) => {
            Err(Error::Folder { path: pin.to_owned(), source })
        }
        _ => remove_pin(pin),
    }
}

pub(super) fn remove_pin(pin: &Path) -> Result<(), Error> {
    // Asked first: where nothing can be changed that is the answer to any removal.
    if std::fs::symlink_metadata(pin).is_err() {
        return Ok(());
    }
    match std::fs::remove_file(pin) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Folder { path: pin.to_owned(), source })
        }
        _ => Ok(()),
    }
}

/// Removes what is in the place of a pin, a folder too.
pub(super) fn remove_whatever(pin: &Path) -> Result<(), Error> {
    if !pin.is_dir() {
        return remove_pin(pin);
    }
    std::fs::remove_dir_all(pin).map_err(|source| Error::Folder { path: pin.to_owned(), source })
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
