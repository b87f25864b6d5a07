//! Container images without a registry: archives around programs of this machine.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tar::{Builder, EntryType, Header};

use super::binaries;
use crate::command;

/// What holds a pod's namespaces.
pub(super) const PAUSE: &str = "localhost/pause:1";
/// What test pods run: agnhost, busybox, wget and the prober.
pub const TEST: &str = "localhost/netpol-test:1";
/// The cluster's DNS.
pub(super) const COREDNS: &str = "localhost/coredns:1";

/// What is in an image, by its path there.
#[derive(Debug, Clone)]
enum Content {
    Folder(u32),
    Link(PathBuf),
    Text(String),
    Program(Vec<u8>),
    Copy(PathBuf),
}

/// An image in the making: one layer and what runs first.
#[derive(Debug, Clone)]
pub(super) struct Image {
    name: &'static str,
    entry: Vec<&'static str>,
    arguments: Vec<&'static str>,
    files: BTreeMap<PathBuf, Content>,
}

impl Image {
    /// A program that does nothing until it is killed.
    pub(super) fn pause() -> Self {
        let files = BTreeMap::from([("pause".into(), Content::Program(sleeper()))]);
        Self { name: PAUSE, entry: vec!["/pause"], arguments: Vec::new(), files }
    }

    pub(super) fn coredns() -> Result<Self> {
        let files = BTreeMap::from([("coredns".into(), Content::Copy(binaries::find("coredns")?))]);
        Ok(Self { name: COREDNS, entry: vec!["/coredns"], arguments: Vec::new(), files })
    }

    /// agnhost, busybox and wget with what they load, and `/prober` when `NETPOL_PROBER` names it.
    pub(super) fn test() -> Result<Self> {
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
        Ok(Self { name: TEST, entry: vec!["/agnhost"], arguments: vec!["pause"], files })
    }

    /// Writes an archive as `docker save` would, and returns its path.
    pub(super) fn write(&self, folder: &Path) -> Result<PathBuf> {
        let archive = folder.join(format!("{}.tar", self.name.replace(['/', ':'], "-")));
        self.write_to(folder, &archive).with_context(|| format!("cannot make the image {}", self.name))?;
        Ok(archive)
    }

    fn write_to(&self, folder: &Path, archive: &Path) -> Result<()> {
        let layer = folder.join(format!("{}.layer", self.name.replace(['/', ':'], "-")));
        let mut digested = Digested { file: File::create(&layer)?, digest: Sha256::new() };
        let mut builder = Builder::new(&mut digested);
        for folder in self.folders() {
            builder.append_data(&mut header(EntryType::Directory, 0o755, 0), folder, std::io::empty())?;
        }
        for (path, content) in &self.files {
            append(&mut builder, path, content)
                .with_context(|| format!("cannot put {} into it", path.display()))?;
        }
        builder.finish()?;
        drop(builder);
        let digest = hex(&digested.digest.finalize());
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": {
                "Entrypoint": self.entry,
                "Cmd": self.arguments,
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
            },
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{digest}")]},
        });
        let manifest = json!([{"Config": "config.json", "RepoTags": [self.name], "Layers": ["layer.tar"]}]);
        let mut builder = Builder::new(File::create(archive)?);
        append_json(&mut builder, "config.json", &config)?;
        append_json(&mut builder, "manifest.json", &manifest)?;
        let size = fs::metadata(&layer)?.len();
        let mut header = header(EntryType::Regular, 0o644, size);
        builder.append_data(&mut header, "layer.tar", File::open(&layer)?)?;
        builder.finish()?;
        fs::remove_file(&layer)?;
        Ok(())
    }

    /// Every folder that a file is in, from the top down.
    fn folders(&self) -> Vec<PathBuf> {
        let mut folders: Vec<PathBuf> = self
            .files
            .keys()
            .flat_map(|path| path.ancestors().skip(1))
            .filter(|folder| !folder.as_os_str().is_empty())
            .map(Path::to_owned)
            .collect();
        folders.sort();
        folders.dedup();
        folders
    }
}

/// A file that knows the digest of what was written to it.
struct Digested {
    file: File,
    digest: Sha256,
}

impl std::io::Write for Digested {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let length = self.file.write(bytes)?;
        self.digest.update(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

fn header(kind: EntryType, mode: u32, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_size(size);
    header
}

fn append(builder: &mut Builder<&mut Digested>, path: &Path, content: &Content) -> Result<()> {
    let mut bytes = |mode, bytes: &[u8]| {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        builder.append_data(&mut header(EntryType::Regular, mode, length), path, bytes)
    };
    match content {
        Content::Text(text) => bytes(0o644, text.as_bytes())?,
        Content::Program(program) => bytes(0o755, program)?,
        Content::Folder(mode) => {
            builder.append_data(&mut header(EntryType::Directory, *mode, 0), path, std::io::empty())?;
        }
        Content::Link(to) => builder.append_link(&mut header(EntryType::Symlink, 0o777, 0), path, to)?,
        Content::Copy(from) => {
            let file = File::open(from).with_context(|| format!("cannot open {}", from.display()))?;
            let mut header = header(EntryType::Regular, 0o755, file.metadata()?.len());
            builder.append_data(&mut header, path, file)?;
        }
    }
    Ok(())
}

fn append_json(builder: &mut Builder<File>, path: &str, value: &Value) -> Result<()> {
    let bytes = serde_json::to_vec(value)?;
    let length = u64::try_from(bytes.len())?;
    builder.append_data(&mut header(EntryType::Regular, 0o644, length), path, &*bytes)?;
    Ok(())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
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
