//! Calls of bpf(2) that aya has not.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use anyhow::{Context as _, Result};

/// As in the kernel's `enum bpf_cmd`.
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_LINK_DETACH: libc::c_long = 34;

#[repr(C)]
struct Get {
    path: u64,
    rest: [u32; 2],
}

/// Calls bpf(2). The attributes are those of the command, which may change them.
///
/// # Errors
/// When the kernel refuses.
pub fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the attributes are as the command wants them, and live as long as the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw mut *attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// The same for a command that makes something.
///
/// # Errors
/// When the kernel refuses.
pub fn made<T>(command: libc::c_long, attributes: &mut T) -> io::Result<OwnedFd> {
    // SAFETY: the call has just given us this descriptor.
    bpf(command, attributes).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Detaches a pinned link, as `bpftool link detach pinned` does.
///
/// # Errors
/// When it is no link, or the kernel refuses.
pub fn detach(pin: &Path) -> Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let link = made(BPF_OBJ_GET, &mut Get { path: path.as_ptr() as u64, rest: [0; 2] })
        .with_context(|| format!("cannot open {}", pin.display()))?;
    bpf(BPF_LINK_DETACH, &mut (link.as_raw_fd() as u32)).context("cannot detach a link")?;
    Ok(())
}
