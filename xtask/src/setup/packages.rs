//! Programs of the distribution, looked for by their name on the `PATH`, or by their whole path.

use anyhow::{Result, bail};

use super::distribution;
use super::report::Report;
use crate::process;

/// (program, package that carries it)
type Program = (&'static str, &'static str);

/// What the demo, the tests and the benchmarks run beside netpol.
pub(crate) const LABORATORY: &[Program] = &[
    ("ip", "iproute2"),
    ("tc", "iproute2"),
    ("nft", "nftables"),
    ("iptables-restore", "iptables"),
    ("ipset", "ipset"),
    ("conntrack", "conntrack"),
    ("nsenter", "util-linux"),
    ("wget", "wget"),
    ("nslookup", "bind9-dnsutils"),
    ("dnsmasq", "dnsmasq-base"),
    ("openssl", "openssl"),
    ("ping", "iputils-ping"),
];

/// What the nodes of a cluster run beside Kubernetes itself; the plugins of CNI are on no `PATH`.
pub(crate) const CLUSTER: &[Program] = &[
    ("containerd", "containerd"),
    ("runc", "runc"),
    ("/usr/lib/cni/bridge", "containernetworking-plugins"),
    ("busybox", "busybox"),
    ("iptables", "iptables"),
    ("nft", "nftables"),
    ("conntrack", "conntrack"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
];

/// What booting another kernel takes.
pub(crate) const VIRTUAL_MACHINE: &[Program] =
    &[("qemu-system-x86_64", "qemu-system-x86"), ("xz", "xz-utils"), ("timeout", "coreutils")];

/// Installs the packages of the programs that are missing.
pub(crate) fn ensure(programs: &[Program], report: &mut Report) -> Result<()> {
    let mut missing: Vec<&str> = Vec::new();
    for (program, package) in programs {
        match process::find_on_path(program) {
            Some(path) => report.found(program, &path.display().to_string()),
            None if missing.contains(package) => {}
            None => missing.push(package),
        }
    }
    if missing.is_empty() {
        return Ok(());
    }
    report.install(&missing.join(" "), "by apt-get", || {
        distribution::install(&missing)?;
        let lost: Vec<&str> = programs
            .iter()
            .filter(|(program, _)| process::find_on_path(program).is_none())
            .map(|(program, _)| *program)
            .collect();
        if !lost.is_empty() {
            bail!(
                "the packages {} are installed, but {} is not on the PATH",
                missing.join(" "),
                lost.join(", ")
            );
        }
        let versions: Vec<String> = missing
            .iter()
            .map(|package| distribution::version(package).unwrap_or_else(|| "unknown version".to_owned()))
            .collect();
        Ok(((), versions.join(", ")))
    })
}
