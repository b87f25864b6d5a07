//! The system calls that aya does not offer: inner maps of an array of maps and links of one program by several threads,
//! looking into an array of programs, and detaching a pinned link at once.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use aya::maps::MapData;

/// Commands of bpf(2), as in the kernel's `enum bpf_cmd`.
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_DETACH: libc::c_long = 34;

/// As in the kernel's `enum bpf_attach_type`.
const BPF_XDP: u32 = 37;
/// `XDP_FLAGS_SKB_MODE`: before tc, on any interface, without its driver.
const GENERIC: u32 = 1 << 1;

/// The parts of `union bpf_attr` that these commands read.
#[repr(C)]
struct Element {
    map_fd: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
struct Object {
    path: u64,
    fd: u32,
    flags: u32,
}

#[repr(C)]
struct LinkCreate {
    program_fd: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
struct LinkDetach {
    link_fd: u32,
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<i32> {
    // SAFETY: the attributes are as the command wants them, and live as long as the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, &raw const *attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// Puts an inner map at an index. Returns after a grace period, as the kernel makes sure that nobody uses an earlier one.
pub(super) fn set_inner(outer: &MapData, index: u32, inner: &MapData) -> io::Result<()> {
    let map_fd = outer.fd().as_fd().as_raw_fd() as u32;
    let fd = inner.fd().as_fd().as_raw_fd() as u32;
    let (key, value) = ((&raw const index) as u64, (&raw const fd) as u64);
    bpf(BPF_MAP_UPDATE_ELEM, &Element { map_fd, reserved: 0, key, value, flags: 0 }).map(drop)
}

/// Deletes the inner map at an index.
pub(super) fn delete_inner(outer: &MapData, index: u32) -> io::Result<()> {
    let map_fd = outer.fd().as_fd().as_raw_fd() as u32;
    let key = (&raw const index) as u64;
    bpf(BPF_MAP_DELETE_ELEM, &Element { map_fd, reserved: 0, key, value: 0, flags: 0 }).map(drop)
}

/// Whether an array of programs holds one at an index.
pub(super) fn has_element(programs: &MapData, index: u32) -> io::Result<bool> {
    let map_fd = programs.fd().as_fd().as_raw_fd() as u32;
    let mut id = 0u32;
    let (key, value) = ((&raw const index) as u64, (&raw mut id) as u64);
    match bpf(BPF_MAP_LOOKUP_ELEM, &Element { map_fd, reserved: 0, key, value, flags: 0 }) {
        Ok(_) => Ok(id != 0),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Detaches a pinned link before this returns. Removing the pin alone lets the kernel do it some time later, and until
/// then the entry would call a classifier that is not there any more.
pub(super) fn detach_link(pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let fd = bpf(BPF_OBJ_GET, &Object { path: path.as_ptr() as u64, fd: 0, flags: 0 })?;
    // SAFETY: the call has just given us this descriptor.
    let link = unsafe { OwnedFd::from_raw_fd(fd) };
    match bpf(BPF_LINK_DETACH, &LinkDetach { link_fd: link.as_raw_fd() as u32 }) {
        // Its interface is gone, or somebody else has detached it.
        Err(error) if error.raw_os_error() == Some(libc::ENOLINK) => Ok(()),
        other => other.map(drop),
    }
}

/// Attaches an XDP program of the generic kind. It goes with the link's last descriptor, unless that is pinned.
pub(super) fn attach_generic_xdp(program: BorrowedFd<'_>, ifindex: u32) -> io::Result<OwnedFd> {
    let program_fd = program.as_raw_fd() as u32;
    let link = LinkCreate { program_fd, ifindex, attach_type: BPF_XDP, flags: GENERIC };
    let fd = bpf(BPF_LINK_CREATE, &link)?;
    // SAFETY: the call has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Pins a link.
pub(super) fn pin_link(link: BorrowedFd<'_>, pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let object = Object { path: path.as_ptr() as u64, fd: link.as_raw_fd() as u32, flags: 0 };
    bpf(BPF_OBJ_PIN, &object).map(drop)
}
