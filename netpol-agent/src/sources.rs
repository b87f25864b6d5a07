//! Where objects come from: anything that can say which objects there are, and what has changed.
//!
//! A source knows nothing of policies or tables. It sends [`SourceUpdate`]s; by the first one that is
//! [`synced`](SourceUpdate::synced) it has said everything that there is, and nothing is written before that.

pub mod api;
pub mod manifests;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::PathBuf,
    sync::Arc,
    time::Instant,
};

use netpol_policy::model::{Kind, Pod, Problem, SourceEvent};
use serde::{Deserialize, Serialize};

use crate::control::protocol::Moment;

/// A source of objects.
pub trait Source: Send {
    /// What people call it, such as the folder's path.
    fn name(&self) -> String;

    /// Reports until `deliver` says that nobody listens any more (it returns `false`). Runs on a thread of its own.
    ///
    /// # Errors
    /// What keeps it from reporting at all; what is wrong with single objects is reported in the updates.
    fn run(self: Box<Self>, deliver: &mut dyn FnMut(SourceUpdate) -> bool) -> anyhow::Result<()>;
}

/// What a source says after it has looked.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SourceUpdate {
    /// Changes to the objects; empty when only the report has changed.
    pub events: Vec<SourceEvent>,
    /// When each change among them was read from the wire, where that is measured; an object of a list is no change.
    pub read: Vec<Instant>,
    /// Whether everything was listed at least once.
    pub synced: bool,
    /// Of each kind the newest version that was heard of, also of an object that is gone; 0 where there are no versions.
    pub newest: BTreeMap<Kind, u64>,
    /// All that is wrong now, whole; the same list as before when nothing has changed.
    pub problems: Arc<[Located]>,
    /// Objects of kinds that are not read, by kind.
    pub skipped: BTreeMap<String, usize>,
    /// Pods as workloads will make them, named like `deployment/api`; only for questions about pods that do not exist yet.
    pub templates: Vec<Pod>,
    /// How far each kind's watch has got; empty for a source that has one look at everything.
    pub watches: Vec<Watched>,
}

/// How far the watch of one kind has got.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Watched {
    /// The kind.
    pub kind: String,
    /// How far.
    pub state: WatchState,
    /// Since when that is so.
    pub since: Moment,
    /// Whether everything was listed at least once.
    pub listed: bool,
    /// Why it is behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// How far a watch has got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum WatchState {
    /// What is there is being listed.
    Listing,
    /// Everything is known, and changes are heard.
    Watching,
    /// Nothing is heard; what was heard last stays in force.
    Behind,
}

impl WatchState {
    /// As `status` writes it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Listing => "listing",
            Self::Watching => "watching",
            Self::Behind => "behind",
        }
    }
}

/// A problem with the place where it was found.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Located {
    /// The file; `None` for an object of the API server.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The line in the file, counted from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// The kind, as the manifest writes it; empty when it is the file that is wrong.
    pub kind: String,
    /// Namespace and name, as far as they could be read.
    pub object: String,
    /// The path of the field.
    pub field: String,
    /// What is wrong, and what that means for traffic.
    pub message: String,
    /// What to do.
    pub remedy: String,
}

impl Located {
    /// A problem of an object.
    #[must_use]
    pub fn of(problem: &Problem, file: Option<PathBuf>, line: Option<u64>) -> Self {
        Self {
            file,
            line,
            kind: problem.kind.clone(),
            object: problem.object.to_string(),
            field: problem.field.clone(),
            message: problem.message.clone(),
            remedy: problem.remedy.clone(),
        }
    }

    /// A problem of a whole file.
    #[must_use]
    pub fn of_file(file: PathBuf, line: Option<u64>, message: String, remedy: &str) -> Self {
        Self {
            file: Some(file),
            line,
            kind: String::new(),
            object: String::new(),
            field: String::new(),
            message,
            remedy: remedy.to_owned(),
        }
    }
}

impl fmt::Display for Located {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}", crate::text::escape(&file.display().to_string()))?;
            if let Some(line) = self.line {
                write!(f, ":{line}")?;
            }
            f.write_str(": ")?;
        }
        if !self.kind.is_empty() {
            write!(f, "{} {}: ", crate::text::escape(&self.kind), crate::text::escape(&self.object))?;
        }
        if !self.field.is_empty() {
            write!(f, "{}: ", crate::text::escape(&self.field))?;
        }
        write!(f, "{}", crate::text::escape(&self.message))?;
        if !self.remedy.is_empty() {
            write!(f, " ({})", crate::text::escape(&self.remedy))?;
        }
        Ok(())
    }
}

/// The problems that are in `new` but not in `old`: what is worth a line in the log.
#[must_use]
pub fn appeared<'a>(old: &[Located], new: &'a [Located]) -> Vec<&'a Located> {
    if std::ptr::eq(old, new) {
        return Vec::new();
    }
    let known: BTreeSet<&Located> = old.iter().collect();
    new.iter().filter(|p| !known.contains(p)).collect()
}
