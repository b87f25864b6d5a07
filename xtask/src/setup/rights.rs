//! The rights that loading eBPF programs and building network namespaces need, each missing one with its remedy.

use std::fs;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::report::Report;
use crate::process;

const BPFFS: &str = "/sys/fs/bpf";

/// Numbers from `include/uapi/linux/capability.h`. CAP_SYS_ADMIN contains what BPF and PERFMON were split from in 5.8.
const CAPABILITIES: &[(&str, u32)] =
    &[("CAP_NET_ADMIN", 12), ("CAP_SYS_ADMIN", 21), ("CAP_PERFMON", 38), ("CAP_BPF", 39)];

/// Checks the rights, and mounts the BPF file system where it is not.
pub(crate) fn ensure(report: &mut Report) -> Result<()> {
    if !is_root()? {
        bail!(
            "this needs root, to make network namespaces and to load eBPF programs: run it as root (for example with sudo -E)"
        );
    }
    let missing = missing_capabilities()?;
    if !missing.is_empty() {
        bail!(
            "root lacks {} here: give the container or service that runs this these capabilities (docker: --privileged)",
            missing.join(", ")
        );
    }
    if !fs::exists("/sys/kernel/btf/vmlinux").unwrap_or(false) {
        bail!(
            "this kernel has no BTF (/sys/kernel/btf/vmlinux): boot one with CONFIG_DEBUG_INFO_BTF=y, 5.10 or newer"
        );
    }
    make_a_map()?;
    report.found("rights", "root, may use BPF");
    mount_bpffs(report)
}

/// Whether the effective user is root.
pub(crate) fn is_root() -> Result<bool> {
    let ids = status_field("Uid:")?;
    Ok(ids.split_whitespace().nth(1) == Some("0"))
}

fn missing_capabilities() -> Result<Vec<&'static str>> {
    let text = status_field("CapEff:")?;
    let effective =
        u64::from_str_radix(text.trim(), 16).context("cannot read CapEff in /proc/self/status")?;
    Ok(CAPABILITIES.iter().filter(|(_, bit)| effective >> bit & 1 == 0).map(|(name, _)| *name).collect())
}

fn status_field(name: &str) -> Result<String> {
    let status = fs::read_to_string("/proc/self/status").context("cannot read /proc/self/status")?;
    status
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::to_owned)
        .with_context(|| format!("/proc/self/status has no line {name}"))
}

/// Asks the kernel for a BPF map of one element: a container may hold every capability and still have the system call
/// filtered out.
fn make_a_map() -> Result<()> {
    const BPF_MAP_CREATE: libc::c_int = 0;
    const BPF_MAP_TYPE_ARRAY: u32 = 2;
    // The first fields of `union bpf_attr` for this command: map_type, key_size, value_size, max_entries. The kernel
    // takes a shorter structure than its own and reads the rest as zero.
    let attributes: [u32; 4] = [BPF_MAP_TYPE_ARRAY, 4, 8, 1];
    // SAFETY: the kernel reads `size_of_val(&attributes)` bytes at the pointer and keeps nothing of it.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, BPF_MAP_CREATE, attributes.as_ptr(), size_of_val(&attributes))
    };
    if fd < 0 {
        let error = std::io::Error::last_os_error();
        bail!(
            "the kernel refuses to make a BPF map ({error}): allow the bpf system call (docker: --privileged, or a seccomp profile with bpf) on a kernel with CONFIG_BPF_SYSCALL=y"
        );
    }
    // SAFETY: the descriptor was made just now and is known to nobody else. File descriptors fit an i32.
    unsafe { libc::close(fd as libc::c_int) };
    Ok(())
}

fn mount_bpffs(report: &mut Report) -> Result<()> {
    let mounts = fs::read_to_string("/proc/self/mounts").context("cannot read /proc/self/mounts")?;
    let is_mounted = mounts.lines().any(|line| {
        let mut fields = line.split(' ').skip(1);
        fields.next() == Some(BPFFS) && fields.next() == Some("bpf")
    });
    if is_mounted {
        report.found("BPF file system", BPFFS);
        return Ok(());
    }
    report.install("BPF file system", "", || {
        process::run(Command::new("mount").args(["-t", "bpf", "bpf", BPFFS])).with_context(|| {
            format!("cannot mount the BPF file system: run this where `mount -t bpf bpf {BPFFS}` is allowed")
        })?;
        Ok(((), format!("mounted on {BPFFS}")))
    })
}
