//! `cargo xtask image`: what is shipped as a container image, and a list of what is in it.

mod sbom;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};
use netpol_image::{Content, Image};

use crate::setup::{self, Ebpf, Needs};
use crate::shipped::{Arch, Shipped};
use crate::{process, project};

/// Make the shipped image as an OCI archive, without a container daemon, and list what is in it (SBOM)
///
/// One static binary, /netpol, on nothing. The same sources, compiler and C library give the same digest, wherever they
/// stand: its times are SOURCE_DATE_EPOCH, or else when the last commit was made. Finds or installs what is missing first.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Where to write the archive; the list goes beside it, as *.cdx.json [default: target/image/netpol-VERSION-ARCH.tar]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// For which processor [default: this machine's]
    #[arg(long, value_enum)]
    arch: Option<Arch>,
    /// Build everything once more from a copy of the sources in another folder, and fail when the digests differ
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    let arch = arguments.arch.map_or_else(Arch::host, Ok)?;
    let ready = setup::ensure(&Needs { build: true, arch: Some(arch), ..Needs::default() })?;
    let archive = arguments.output.clone().map_or_else(|| usual(arch), Ok)?;
    let written = write(&ready.ebpf, &Shipped::here(arch), arch, &archive)?;
    let megabytes = fs::metadata(&archive)?.len() as f64 / 1e6;
    println!("{}", archive.display());
    println!("  {}, linux/{}, {megabytes:.1} MB", name(), arch.name());
    println!("  {}", written.digest);
    println!("{}", written.list.display());
    if arguments.check {
        check(&ready.ebpf, arch, &written)?;
    }
    Ok(())
}

/// Makes the image of this machine's processor, and returns its archive.
pub(crate) fn archive(ebpf: &Ebpf) -> Result<PathBuf> {
    let arch = Arch::host()?;
    let archive = usual(arch)?;
    write(ebpf, &Shipped::here(arch), arch, &archive)?;
    Ok(archive)
}

/// What `deploy/` calls it.
fn name() -> String {
    format!("localhost/netpol:{}", project::version())
}

fn usual(arch: Arch) -> Result<PathBuf> {
    let folder = project::target_folder("image");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder.join(format!("netpol-{}-{}.tar", project::version(), arch.name())))
}

/// What was written.
struct Written {
    digest: String,
    list: PathBuf,
}

fn write(ebpf: &Ebpf, shipped: &Shipped, arch: Arch, archive: &Path) -> Result<Written> {
    let binary = shipped.build(ebpf)?;
    let made = made()?;
    let image = Image {
        name: name(),
        architecture: arch.name(),
        entry: vec!["/netpol"],
        arguments: vec!["agent"],
        labels: BTreeMap::from([
            ("org.opencontainers.image.title", "netpol".to_owned()),
            ("org.opencontainers.image.version", project::version().to_owned()),
            ("org.opencontainers.image.licenses", env!("CARGO_PKG_LICENSE").to_owned()),
            ("org.opencontainers.image.source", env!("CARGO_PKG_REPOSITORY").to_owned()),
        ]),
        files: BTreeMap::from([("netpol".into(), Content::Copy(binary))]),
        made,
    };
    let digest = image.write(archive)?;
    let list = archive.with_extension("cdx.json");
    let components = sbom::list(arch)?;
    fs::write(&list, serde_json::to_vec_pretty(&components)?)
        .with_context(|| format!("cannot write {}", list.display()))?;
    Ok(Written { digest, list })
}

/// When what is shipped was made, in seconds since 1970.
fn made() -> Result<u64> {
    let text = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(text) if !text.is_empty() => text,
        _ => process::read(
            Command::new("git").args(["log", "-1", "--format=%ct"]).current_dir(project::root()),
        )
        .context("cannot tell when the sources were made: set SOURCE_DATE_EPOCH to seconds since 1970")?,
    };
    text.trim().parse().with_context(|| format!("SOURCE_DATE_EPOCH={} is no number of seconds", text.trim()))
}

/// Builds a copy of the sources in another folder, and compares.
fn check(ebpf: &Ebpf, arch: Arch, first: &Written) -> Result<()> {
    let folder = project::target_folder("image-check");
    let archive = folder.join("netpol.tar");
    let shipped = Shipped::elsewhere(arch, &folder)?;
    let second = write(ebpf, &shipped, arch, &archive)?;
    if second.digest != first.digest {
        bail!(
            "it is not reproducible: built once more in {} it is {} (see what differs by `cmp` of the two binaries)",
            folder.display(),
            second.digest
        );
    }
    println!("  built again from a copy in {}: the same digest", folder.display());
    Ok(())
}
