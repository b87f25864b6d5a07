//! Programs of somebody else: two instructions that return a number, attached to an interface as long as they are held.

use std::os::fd::{AsRawFd as _, OwnedFd};
use std::process::Command;

use anyhow::{Context as _, Result};
use netpol_tests::Namespace;
use netpol_tests::bpf::made;
use nix::net::if_::if_nametoindex;

/// Commands of bpf(2), as in the kernel's `enum bpf_cmd`.
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_LINK_CREATE: libc::c_long = 28;
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
    let mut load = Load {
        kind,
        length: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log: [0; 2],
        version_and_flags: [0; 2],
        name,
    };
    let program = made(BPF_PROG_LOAD, &mut load).context("cannot load a program")?;
    let ifindex = index(namespace, interface)?;
    let mut attach = Attach { program: program.as_raw_fd() as u32, ifindex, at, flags, beside: [0; 2] };
    let link = namespace.run(|| made(BPF_LINK_CREATE, &mut attach))?;
    link.with_context(|| format!("cannot attach a program to {interface}"))
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
