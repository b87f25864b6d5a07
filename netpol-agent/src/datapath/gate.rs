//! The gate of a new sandbox: nothing that a pod sends passes its interface from the moment it is seen until its endpoint
//! is judged.
//!
//! Hooking an endpoint waits for several grace periods of the kernel, one endpoint after the other, and behind whatever is
//! being compiled or written; a pod's first container does not wait for that. A gate is an XDP program that drops
//! everything, of the generic kind: attached in one step that waits for no grace period, it is met before tc, and leaves
//! queueing disciplines to the CNI's plugins, whose own would not go beside a clsact of ours. It goes when the endpoint
//! carries what it is to carry. Gates are pinned: they outlive the agent like everything that is attached.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs, io,
    os::fd::AsFd as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use aya::{
    Ebpf, EbpfLoader,
    programs::{
        ProgramError, ProgramFd, Xdp,
        links::{FdLink, PinnedLink},
        xdp::XdpLink,
    },
};
use tracing::{error, info};

use super::{
    Datapath, Error,
    hooks::{release_link, remove_pin},
    make_folder, object, sys,
};

/// Where gates are pinned, below the folder of all pins: each by the index of its interface.
pub(super) const FOLDER: &str = "gates";

/// The name of the gate's program.
pub(super) const PROGRAM: &str = "netpol_gate";

/// Closes what is new.
pub struct Gate {
    closer: Arc<Closer>,
    /// The kernel's id of its program.
    id: u32,
}

/// What the threads need that close an interface each.
struct Closer {
    program: ProgramFd,
    folder: PathBuf,
    steps: Steps,
}

/// Where an interface is between being new and being judged. One that is closed is in neither of these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    /// Its gate is being closed.
    Closing,
    /// It carries all that its endpoint is to carry: its gate is open, and is not to be closed again.
    Open,
}

/// Where each interface is.
#[derive(Clone, Default)]
pub(super) struct Steps(Arc<Mutex<BTreeMap<u32, Step>>>);

impl Steps {
    fn all(&self) -> MutexGuard<'_, BTreeMap<u32, Step>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The program, in the kernel as long as its object is held.
pub(super) fn load() -> Result<Ebpf, Error> {
    let mut object = EbpfLoader::new().load(object::GATE).map_err(|source| Error::Load { source })?;
    program(&mut object)?.load().map_err(failed)?;
    Ok(object)
}

/// The program of its object.
pub(super) fn program(object: &mut Ebpf) -> Result<&mut Xdp, Error> {
    let program = object.program_mut(PROGRAM);
    let program = program.ok_or_else(|| Error::Missing { what: "program", name: PROGRAM.to_owned() })?;
    program.try_into().map_err(failed)
}

fn failed(source: ProgramError) -> Error {
    Error::Program { name: PROGRAM.to_owned(), source }
}

fn pin(folder: &Path, ifindex: u32) -> PathBuf {
    folder.join(ifindex.to_string())
}

impl Gate {
    /// The kernel's id of its program.
    #[must_use]
    pub const fn program_id(&self) -> u32 {
        self.id
    }

    /// Begins to close an interface, unless somebody has come to judge it meanwhile. It waits its turn among all who change
    /// interfaces, such as the plugins of pods that start together; nobody waits for it.
    pub fn close(&self, ifindex: u32) {
        if let Entry::Vacant(new) = self.closer.steps.all().entry(ifindex) {
            new.insert(Step::Closing);
            let closer = Arc::clone(&self.closer);
            thread::spawn(move || closer.close(ifindex));
        }
    }

    /// Takes in that an interface is gone.
    pub fn forget(&self, ifindex: u32) {
        self.closer.steps.all().remove(&ifindex);
        self.closer.remove_pin(ifindex);
    }
}

impl Closer {
    fn close(&self, ifindex: u32) {
        // One that has gone by now needs none.
        if let Ok(interface) = Datapath::interface_name(ifindex) {
            match sys::attach_generic_xdp(self.program.as_fd(), ifindex, &pin(&self.folder, ifindex)) {
                Ok(()) => info!(interface, "a new interface is closed until its pod is known"),
                Err(source) if source.raw_os_error() == Some(libc::ENODEV) => {}
                // It is hooked nevertheless, a little later.
                Err(source) => error!("{:#}", anyhow::Error::new(Error::Gate { interface, source })),
            }
        }
        let mut steps = self.steps.all();
        if steps.get(&ifindex) == Some(&Step::Open) {
            if let Err(error) = release_link(&pin(&self.folder, ifindex)) {
                error!("{:#}", anyhow::Error::new(error));
            }
        } else {
            steps.remove(&ifindex);
        }
    }

    fn remove_pin(&self, ifindex: u32) {
        if let Err(error) = remove_pin(&pin(&self.folder, ifindex)) {
            error!("{:#}", anyhow::Error::new(error));
        }
    }
}

/// Gives gates that an earlier agent left this program, and removes those of interfaces that are gone.
fn renew(program: &mut Xdp, path: &Path) -> Result<(), Error> {
    let unreadable = |source| Error::Link { path: path.to_owned(), source };
    let link = FdLink::from(PinnedLink::from_pin(path).map_err(unreadable)?);
    let link = XdpLink::try_from(link).map_err(unreadable)?;
    match program.attach_to_link(link) {
        Ok(id) => {
            // The pin holds the link; ours may go.
            drop(program.take_link(id).map_err(failed)?);
            Ok(())
        }
        Err(ProgramError::SyscallError(error)) if error.io_error.raw_os_error() == Some(libc::ENOLINK) => {
            remove_pin(path)
        }
        Err(source) => Err(failed(source)),
    }
}

impl Datapath {
    /// What closes new interfaces.
    ///
    /// # Errors
    ///
    /// When the kernel refuses its program, or the folder for its pins.
    pub fn gate(&self) -> Result<Gate, Error> {
        let folder = self.folder.join(FOLDER);
        make_folder(&folder)?;
        let mut object = load()?;
        let program = program(&mut object)?;
        let unreadable = |source: io::Error| Error::Folder { path: folder.clone(), source };
        for entry in fs::read_dir(&folder).map_err(unreadable)? {
            renew(program, &entry.map_err(unreadable)?.path())?;
        }
        let id = program.info().map_err(failed)?.id();
        let fd = program.fd().map_err(failed)?.try_clone().map_err(|source| Error::Map { source })?;
        let closer = Closer { program: fd, folder, steps: self.steps.clone() };
        Ok(Gate { closer: Arc::new(closer), id })
    }

    /// Whether a gate closes an interface, or is about to.
    #[must_use]
    pub fn is_gated(&self, ifindex: u32) -> bool {
        self.steps.all().get(&ifindex) == Some(&Step::Closing)
            || pin(&self.folder.join(FOLDER), ifindex).exists()
    }

    /// Takes the gate off an interface that carries all that its endpoint is to carry; one that has none is as it should
    /// be.
    ///
    /// # Errors
    ///
    /// When the kernel refuses; the interface stays closed.
    pub fn open_gate(&self, ifindex: u32) -> Result<(), Error> {
        if self.steps.all().insert(ifindex, Step::Open) == Some(Step::Closing) {
            // Whoever closes it opens it again.
            return Ok(());
        }
        release_link(&pin(&self.folder.join(FOLDER), ifindex))
    }
}
