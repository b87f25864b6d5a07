//! What the reconciler needs of the kernel, so that its tests can stand in for one.

use std::collections::{BTreeMap, BTreeSet};

use netpol_policy::engine::TableOp;

use crate::datapath::{Attachment, Counters, Error, Hold, Meeting, Met, Surroundings, TakenOver};

/// What the reconciler needs of the kernel.
pub trait Datapath {
    /// Applies operations in their order; says which ones failed, and why.
    fn apply(&mut self, operations: &[TableOp]) -> Vec<(TableOp, String)>;
    /// Says of a bridge whether the tag can be believed of packets that came in by it.
    ///
    /// # Errors
    /// When the kernel refuses; the tag is then not believed.
    fn trust_bridge(&mut self, ifindex: u32, trusted: bool) -> Result<(), String>;
    /// The bridges of which the tag is believed, an earlier agent's among them.
    fn trusted_bridges(&self) -> BTreeSet<u32>;
    /// Takes the gate off an interface that carries all that its endpoint is to carry.
    ///
    /// # Errors
    /// When the kernel refuses; the interface stays closed.
    fn open_gate(&mut self, ifindex: u32) -> Result<(), String>;
    /// Whether a gate closes an interface.
    fn is_gated(&self, ifindex: u32) -> bool;
    /// Attaches entries again that were seen to be off, and says what became of those that are still wanted.
    fn mend(&mut self, lost: &BTreeMap<Attachment, Hold>) -> Vec<(Attachment, Result<(), String>)>;
    /// Lets a link hold the next entry after a place that a filter holds because its pod was starting; `None` when there is
    /// no other one.
    fn hold_by_link(&mut self, after: Option<Attachment>) -> Option<(Attachment, Result<(), String>)>;
    /// The interfaces that gates close.
    ///
    /// # Errors
    /// When it cannot be read.
    fn gates(&self) -> Result<BTreeSet<u32>, String>;
    /// What has been counted.
    ///
    /// # Errors
    /// When it cannot be read.
    fn counters(&self) -> Result<Counters, String>;
    /// Sets of backends that some flow was judged by.
    fn referenced_backends(&self) -> BTreeSet<u32>;
    /// Says where pods hang, by the index of the host's interface.
    fn set_surroundings(&mut self, surroundings: BTreeMap<u32, Surroundings>);
    /// What became of the connections that a pod had open when it was hooked first, by its slot; `None` when nobody
    /// had to ask.
    fn taken_over(&self, slot: u32) -> Option<TakenOver>;
    /// Why open connections could not be read.
    fn takeover_fault(&self) -> Option<String>;
    /// What the first packet of a flow meets in the tables as they are now.
    ///
    /// # Errors
    /// When they cannot be read.
    fn meet(&self, meeting: &Meeting) -> Result<Met, String>;
}

/// An error with its causes, for people.
fn text(error: Error) -> String {
    format!("{:#}", anyhow::Error::new(error))
}

impl Datapath for crate::datapath::Datapath {
    fn apply(&mut self, operations: &[TableOp]) -> Vec<(TableOp, String)> {
        let failed = Self::apply(self, operations);
        failed.into_iter().map(|(op, error)| (op, text(error))).collect()
    }

    fn trust_bridge(&mut self, ifindex: u32, trusted: bool) -> Result<(), String> {
        Self::trust_bridge(self, ifindex, trusted).map_err(text)
    }

    fn trusted_bridges(&self) -> BTreeSet<u32> {
        Self::trusted_bridges(self)
    }

    fn open_gate(&mut self, ifindex: u32) -> Result<(), String> {
        Self::open_gate(self, ifindex).map_err(text)
    }

    fn is_gated(&self, ifindex: u32) -> bool {
        Self::is_gated(self, ifindex)
    }

    fn mend(&mut self, lost: &BTreeMap<Attachment, Hold>) -> Vec<(Attachment, Result<(), String>)> {
        let mended = Self::mend(self, lost);
        mended.into_iter().map(|(place, result)| (place, result.map_err(text))).collect()
    }

    fn hold_by_link(&mut self, after: Option<Attachment>) -> Option<(Attachment, Result<(), String>)> {
        Self::hold_by_link(self, after).map(|(place, result)| (place, result.map_err(text)))
    }

    fn gates(&self) -> Result<BTreeSet<u32>, String> {
        Self::gates(self).map_err(text)
    }

    fn counters(&self) -> Result<Counters, String> {
        Self::counters(self).map_err(text)
    }

    fn referenced_backends(&self) -> BTreeSet<u32> {
        Self::referenced_backends(self)
    }

    fn set_surroundings(&mut self, surroundings: BTreeMap<u32, Surroundings>) {
        Self::set_surroundings(self, surroundings);
    }

    fn taken_over(&self, slot: u32) -> Option<TakenOver> {
        Self::taken_over(self, slot).cloned()
    }

    fn takeover_fault(&self) -> Option<String> {
        Self::takeover_fault(self).map(str::to_owned)
    }

    fn meet(&self, meeting: &Meeting) -> Result<Met, String> {
        Self::meet(self, meeting).map_err(text)
    }
}
