//! Programs of somebody else: two instructions that return a number, attached to an interface as long as they are held; and
//! what somebody does to ours.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result};
use netpol_tests::Namespace;
use nix::net::if_::if_nametoindex;

/// Commands of bpf(2), as in the kernel's `enum bpf_cmd`.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_DETACH: libc::c_long = 34;
/// `BPF_F_BEFORE`: without a program that it names, before all others.
const BEFORE: u32 = 1 << 3;
/// `XDP_FLAGS_SKB_MODE`.
const GENERIC: u32 = 1 << 1;
/// `r0 = NUMBER` and `exit`.
const RETURN: u64 = 0xb7;
const EXIT: u64 = 0x95;

/// Where a program is attached, and what it returns.
#[derive(Clone, Copy)]
pub(super) enum What {
    /// Ahead of all others of TCX's chain at what goes out by the interface; with TC_ACT_OK none behind it runs.
    FirstAtEgress,
    /// Behind all others there; with TCX_NEXT.
    LastAtEgress,
    /// At what comes in by it; with TCX_NEXT.
    AtIngress,
    /// As generic XDP; with XDP_PASS.
    Xdp,
}

impl What {
    /// The program's type, what it returns, the type and the flags of its attachment.
    const fn numbers(self) -> (u32, i32, u32, u32) {
        const CLASSIFIER: u32 = 3;
        match self {
            Self::FirstAtEgress => (CLASSIFIER, 0, 47, BEFORE),
            Self::LastAtEgress => (CLASSIFIER, -1, 47, 0),
            Self::AtIngress => (CLASSIFIER, -1, 46, 0),
            Self::Xdp => (6, 2, 37, GENERIC),
        }
    }
}

#[repr(C)]
struct Load {
    kind: u32,
    length: u32,
    instructions: u64,
    license: u64,
    log: [u64; 2],
    version_and_flags: [u32; 2],
    name: [u8; 16],
}

#[repr(C)]
struct Attach {
    program: u32,
    ifindex: u32,
    at: u32,
    flags: u32,
    beside: [u64; 2],
}

#[repr(C)]
struct Get {
    path: u64,
    rest: [u32; 2],
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<i32> {
    // SAFETY: the attributes are as the command wants them, and live as long as the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

fn made<T>(command: libc::c_long, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the call has just given us this descriptor.
    bpf(command, attributes).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The index of an interface.
pub(super) fn index(namespace: &Namespace, interface: &str) -> Result<u32> {
    let index = namespace.run(|| if_nametoindex(interface))?;
    index.with_context(|| format!("no interface {interface} in {}", namespace.name()))
}

/// Attaches a program of somebody else; it goes when what this returns is dropped.
pub(super) fn attach(namespace: &Namespace, interface: &str, what: What) -> Result<OwnedFd> {
    let (kind, returns, at, flags) = what.numbers();
    let instructions = [RETURN | u64::from(returns.cast_unsigned()) << 32, EXIT];
    let mut name = [0; 16];
    name[..8].copy_from_slice(b"somebody");
    let load = Load {
        kind,
        length: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log: [0; 2],
        version_and_flags: [0; 2],
        name,
    };
    let program = made(BPF_PROG_LOAD, &load).context("cannot load a program")?;
    let ifindex = index(namespace, interface)?;
    let attach = Attach { program: program.as_raw_fd() as u32, ifindex, at, flags, beside: [0; 2] };
    let link = namespace.run(|| made(BPF_LINK_CREATE, &attach))?;
    link.with_context(|| format!("cannot attach a program to {interface}"))
}

/// Detaches a pinned link, as `bpftool link detach pinned` does.
pub(super) fn detach(pin: &Path) -> Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let link = made(BPF_OBJ_GET, &Get { path: path.as_ptr() as u64, rest: [0; 2] })
        .with_context(|| format!("cannot open {}", pin.display()))?;
    bpf(BPF_LINK_DETACH, &(link.as_raw_fd() as u32)).context("cannot detach a link")?;
    Ok(())
}

/// Runs tc in a namespace, and returns what it says.
pub(super) fn tc(namespace: &Namespace, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("tc");
    command.args(arguments);
    namespace.enter(&mut command);
    let output = command.output().context("cannot start tc")?;
    let said = String::from_utf8_lossy(&output.stderr);
    anyhow::ensure!(output.status.success(), "tc {}: {}", arguments.join(" "), said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
