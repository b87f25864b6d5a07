//! What a folder of manifests holds, file by file, and what has changed since the last update.
//!
//! Rules (row 51 of the specification's table, and the like): a file that is no YAML keeps its previous objects, and
//! before the first whole list it holds everything back; an object that cannot be read keeps its previous version;
//! of an object that stands in two places the first one counts, in the order of paths and then of lines.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use netpol_policy::{
    model::{Key, Kind, Object, Pod, SourceEvent},
    read::{Read, read_document},
};

use super::{
    document::{Document, Unreadable},
    file,
    listing::{Stamp, is_manifest, list},
};
use crate::sources::{Located, SourceUpdate};

const KEPT: &str = "correct the file; until then what it held before stays in force";

type Id = (Kind, Key);
type Place = (PathBuf, usize);

/// What one file holds.
#[derive(Debug, Default)]
struct File {
    stamp: Option<Stamp>,
    /// By position in the file; a position is taken by what could be read there.
    objects: Vec<Claim>,
    templates: Vec<Pod>,
    skipped: BTreeMap<String, usize>,
    problems: Vec<Located>,
    /// The file as it is now cannot be read; the rest is from before.
    broken: Option<Located>,
}

/// An object in one place.
#[derive(Clone, Debug, PartialEq)]
struct Claim {
    object: Object,
    line: u64,
    /// Only used when there is no good version of the object.
    stand_in: bool,
}

/// The state of the source.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    files: BTreeMap<PathBuf, File>,
    claims: BTreeMap<Id, BTreeSet<Place>>,
    /// What was told.
    published: BTreeMap<Id, Object>,
    touched: BTreeSet<Id>,
    held: BTreeSet<PathBuf>,
    missing: Option<Located>,
    synced: bool,
    changed: bool,
}

impl Folder {
    /// Nothing is read yet.
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            files: BTreeMap::new(),
            claims: BTreeMap::new(),
            published: BTreeMap::new(),
            touched: BTreeSet::new(),
            held: BTreeSet::new(),
            missing: None,
            synced: false,
            changed: true,
        }
    }

    /// Files that are being written; they are not read before they are closed.
    pub fn hold(&mut self, writing: BTreeSet<PathBuf>) {
        self.held = writing;
    }

    /// Reads every file at the next scan, changed or not.
    pub fn forget_stamps(&mut self) {
        for file in self.files.values_mut() {
            file.stamp = None;
        }
    }

    /// Whether [`update`](Self::update) has something to say.
    #[must_use]
    pub const fn changed(&self) -> bool {
        self.changed
    }

    /// Looks through the whole folder and reads what has changed. `found` hears of each folder before it is listed.
    pub fn scan(&mut self, found: &mut dyn FnMut(&Path)) {
        let mut paths = BTreeSet::new();
        let root = self.root.clone();
        let missing = list(&root, found, &mut paths).err().map(|error| {
            Located::of_file(
                root,
                None,
                format!("cannot list the folder: {error}"),
                "put the folder back; until then what it held stays in force",
            )
        });
        if missing != self.missing {
            self.missing = missing;
            self.changed = true;
        }
        if self.missing.is_some() {
            return;
        }
        let gone: Vec<PathBuf> = self.files.keys().filter(|path| !paths.contains(*path)).cloned().collect();
        for path in gone {
            self.remove(&path);
        }
        for path in paths {
            let stamp = Stamp::of(&path).ok();
            let known = self.files.get(&path).and_then(|file| file.stamp);
            if (stamp.is_none() || stamp != known) && !self.held.contains(&path) {
                self.read(&path);
            }
        }
    }

    /// Reads files that are known to have changed.
    pub fn reread(&mut self, paths: &BTreeSet<PathBuf>) {
        for path in paths.iter().filter(|path| is_manifest(path)) {
            self.read(path);
        }
    }

    fn remove(&mut self, path: &Path) {
        if let Some(file) = self.files.remove(path) {
            self.changed = true;
            self.unclaim(path, &file.objects);
        }
    }

    fn unclaim(&mut self, path: &Path, objects: &[Claim]) {
        for (index, claim) in objects.iter().enumerate() {
            let id = (claim.object.kind(), claim.object.key());
            if let Some(places) = self.claims.get_mut(&id) {
                places.remove(&(path.to_owned(), index));
                if places.is_empty() {
                    self.claims.remove(&id);
                }
            }
            self.touched.insert(id);
        }
    }

    fn read(&mut self, path: &Path) {
        let (stamp, bytes) = match file::load(path) {
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return self.remove(path),
            Err(error) => {
                return self.broken(
                    path,
                    None,
                    Located::of_file(path.to_owned(), None, format!("cannot read the file: {error}"), KEPT),
                );
            }
        };
        match file::parse(&bytes) {
            Ok(documents) => self.replace(path, stamp, &documents),
            Err(Unreadable { line, message }) => {
                self.broken(path, Some(stamp), Located::of_file(path.to_owned(), Some(line), message, KEPT));
            }
        }
    }

    fn broken(&mut self, path: &Path, stamp: Option<Stamp>, problem: Located) {
        let file = self.files.entry(path.to_owned()).or_default();
        file.stamp = stamp;
        self.changed |= file.broken.as_ref() != Some(&problem);
        file.broken = Some(problem);
    }

    fn replace(&mut self, path: &Path, stamp: Stamp, documents: &[Document]) {
        let old = self.files.remove(path).unwrap_or_default();
        let mut file = File { stamp: Some(stamp), ..File::default() };
        let mut nameless = false;
        for document in documents {
            for read in read_document(&document.value) {
                let located = |p| Located::of(p, Some(path.to_owned()), Some(document.line_of(&p.field)));
                file.problems.extend(read.problems().iter().map(located));
                match read {
                    Read::Object { object, .. } => {
                        file.objects.push(Claim { object, line: document.line, stand_in: false });
                    }
                    Read::SelectorUnreadable { policy, .. } => {
                        file.objects.push(Claim {
                            object: Object::Policy(policy),
                            line: document.line,
                            stand_in: true,
                        });
                    }
                    Read::Template { pod, .. } => file.templates.push(pod),
                    Read::Skipped { kind } => *file.skipped.entry(kind).or_default() += 1,
                    Read::Unreadable { .. } => nameless = true,
                }
            }
        }
        self.unclaim(path, &old.objects);
        if nameless {
            // Which object it was cannot be known: what is missing now may be it, and stays.
            let there: BTreeSet<Id> =
                file.objects.iter().map(|c| (c.object.kind(), c.object.key())).collect();
            file.objects.extend(
                old.objects.into_iter().filter(|c| !there.contains(&(c.object.kind(), c.object.key()))),
            );
        }
        for (index, claim) in file.objects.iter().enumerate() {
            let id = (claim.object.kind(), claim.object.key());
            self.claims.entry(id.clone()).or_default().insert((path.to_owned(), index));
            self.touched.insert(id);
        }
        self.changed = true;
        self.files.insert(path.to_owned(), file);
    }

    fn claim(&self, (path, index): &Place) -> Option<&Claim> {
        self.files.get(path)?.objects.get(*index)
    }

    /// The version of an object that counts.
    fn winner(&self, id: &Id) -> Option<Object> {
        let claim = self.claim(self.claims.get(id)?.first()?)?;
        if claim.stand_in {
            return Some(self.published.get(id).unwrap_or(&claim.object).clone());
        }
        Some(claim.object.clone())
    }

    /// What has changed, and all that is wrong. Until every file could be read once there are no events.
    pub fn update(&mut self) -> SourceUpdate {
        self.changed = false;
        let broken = self.files.values().any(|file| file.broken.is_some()) || self.missing.is_some();
        let mut events = Vec::new();
        if self.synced {
            for id in std::mem::take(&mut self.touched) {
                let new = self.winner(&id);
                if self.published.get(&id) == new.as_ref() {
                    continue;
                }
                events.push(match new {
                    Some(object) => {
                        self.published.insert(id, object.clone());
                        SourceEvent::Apply(object)
                    }
                    None => {
                        self.published.remove(&id);
                        SourceEvent::Delete(id.0, id.1)
                    }
                });
            }
        } else if !broken {
            self.synced = true;
            self.touched.clear();
            self.published =
                self.claims.keys().filter_map(|id| Some((id.clone(), self.winner(id)?))).collect();
            events.push(SourceEvent::Reset(self.published.values().cloned().collect()));
        }
        let mut skipped = BTreeMap::new();
        for (kind, count) in self.files.values().flat_map(|file| &file.skipped) {
            *skipped.entry(kind.clone()).or_default() += count;
        }
        let templates = self.files.values().flat_map(|file| file.templates.iter().cloned()).collect();
        let problems = self.problems().into();
        SourceUpdate { events, synced: self.synced, problems, skipped, templates, ..SourceUpdate::default() }
    }

    fn problems(&self) -> Vec<Located> {
        let mut problems: Vec<Located> = self.missing.iter().cloned().collect();
        for file in self.files.values() {
            problems.extend(file.broken.iter().cloned());
            problems.extend(file.problems.iter().cloned());
        }
        for ((kind, key), places) in self.claims.iter().filter(|(_, places)| places.len() > 1) {
            let mut places = places.iter();
            let Some((first, first_claim)) = places.next().and_then(|p| Some((&p.0, self.claim(p)?))) else {
                continue;
            };
            for place in places {
                problems.push(Located {
                    file: Some(place.0.clone()),
                    line: self.claim(place).map(|c| c.line),
                    kind: kind.name().to_owned(),
                    object: key.to_string(),
                    field: String::new(),
                    message: format!(
                        "stands in {}:{} too, which counts; this one is ignored",
                        first.display(),
                        first_claim.line
                    ),
                    remedy: "remove one of them".to_owned(),
                });
            }
        }
        problems
    }
}

#[cfg(test)]
mod tests;
