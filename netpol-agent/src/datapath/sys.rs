//! The system calls that aya does not offer: inner maps of an array of maps and links of one program by several threads,
//! looking into an array of programs, asking a pinned link for its interface and detaching it at once, and the ids of the
//! programs that an interface carries, for which aya asks for more, and so for CAP_SYS_ADMIN.

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
use aya_obj::{
    ProgramSection,
    generated::{bpf_map_type::BPF_MAP_TYPE_ARRAY_OF_MAPS, bpf_prog_type},
};

/// Commands of bpf(2), as in the kernel's `enum bpf_cmd`.
const BPF_MAP_CREATE: libc::c_long = 0;
const BPF_MAP_LOOKUP_ELEM: libc::c_long = 1;
const BPF_MAP_UPDATE_ELEM: libc::c_long = 2;
const BPF_MAP_DELETE_ELEM: libc::c_long = 3;
const BPF_PROG_LOAD: libc::c_long = 5;
const BPF_OBJ_PIN: libc::c_long = 6;
const BPF_OBJ_GET: libc::c_long = 7;
const BPF_PROG_GET_FD_BY_ID: libc::c_long = 13;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_long = 15;
const BPF_PROG_QUERY: libc::c_long = 16;
const BPF_BTF_LOAD: libc::c_long = 18;
const BPF_LINK_CREATE: libc::c_long = 28;
const BPF_LINK_DETACH: libc::c_long = 34;

/// As in the kernel's `enum bpf_attach_type`.
const BPF_XDP: u32 = 37;
/// As there; the one for egress follows.
const BPF_TCX_INGRESS: u32 = 46;
/// As in the kernel's `enum bpf_link_type`.
const BPF_LINK_TYPE_TCX: u32 = 11;
/// Programs of one chain at most (`BPF_MPROG_MAX`).
const MOST_PROGRAMS: usize = 64;
/// `BPF_LOG_STATS`: of the verifier's words the sums alone.
const SUMS: u32 = 4;
/// They are three lines.
const LOG: usize = 4096;
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
struct MapCreate {
    kind: u32,
    key_size: u32,
    value_size: u32,
    entries: u32,
    flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    name: [u8; 16],
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

#[repr(C)]
#[derive(Default)]
struct Query {
    ifindex: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    programs: u64,
    count: u32,
    reserved: u32,
    program_flags: u64,
    links: u64,
    link_flags: u64,
    revision: u64,
}

#[repr(C)]
struct ById {
    id: u32,
    next: u32,
    flags: u32,
}

#[repr(C)]
struct InfoOf {
    fd: u32,
    length: u32,
    info: u64,
}

/// The beginning of `struct bpf_prog_info`, up to the name.
#[repr(C)]
#[derive(Default)]
struct ProgramInfo {
    before: [u64; 2],
    machine_bytes: u32,
    after: [u32; 11],
    name: [u8; 16],
}

#[repr(C)]
struct ProgramLoad {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    unused: [u32; 8],
    types: u32,
    function_size: u32,
    functions: u64,
    function_count: u32,
    reserved: u32,
}

#[repr(C)]
struct TypesLoad {
    types: u64,
    log: u64,
    size: u32,
    reserved: u32,
}

/// The beginning of `struct bpf_link_info`, as it is for a link of TCX.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    kind: u32,
    id: u32,
    program: u32,
    reserved: u32,
    ifindex: u32,
    attach_type: u32,
}

fn bpf<T>(command: libc::c_long, attributes: &T) -> io::Result<i32> {
    bpf_at(command, (&raw const *attributes).cast_mut())
}

/// Of a command that answers in its attributes.
fn bpf_at<T>(command: libc::c_long, attributes: *mut T) -> io::Result<i32> {
    // SAFETY: the attributes are as the command wants them, and live as long as the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attributes, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// What the kernel says of a program or a link, up to the end of `T`, which is plain data.
fn info_of<T: Default>(object: &OwnedFd) -> io::Result<T> {
    let mut info = T::default();
    let (fd, length) = (object.as_raw_fd() as u32, size_of::<T>() as u32);
    let mut question = InfoOf { fd, length, info: (&raw mut info) as u64 };
    bpf_at(BPF_OBJ_GET_INFO_BY_FD, &raw mut question)?;
    Ok(info)
}

/// The ids of the programs that an interface carries by TCX, in the order in which they run; none where the kernel has no
/// TCX.
pub(super) fn tcx_programs(ifindex: u32, egress: bool) -> io::Result<Vec<u32>> {
    let mut ids = [0_u32; MOST_PROGRAMS];
    let mut query = Query {
        ifindex,
        attach_type: BPF_TCX_INGRESS + u32::from(egress),
        programs: (&raw mut ids) as u64,
        count: MOST_PROGRAMS as u32,
        ..Query::default()
    };
    match bpf_at(BPF_PROG_QUERY, &raw mut query) {
        Ok(_) => Ok(ids[..(query.count as usize).min(MOST_PROGRAMS)].to_vec()),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINVAL | libc::ENOENT)) => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// A program's name; `None` without CAP_SYS_ADMIN, and when it is gone.
pub(super) fn program_name(id: u32) -> Option<String> {
    let fd = bpf(BPF_PROG_GET_FD_BY_ID, &ById { id, next: 0, flags: 0 }).ok()?;
    // SAFETY: the call has just given us this descriptor.
    let program = unsafe { OwnedFd::from_raw_fd(fd) };
    let name = info_of::<ProgramInfo>(&program).ok()?.name;
    let name = name.split(|byte| *byte == 0).next().unwrap_or_default();
    Some(String::from_utf8_lossy(name).into_owned())
}

/// Loads the types of an object.
pub(super) fn load_types(types: &[u8]) -> io::Result<OwnedFd> {
    let attributes =
        TypesLoad { types: types.as_ptr() as u64, log: 0, size: types.len() as u32, reserved: 0 };
    let fd = bpf(BPF_BTF_LOAD, &attributes)?;
    // SAFETY: the call has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Loads a linked program of an object whose types are loaded to hear the verifier's sums, which aya asks for only where it
/// refuses a program: what it says, and how many bytes of machine code came of it.
pub(super) fn verifier_sums(
    program: &aya_obj::Program,
    function: &aya_obj::Function,
    types: BorrowedFd<'_>,
) -> io::Result<(String, u32)> {
    let kind = match program.section {
        ProgramSection::Xdp { .. } => bpf_prog_type::BPF_PROG_TYPE_XDP,
        _ => bpf_prog_type::BPF_PROG_TYPE_SCHED_CLS,
    };
    let mut log = vec![0_u8; LOG];
    let functions = function.func_info.func_info_bytes();
    let attributes = ProgramLoad {
        kind: kind as u32,
        count: function.instructions.len() as u32,
        instructions: function.instructions.as_ptr() as u64,
        license: program.license.as_ptr() as u64,
        log_level: SUMS,
        log_size: log.len() as u32,
        log: log.as_mut_ptr() as u64,
        unused: [0; 8],
        types: types.as_raw_fd() as u32,
        function_size: function.func_info_rec_size as u32,
        functions: functions.as_ptr() as u64,
        function_count: function.func_info.len() as u32,
        reserved: 0,
    };
    let fd = bpf(BPF_PROG_LOAD, &attributes)?;
    // SAFETY: the call has just given us this descriptor.
    let program = unsafe { OwnedFd::from_raw_fd(fd) };
    let said = log.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok((String::from_utf8_lossy(said).into_owned(), info_of::<ProgramInfo>(&program)?.machine_bytes))
}

/// Makes an array of maps like the inner one, and pins it.
pub(super) fn pin_array_of_maps(pin: &Path, inner: &MapData, entries: u32) -> io::Result<()> {
    let attributes = MapCreate {
        kind: BPF_MAP_TYPE_ARRAY_OF_MAPS as u32,
        key_size: 4,
        value_size: 4,
        entries,
        flags: 0,
        inner_map_fd: inner.fd().as_fd().as_raw_fd() as u32,
        numa_node: 0,
        name: *b"np_flow_tables\0\0",
    };
    let fd = bpf(BPF_MAP_CREATE, &attributes)?;
    // SAFETY: the call has just given us this descriptor.
    let map = unsafe { OwnedFd::from_raw_fd(fd) };
    self::pin(map.as_fd(), pin)
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

/// The id of what an array of programs or of maps holds at an index, which takes no right to open it.
pub(super) fn element(array: &MapData, index: u32) -> io::Result<Option<u32>> {
    let map_fd = array.fd().as_fd().as_raw_fd() as u32;
    let mut id = 0u32;
    let (key, value) = ((&raw const index) as u64, (&raw mut id) as u64);
    match bpf(BPF_MAP_LOOKUP_ELEM, &Element { map_fd, reserved: 0, key, value, flags: 0 }) {
        Ok(_) => Ok((id != 0).then_some(id)),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// What is pinned there.
fn pinned(pin: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let fd = bpf(BPF_OBJ_GET, &Object { path: path.as_ptr() as u64, fd: 0, flags: 0 })?;
    // SAFETY: the call has just given us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The interface that a pinned link of TCX is attached to, 0 when that is gone or somebody has detached it, and whether it
/// is at its egress; `None` when no such link is pinned there.
pub(super) fn link_at(pin: &Path) -> Option<(u32, bool)> {
    let info = info_of::<LinkInfo>(&pinned(pin).ok()?).ok()?;
    // Of what is no link the same call tells something else.
    let egress = info.attach_type.checked_sub(BPF_TCX_INGRESS).filter(|egress| *egress < 2)?;
    (info.kind == BPF_LINK_TYPE_TCX).then_some((info.ifindex, egress == 1))
}

/// Detaches a pinned link before this returns. Removing the pin alone lets the kernel do it some time later, and until
/// then the entry would call a classifier that is not there any more.
pub(super) fn detach_link(pin: &Path) -> io::Result<()> {
    let link = pinned(pin)?;
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

/// Pins a map or a link.
pub(super) fn pin(object: BorrowedFd<'_>, pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let attributes = Object { path: path.as_ptr() as u64, fd: object.as_raw_fd() as u32, flags: 0 };
    bpf(BPF_OBJ_PIN, &attributes).map(drop)
}
