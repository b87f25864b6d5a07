//! The one system call that aya does not offer: deleting an inner map from an array of maps.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _},
};

use aya::maps::MapData;

/// `BPF_MAP_DELETE_ELEM`, as in the kernel's `enum bpf_cmd`.
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;

/// The part of `union bpf_attr` that this command reads.
#[repr(C)]
struct Attr {
    map_fd: u32,
    reserved: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// Deletes the inner map at an index.
pub(super) fn delete_inner(outer: &MapData, index: u32) -> io::Result<()> {
    let fd = outer.fd().as_fd().as_raw_fd();
    let attr = Attr { map_fd: fd as u32, reserved: 0, key: (&raw const index) as u64, value: 0, flags: 0 };
    // SAFETY: the attributes are as the command wants them, and live as long as the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_MAP_DELETE_ELEM, &raw const attr, size_of::<Attr>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
