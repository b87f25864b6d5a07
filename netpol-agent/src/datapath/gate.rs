//! The gate of a new sandbox: nothing that a pod sends passes its interface from the moment it is seen until its endpoint
//! is judged.
//!
//! Hooking an endpoint waits for several grace periods of the kernel, one endpoint after the other, and behind whatever is
//! being compiled or written; a pod's first container does not wait for that. A gate is an XDP program that drops
//! everything, of the generic kind: attached in one step that waits for no grace period, it is met before tc, and leaves
//! queueing disciplines to the CNI's plugins, whose own would not go beside a clsact of ours. It goes when the endpoint
//! carries what it is to carry. Gates are pinned: they outlive the agent like everything that is attached.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    fs, io,
    os::fd::{AsFd as _, BorrowedFd},
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
    Datapath, Error, make_folder, object,
    pins::{release_link, remove_pin, remove_whatever},
    sys,
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
    /// Says that one could not be closed.
    failed: Box<dyn Fn() + Send + Sync>,
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

    /// Whether an interface is to be closed that was not to be before.
    fn begin(&self, ifindex: u32) -> bool {
        match self.all().entry(ifindex) {
            Entry::Vacant(new) => {
                new.insert(Step::Closing);
                true
            }
            Entry::Occupied(_) => false,
        }
    }

    fn is_closing(&self, ifindex: u32) -> bool {
        self.all().get(&ifindex) == Some(&Step::Closing)
    }

    /// Keeps an interface closed, unless it has been judged meanwhile, or is gone. Nobody can judge it in between: `keep`
    /// must not wait.
    fn end<T>(&self, ifindex: u32, keep: impl FnOnce() -> T) -> Option<T> {
        let mut steps = self.all();
        if steps.get(&ifindex) != Some(&Step::Closing) {
            return None;
        }
        steps.remove(&ifindex);
        Some(keep())
    }

    /// Takes in that an interface is judged; whether somebody is closing it, who will let go of it.
    fn open(&self, ifindex: u32, is_there: impl FnOnce() -> bool) -> bool {
        let mut steps = self.all();
        let closing = steps.get(&ifindex) == Some(&Step::Closing);
        // That it has gone may have been taken in already: nothing is to be left for another one with its index.
        if closing || is_there() {
            steps.insert(ifindex, Step::Open);
        } else {
            steps.remove(&ifindex);
        }
        closing
    }

    fn forget(&self, ifindex: u32) {
        self.all().remove(&ifindex);
    }
}

/// The program, in the kernel as long as its object is held. By any loader: it has no maps.
pub(super) fn load(loader: &mut EbpfLoader<'_>) -> Result<Ebpf, Error> {
    let mut object = loader.load(object::GATE).map_err(|source| Error::Load { source })?;
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

fn pins(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let listed = fs::read_dir(folder).and_then(|entries| entries.map(|entry| Ok(entry?.path())).collect());
    listed.map_err(|source| Error::Folder { path: folder.to_owned(), source })
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
        if !self.closer.steps.begin(ifindex) {
            return;
        }
        let closer = Arc::clone(&self.closer);
        if let Err(source) = thread::Builder::new().spawn(move || closer.close(ifindex)) {
            let _closing = self.closer.steps.end(ifindex, || ());
            self.closer.fail(ifindex, source);
        }
    }

    /// Takes in that an interface is gone.
    pub fn forget(&self, ifindex: u32) {
        // First, so that whoever still closes it pins nothing any more.
        self.closer.steps.forget(ifindex);
        if let Err(error) = remove_pin(&pin(&self.closer.folder, ifindex)) {
            error!("{:#}", anyhow::Error::new(error));
        }
    }
}

impl Closer {
    fn close(&self, ifindex: u32) {
        // What is judged by now is not cut off any more.
        if !self.steps.is_closing(ifindex) {
            return;
        }
        let closed = match sys::attach_generic_xdp(self.program.as_fd(), ifindex) {
            // Not pinned, it goes with the descriptor at the end; that waits for the kernel's lock, and nobody waits for it.
            Ok(link) => self.steps.end(ifindex, || self.pin(ifindex, link.as_fd())),
            Err(source) => self.steps.end(ifindex, || Err(source)),
        };
        match closed {
            Some(Ok(())) => {
                let interface = Datapath::interface_name(ifindex).unwrap_or_default();
                info!(interface, "a new interface is closed until its pod is known");
            }
            Some(Err(source)) => self.fail(ifindex, source),
            None => {}
        }
    }

    /// It is hooked nevertheless. One that has gone by now needs no gate.
    fn fail(&self, ifindex: u32, source: io::Error) {
        if let Ok(interface) = Datapath::interface_name(ifindex) {
            error!("{:#}", anyhow::Error::new(Error::Gate { interface, source }));
            (self.failed)();
        }
    }

    fn pin(&self, ifindex: u32, link: BorrowedFd<'_>) -> io::Result<()> {
        let pin = pin(&self.folder, ifindex);
        match sys::pin(link, &pin) {
            // An interface carries one gate: what is pinned is that of an earlier one with its index.
            Err(source) if source.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&pin)?;
                sys::pin(link, &pin)
            }
            other => other,
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
    /// What closes new interfaces. It calls `on_failure` when one could not be closed.
    ///
    /// # Errors
    ///
    /// When the kernel refuses its program, or the folder for its pins.
    pub fn gate(&mut self, on_failure: impl Fn() + Send + Sync + 'static) -> Result<Gate, Error> {
        let folder = self.folder.join(FOLDER);
        make_folder(&folder)?;
        let mut object = load(self.entries.loader())?;
        let program = program(&mut object)?;
        for pin in pins(&folder)? {
            match renew(program, &pin) {
                // What somebody has put there closes nothing.
                Err(Error::Link { .. }) => remove_whatever(&pin)?,
                other => other?,
            }
        }
        let id = program.info().map_err(failed)?.id();
        let fd = program.fd().map_err(failed)?.try_clone().map_err(|source| Error::Map { source })?;
        let closer = Closer { program: fd, folder, steps: self.steps.clone(), failed: Box::new(on_failure) };
        Ok(Gate { closer: Arc::new(closer), id })
    }

    /// Whether a gate closes an interface, or is about to.
    #[must_use]
    pub fn is_gated(&self, ifindex: u32) -> bool {
        self.steps.is_closing(ifindex) || self.is_closed(ifindex)
    }

    /// Whether a gate closes an interface.
    pub(super) fn is_closed(&self, ifindex: u32) -> bool {
        pin(&self.folder.join(FOLDER), ifindex).exists()
    }

    /// The interfaces that gates close.
    ///
    /// # Errors
    ///
    /// When their folder cannot be read.
    pub fn gates(&self) -> Result<BTreeSet<u32>, Error> {
        let pins = pins(&self.folder.join(FOLDER))?;
        Ok(pins.iter().filter_map(|pin| pin.file_name()?.to_str()?.parse().ok()).collect())
    }

    /// Takes the gate off an interface that carries all that its endpoint is to carry; one that has none is as it should
    /// be.
    ///
    /// # Errors
    ///
    /// When the kernel refuses; the interface stays closed.
    pub fn open_gate(&self, ifindex: u32) -> Result<(), Error> {
        if self.steps.open(ifindex, || Self::interface_name(ifindex).is_ok()) {
            return Ok(());
        }
        release_link(&pin(&self.folder.join(FOLDER), ifindex))
    }
}

#[cfg(test)]
mod tests;
