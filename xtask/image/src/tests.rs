use std::collections::BTreeMap;
use std::io::Read as _;

use serde_json::Value;
use tempfile::TempDir;

use super::{Content, Image, digest};

fn image() -> Image {
    let files = [
        ("bin/tool".into(), Content::Program(b"#!".to_vec())),
        ("etc/deep/er/text".into(), Content::Text("words".to_owned())),
        ("bin/link".into(), Content::Link("tool".into())),
        ("tmp".into(), Content::Folder(0o1777)),
    ];
    Image {
        name: "localhost/example:1".to_owned(),
        architecture: "amd64",
        entry: vec!["/bin/tool"],
        arguments: vec!["argument"],
        labels: BTreeMap::from([("org.opencontainers.image.title", "example".to_owned())]),
        files: BTreeMap::from(files),
        made: 1_700_000_000,
    }
}

/// The files of an archive by their names.
fn contents(archive: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        assert_eq!(entry.header().mtime().unwrap(), 1_700_000_000);
        assert_eq!((entry.header().uid().unwrap(), entry.header().gid().unwrap()), (0, 0));
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        (entry.path().unwrap().to_string_lossy().into_owned(), bytes)
    });
    entries.collect()
}

fn blob<'a>(files: &'a BTreeMap<String, Vec<u8>>, descriptor: &Value) -> &'a [u8] {
    let name = descriptor["digest"].as_str().unwrap();
    let bytes = &files[&super::blob(name)];
    assert_eq!(digest::of(bytes), name);
    assert_eq!(descriptor["size"], bytes.len());
    bytes
}

#[test]
fn every_digest_and_size_in_an_archive_is_that_of_a_blob_in_it() {
    let folder = TempDir::new().unwrap();
    let archive = folder.path().join("image.tar");
    let digest = image().write(&archive).unwrap();
    let files = contents(&std::fs::read(&archive).unwrap());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");

    let read = |bytes: &[u8]| -> Value { serde_json::from_slice(bytes).unwrap() };
    let index = read(&files["index.json"]);
    assert_eq!(index["manifests"][0]["digest"], digest);
    assert_eq!(index["manifests"][0]["annotations"]["io.containerd.image.name"], "localhost/example:1");
    let manifest = read(blob(&files, &index["manifests"][0]));
    let config = read(blob(&files, &manifest["config"]));
    assert_eq!(config["created"], "2023-11-14T22:13:20Z");
    assert_eq!(config["config"]["Entrypoint"][0], "/bin/tool");
    assert_eq!(config["rootfs"]["diff_ids"][0], manifest["layers"][0]["digest"], "it is not compressed");
    let layer = contents(blob(&files, &manifest["layers"][0]));
    let names: Vec<&str> = layer.keys().map(|name| name.trim_end_matches('/')).collect();
    let wanted = ["bin", "bin/link", "bin/tool", "etc", "etc/deep", "etc/deep/er", "etc/deep/er/text", "tmp"];
    assert_eq!(names, wanted);
}

#[test]
fn the_same_files_make_the_same_archive_and_another_date_another_one() {
    let folder = TempDir::new().unwrap();
    let write = |name: &str, image: &Image| {
        let archive = folder.path().join(name);
        (image.write(&archive).unwrap(), std::fs::read(archive).unwrap())
    };
    let first = write("first.tar", &image());
    assert!(first == write("second.tar", &image()), "not one byte may differ");
    assert_ne!(first.0, write("third.tar", &Image { made: 1, ..image() }).0);
}
