//! A network namespace: work on a thread of its own, programs in a child. The process's own namespace never changes.

use std::ffi::CString;
use std::fs::{self, File};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;

use anyhow::{Context as _, Result, anyhow};
use nix::sched::{CloneFlags, setns};

use super::claim;
use crate::command;

/// A network namespace with a name; copies are the same namespace. The name goes with the last copy.
#[derive(Debug, Clone)]
pub struct Namespace(Arc<Named>);

#[derive(Debug)]
struct Named {
    name: String,
    path: PathBuf,
    file: File,
    /// Whether the name was made here.
    owned: bool,
}

impl Drop for Named {
    fn drop(&mut self) {
        if self.owned {
            claim::remove_namespace(&self.path);
        }
    }
}

impl Namespace {
    /// Makes one, with `lo` up and without waiting for duplicate address detection on any interface.
    pub(crate) fn new(name: &str) -> Result<Self> {
        let path = claim::make_namespace(name)?;
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        let namespace = Self(Arc::new(Named { name: name.to_owned(), path, file, owned: true }));
        for sysctl in ["net/ipv6/conf/all/accept_dad", "net/ipv6/conf/default/accept_dad"] {
            namespace.sysctl(sysctl, "0")?;
        }
        namespace.batch("link set lo up\n")?;
        Ok(namespace)
    }

    /// One that somebody else made and removes, such as `/proc/PID/ns/net`. The name is for messages.
    ///
    /// # Errors
    /// When its file cannot be opened.
    pub fn opened(name: &str, path: PathBuf) -> Result<Self> {
        let file = File::open(&path).with_context(|| format!("cannot open {}", path.display()))?;
        Ok(Self::with_file(name, path, file))
    }

    /// As [`opened`](Self::opened), with its file open already.
    pub(crate) fn with_file(name: &str, path: PathBuf, file: File) -> Self {
        Self(Arc::new(Named { name: name.to_owned(), path, file, owned: false }))
    }

    /// As `ip netns` shows it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Its file, for `nsenter --net=FILE`.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0.path
    }

    /// Does some work on a thread that is in this namespace and ends with the work. Sockets that the work returns
    /// stay in the namespace, on whatever thread they are used.
    ///
    /// # Errors
    /// When the thread cannot enter the namespace. A panic of the work goes on in the caller.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        let entered = thread::scope(|scope| {
            scope
                .spawn(|| {
                    // setns is per thread, and this thread does nothing else afterwards.
                    setns(&self.0.file, CloneFlags::CLONE_NEWNET)?;
                    Ok(work())
                })
                .join()
        });
        match entered {
            Ok(result) => result.map_err(|error: nix::Error| error).with_context(|| self.cannot_enter()),
            Err(panic) => resume_unwind(panic),
        }
    }

    /// Lets a command run in this namespace. All else stays as the caller's: mounts above all, since the BPF file system
    /// would be hidden otherwise.
    pub fn enter(&self, command: &mut Command) {
        let file = Arc::clone(&self.0);
        let enter = move || {
            // SAFETY: setns takes no memory of ours; it may be called between fork and exec.
            match unsafe { libc::setns(file.file.as_raw_fd(), libc::CLONE_NEWNET) } {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        };
        // SAFETY: the closure makes one system call and allocates nothing.
        unsafe { command.pre_exec(enter) };
    }

    /// Lets a command see other files in the place of some of the machine's, in a mount namespace of its own: `(what, where)`.
    ///
    /// # Errors
    /// When a path holds a zero byte.
    pub fn bind_files(command: &mut Command, files: &[(PathBuf, PathBuf)]) -> Result<()> {
        let mut binds = Vec::new();
        for (what, place) in files {
            // A place may be a link; a mount on it would be refused or go elsewhere.
            let place =
                fs::canonicalize(place).with_context(|| format!("cannot find {}", place.display()))?;
            binds.push((
                CString::new(what.as_os_str().as_bytes())?,
                CString::new(place.as_os_str().as_bytes())?,
            ));
        }
        let mount = move || {
            let null = std::ptr::null();
            // SAFETY: plain system calls with strings that outlive them; nothing is allocated between fork and exec.
            let all = unsafe {
                libc::unshare(libc::CLONE_NEWNS) == 0
                    && libc::mount(null, c"/".as_ptr(), null, libc::MS_REC | libc::MS_PRIVATE, null.cast())
                        == 0
                    && binds.iter().all(|(what, place)| {
                        libc::mount(what.as_ptr(), place.as_ptr(), null, libc::MS_BIND, null.cast()) == 0
                    })
            };
            if all { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        };
        // SAFETY: the closure only makes system calls.
        unsafe { command.pre_exec(mount) };
        Ok(())
    }

    /// Lets a command find nothing new that it makes in a folder, in a mount namespace of its own; what is there it can
    /// use and change.
    ///
    /// # Errors
    /// When the path holds a zero byte.
    pub fn keep_from_making(command: &mut Command, folder: &Path) -> Result<()> {
        let folder = CString::new(folder.as_os_str().as_bytes())?;
        let mount = move || {
            let null = std::ptr::null();
            let read_only = libc::MS_BIND | libc::MS_REMOUNT | libc::MS_RDONLY;
            // SAFETY: plain system calls with strings that outlive them; nothing is allocated between fork and exec.
            let all = unsafe {
                libc::unshare(libc::CLONE_NEWNS) == 0
                    && libc::mount(null, c"/".as_ptr(), null, libc::MS_REC | libc::MS_PRIVATE, null.cast())
                        == 0
                    && libc::mount(folder.as_ptr(), folder.as_ptr(), null, libc::MS_BIND, null.cast()) == 0
                    && libc::mount(null, folder.as_ptr(), null, read_only, null.cast()) == 0
            };
            if all { Ok(()) } else { Err(std::io::Error::last_os_error()) }
        };
        // SAFETY: the closure only makes system calls.
        unsafe { command.pre_exec(mount) };
        Ok(())
    }

    /// Lets a command be killed when the thread that started it ends: for clients that are waited for at once, so that
    /// none outlives an interruption.
    pub fn die_with_thread(command: &mut Command) {
        let bind = || {
            // SAFETY: one system call that takes numbers only.
            match unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) } {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        };
        // SAFETY: the closure makes one system call and allocates nothing.
        unsafe { command.pre_exec(bind) };
    }

    /// Runs lines of `ip -batch` in this namespace.
    ///
    /// # Errors
    /// When one of them fails.
    pub fn batch(&self, lines: &str) -> Result<()> {
        let mut ip = Command::new("ip");
        ip.args(["-batch", "-"]);
        self.enter(&mut ip);
        command::feed_command(ip, lines).map(drop).with_context(|| format!("in {}", self.name()))
    }

    /// The hardware address of one of its interfaces.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn hardware(&self, interface: &str) -> Result<[u8; 6]> {
        let mut ip = Command::new("ip");
        ip.args(["-brief", "link", "show", "dev", interface]);
        self.enter(&mut ip);
        let text = command::feed_command(ip, "")?;
        let address = text.split_whitespace().nth(2).unwrap_or_default();
        let bytes: Vec<u8> =
            address.split(':').filter_map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
        bytes.try_into().map_err(|_| anyhow!("{interface} has no hardware address: {text}"))
    }

    /// Writes a sysctl below `/proc/sys/net` of this namespace (a path such as `net/ipv4/ip_forward`).
    ///
    /// # Errors
    /// When there is no such sysctl.
    pub fn sysctl(&self, path: &str, value: &str) -> Result<()> {
        // Which namespace `/proc/sys/net` shows is decided by the thread that opens it.
        self.run(|| fs::write(Path::new("/proc/sys").join(path), value))?
            .with_context(|| format!("cannot set {path} in {}", self.name()))
    }

    fn cannot_enter(&self) -> String {
        format!("cannot enter the network namespace {}", self.name())
    }
}
