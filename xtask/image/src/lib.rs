//! Container images without a registry or a daemon: one layer around files of this machine, as an OCI image layout in a tar
//! archive, which `ctr image import`, `podman load` and `skopeo copy oci-archive:` take.
//!
//! The same files give the same bytes: every time is the one that is said, everything is root's, and stands in the order of
//! its path. The layer is not compressed, so that no compressor's version has a say either.
//!
//! The formats: <https://github.com/opencontainers/image-spec>, `image-layout.md`, `manifest.md` and `config.md`.

mod digest;
mod time;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use digest::Digested;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// What is in an image.
#[derive(Debug, Clone)]
pub enum Content {
    /// An empty folder with these rights.
    Folder(u32),
    /// A symbolic link.
    Link(PathBuf),
    /// A file that everybody may read.
    Text(String),
    /// A file that everybody may execute.
    Program(Vec<u8>),
    /// The same, as a copy of a file of this machine.
    Copy(PathBuf),
}

/// An image in the making.
#[derive(Debug, Clone)]
pub struct Image {
    /// Its name with its tag, such as `localhost/netpol:0.1.0`.
    pub name: String,
    /// The processor that it runs on, as Go calls it: `amd64`, `arm64`.
    pub architecture: &'static str,
    /// What runs first.
    pub entry: Vec<&'static str>,
    /// What that is given when nothing else is said.
    pub arguments: Vec<&'static str>,
    /// What it says of itself; keys are those of the specification's `annotations.md`.
    pub labels: BTreeMap<&'static str, String>,
    /// By their paths there, without the first slash. Folders on the way need not be named.
    pub files: BTreeMap<PathBuf, Content>,
    /// When it and all that is in it was made, in seconds since 1970.
    pub made: u64,
}

impl Image {
    /// Writes the archive, and returns the digest of the manifest, by which a registry knows the image.
    ///
    /// # Errors
    /// When a file cannot be read, or the archive not written.
    pub fn write(&self, archive: &Path) -> Result<String> {
        let layer = archive.with_extension("layer");
        let written = self.write_with(&layer, archive);
        // A layer that was never begun is not there.
        drop(fs::remove_file(&layer));
        written.with_context(|| format!("cannot make the image {} as {}", self.name, archive.display()))
    }

    fn write_with(&self, layer: &Path, archive: &Path) -> Result<String> {
        // Aside first: its place in the archive is called by its digest.
        let layer_digest = self.write_layer(layer)?;
        let config = serde_json::to_vec(&self.config(&layer_digest))?;
        let layer_size = fs::metadata(layer)?.len();
        let manifest = serde_json::to_vec(&json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor(CONFIG, &digest::of(&config), length(&config)),
            "layers": [descriptor(LAYER, &layer_digest, layer_size)],
        }))?;
        let manifest_digest = digest::of(&manifest);

        let mut builder = Builder::new(BufWriter::new(File::create(archive)?));
        self.add(&mut builder, "oci-layout", &serde_json::to_vec(&json!({"imageLayoutVersion": "1.0.0"}))?)?;
        let index = serde_json::to_vec(&self.index(&manifest_digest, length(&manifest)))?;
        self.add(&mut builder, "index.json", &index)?;
        self.add(&mut builder, &blob(&digest::of(&config)), &config)?;
        self.add(&mut builder, &blob(&manifest_digest), &manifest)?;
        let mut header = self.header(EntryType::Regular, 0o644, layer_size);
        builder.append_data(&mut header, blob(&layer_digest), File::open(layer)?)?;
        builder.into_inner()?.flush()?;
        Ok(manifest_digest)
    }

    /// Writes the only layer, and returns its digest.
    fn write_layer(&self, layer: &Path) -> Result<String> {
        let mut builder = Builder::new(Digested::new(BufWriter::new(File::create(layer)?)));
        for folder in self.folders() {
            let mut header = self.header(EntryType::Directory, 0o755, 0);
            builder.append_data(&mut header, folder, std::io::empty())?;
        }
        for (path, content) in &self.files {
            self.add_content(&mut builder, path, content)
                .with_context(|| format!("cannot put {} into it", path.display()))?;
        }
        Ok(builder.into_inner()?.finish()?)
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

    fn add_content(&self, builder: &mut Builder<impl Write>, path: &Path, content: &Content) -> Result<()> {
        match content {
            Content::Text(text) => {
                let mut header = self.header(EntryType::Regular, 0o644, length(text.as_bytes()));
                builder.append_data(&mut header, path, text.as_bytes())?;
            }
            Content::Program(program) => {
                let mut header = self.header(EntryType::Regular, 0o755, length(program));
                builder.append_data(&mut header, path, &**program)?;
            }
            Content::Folder(mode) => {
                let mut header = self.header(EntryType::Directory, *mode, 0);
                builder.append_data(&mut header, path, std::io::empty())?;
            }
            Content::Link(to) => {
                builder.append_link(&mut self.header(EntryType::Symlink, 0o777, 0), path, to)?;
            }
            Content::Copy(from) => {
                let file = File::open(from).with_context(|| format!("cannot open {}", from.display()))?;
                let mut header = self.header(EntryType::Regular, 0o755, file.metadata()?.len());
                builder.append_data(&mut header, path, file)?;
            }
        }
        Ok(())
    }

    fn add(&self, builder: &mut Builder<impl Write>, path: &str, bytes: &[u8]) -> Result<()> {
        let mut header = self.header(EntryType::Regular, 0o644, length(bytes));
        builder.append_data(&mut header, path, bytes)?;
        Ok(())
    }

    /// Owned by root: where nothing is said, there is no number at all.
    fn header(&self, kind: EntryType, mode: u32, size: u64) -> Header {
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_size(size);
        header.set_mtime(self.made);
        header.set_uid(0);
        header.set_gid(0);
        header
    }

    fn config(&self, layer: &str) -> Value {
        json!({
            "created": time::written(self.made),
            "architecture": self.architecture,
            "os": "linux",
            "config": {
                "Entrypoint": self.entry,
                "Cmd": self.arguments,
                "Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
                "Labels": self.labels,
            },
            "rootfs": {"type": "layers", "diff_ids": [layer]},
        })
    }

    fn index(&self, manifest: &str, size: u64) -> Value {
        let mut entry = descriptor(MANIFEST, manifest, size);
        entry["platform"] = json!({"architecture": self.architecture, "os": "linux"});
        entry["annotations"] = json!({
            // containerd takes the first of these, others the second.
            "io.containerd.image.name": self.name,
            "org.opencontainers.image.ref.name": self.name,
        });
        json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]})
    }
}

fn descriptor(kind: &str, digest: &str, size: u64) -> Value {
    json!({"mediaType": kind, "digest": digest, "size": size})
}

/// Where the blob with this digest stands.
fn blob(digest: &str) -> String {
    format!("blobs/{}", digest.replace(':', "/"))
}

fn length(bytes: &[u8]) -> u64 {
    // No slice is longer than its type can count.
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
