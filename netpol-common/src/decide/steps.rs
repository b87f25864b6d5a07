//! The steps of a decision, one after the other.

use super::{
    Decision, Work,
    access::{Flows, Tables},
    arrival::Arrival,
    keep, known, look, open,
};
use crate::{packet::Packet, verdict::Direction};

/// One packet at one endpoint, and all that its decision works with.
pub struct Case<'a, T, F> {
    /// What it reads.
    pub tables: &'a T,
    /// What it keeps.
    pub flows: &'a mut F,
    /// The packet.
    pub packet: &'a Packet,
    /// Where it was met.
    pub arrival: &'a Arrival,
    /// Where it goes, as the pod sees it.
    pub direction: Direction,
    /// What one step leaves to the next.
    pub work: &'a mut Work,
    /// What becomes of the packet.
    pub out: &'a mut Decision,
}

/// What the first look leaves to be done.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Left {
    /// Nothing: it has decided.
    Nothing,
    /// A later fragment (5) is as its first one.
    LaterFragment,
    /// An ICMP error (6) speaks of a known flow.
    KnownByError,
    /// The packet belongs to a known flow (7).
    Known,
    /// It opens a flow (8).
    New,
    /// It opens a flow (8) in the place of one that is known.
    Renewed,
}

/// The steps. Each takes from [`Work`] what the one before has left there, and from nowhere else: the kernel calls them as
/// functions of their own, each of which its verifier walks once, instead of once for each path that leads there.
pub trait Steps {
    /// 1 to 7, and what is left.
    fn first_look(&mut self) -> Left;
    /// 5.
    fn later_fragment(&mut self);
    /// 7, or 6 where the packet only speaks of the flow.
    fn known_flow(&mut self, error: bool);
    /// Who opens a flow (8); `again` says that it is known.
    fn find_opener(&mut self, again: bool);
    /// 8.
    fn open_flow(&mut self);
    /// What became of a first fragment is kept for the later ones.
    fn remember_first_fragment(&mut self);
}

/// Goes through the steps.
#[inline(always)]
pub fn go<S: Steps>(steps: &mut S) {
    match steps.first_look() {
        Left::Nothing => return,
        Left::LaterFragment => return steps.later_fragment(),
        Left::KnownByError => steps.known_flow(true),
        Left::Known => steps.known_flow(false),
        Left::New => {
            steps.find_opener(false);
            steps.open_flow();
        }
        Left::Renewed => {
            steps.find_opener(true);
            steps.open_flow();
        }
    }
    steps.remember_first_fragment();
}

impl<T: Tables, F: Flows> Steps for Case<'_, T, F> {
    #[inline(always)]
    fn first_look(&mut self) -> Left {
        look::first_look(self)
    }
    #[inline(always)]
    fn later_fragment(&mut self) {
        keep::later_fragment(self);
    }
    #[inline(always)]
    fn known_flow(&mut self, error: bool) {
        known::known_flow(self, error);
    }
    #[inline(always)]
    fn find_opener(&mut self, again: bool) {
        open::find_opener(self, again);
    }
    #[inline(always)]
    fn open_flow(&mut self) {
        open::open_flow(self);
    }
    #[inline(always)]
    fn remember_first_fragment(&mut self) {
        keep::remember_first_fragment(self);
    }
}
