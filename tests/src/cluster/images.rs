//! The images that a cluster begins with, around programs of this machine.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use netpol_image::{Content, Image};

use super::binaries;
use crate::command;

/// What holds a pod's namespaces.
pub(super) const PAUSE: &str = "localhost/pause:1";
/// What test pods run: agnhost, busybox, wget and the prober.
pub const TEST: &str = "localhost/netpol-test:1";
/// The cluster's DNS.
pub(super) const COREDNS: &str = "localhost/coredns:1";

/// A program that does nothing until it is killed.
pub(super) fn pause() -> Image {
    image(PAUSE, &["/pause"], &[], [("pause".into(), Content::Program(sleeper()))].into())
}

/// The cluster's DNS.
pub(super) fn coredns() -> Result<Image> {
    let files = BTreeMap::from([("coredns".into(), Content::Copy(binaries::find("coredns")?))]);
    Ok(image(COREDNS, &["/coredns"], &[], files))
}

/// agnhost, busybox and wget with what they load, and `/prober` when `NETPOL_PROBER` names it.
pub(super) fn test() -> Result<Image> {
    let mut files = BTreeMap::new();
    let agnhost = binaries::find("agnhost")?;
    files.insert(PathBuf::from("agnhost"), Content::Copy(agnhost));
    if let Some(prober) = std::env::var_os("NETPOL_PROBER") {
        files.insert("prober".into(), Content::Copy(prober.into()));
    }
    add_busybox(&mut files)?;
    add_wget(&mut files)?;
    for folder in ["root", "home", "var", "run"] {
        files.insert(folder.into(), Content::Folder(0o755));
    }
    files.insert("tmp".into(), Content::Folder(0o1777));
    for (file, text) in [
        ("etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n"),
        ("etc/group", "root:x:0:\nnobody:x:65534:\n"),
        ("etc/nsswitch.conf", "hosts: files dns\n"),
    ] {
        files.insert(file.into(), Content::Text(text.to_owned()));
    }
    Ok(image(TEST, &["/agnhost"], &["pause"], files))
}

fn image(
    name: &str,
    entry: &[&'static str],
    arguments: &[&'static str],
    files: BTreeMap<PathBuf, Content>,
) -> Image {
    Image {
        name: name.to_owned(),
        architecture: "amd64",
        entry: entry.to_vec(),
        arguments: arguments.to_vec(),
        labels: BTreeMap::new(),
        files,
        made: 0,
    }
}

/// busybox under each of its names: one that is linked static crashes where it looks up a name.
fn add_busybox(files: &mut BTreeMap<PathBuf, Content>) -> Result<()> {
    let busybox = add_linked(files, "busybox", "bin/busybox")
        .context("busybox must be linked to libraries: install busybox in the place of busybox-static")?;
    for name in command::read(&busybox, &["--list"])?.lines().filter(|name| *name != "busybox") {
        files.insert(Path::new("bin").join(name), Content::Link("busybox".into()));
    }
    Ok(())
}

/// wget of its own, as busybox's has no `--timeout` where the distribution builds it so. It tries once, as that does.
fn add_wget(files: &mut BTreeMap<PathBuf, Content>) -> Result<()> {
    add_linked(files, "wget", "usr/bin/wget")?;
    files.insert("etc/wgetrc".into(), Content::Text("tries = 1\n".to_owned()));
    Ok(())
}

/// A program of this machine with the libraries that it loads; returns its path here.
fn add_linked(files: &mut BTreeMap<PathBuf, Content>, name: &str, inside: &str) -> Result<String> {
    let program = std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("cannot find {name}: install the distribution's package {name}"))?;
    let path = program.to_string_lossy().into_owned();
    let loads = command::read("ldd", &[&path])?;
    for library in loads.split_whitespace().filter(|word| word.starts_with('/')) {
        files.insert(library.trim_start_matches('/').into(), Content::Copy(library.into()));
        // The C library of older distributions loads these when a name is looked up.
        for other in ["libnss_dns.so.2", "libnss_files.so.2"] {
            let other = Path::new(library).with_file_name(other);
            if other.is_file() {
                let inside = other.strip_prefix("/").unwrap_or(&other).to_owned();
                files.insert(inside, Content::Copy(other));
            }
        }
    }
    files.insert(inside.into(), Content::Copy(program));
    Ok(path)
}

/// The smallest program there is: it waits for a signal, again and again.
fn sleeper() -> Vec<u8> {
    // mov eax, 34 (pause); syscall; jmp to the beginning
    const CODE: &[u8] = &[0xb8, 0x22, 0, 0, 0, 0x0f, 0x05, 0xeb, 0xf7];
    const BASE: u64 = 0x40_0000;
    const HEADERS: u64 = 64 + 56;
    let size = HEADERS + CODE.len() as u64;
    let mut program = Vec::new();
    // ELF, 64 bits, little end first
    program.extend([0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    // executable, x86-64, version 1
    program.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [BASE + HEADERS, 64, 0] {
        program.extend(word.to_le_bytes());
    }
    program.extend([0, 0, 0, 0]);
    // sizes and numbers of headers: one segment, no sections
    program.extend([64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    // a segment to load, to read and execute, all of the file
    program.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0, BASE, BASE, size, size, 0x1000] {
        program.extend(word.to_le_bytes());
    }
    program.extend(CODE);
    program
}
