//! Flows that were opened earlier, and what is to become of their next packets.

use netpol_common::{Direction, flow::FlowKey};
use netpol_policy::model::Key;

use crate::{
    case::{Case, Sent},
    compiled::{Compiled, Said, Way},
    expected::{Expected, Place, egress, service},
    sight::{Behind, Sight},
};

/// By what a flow is judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    /// The pod has opened it: by its egress.
    Pod,
    /// Somebody else has: by its ingress.
    Peer,
    /// The pod in the slot has, and left its judgement to the destination: by both.
    Neighbour(u32),
    /// The node has, or the pod itself: always allowed.
    Privileged,
}

/// An open flow, at one of its ends.
#[derive(Clone, Debug)]
pub(crate) struct Open {
    pub(crate) way: Way,
    pub(crate) case: Case,
    origin: Origin,
    /// The pod at this end.
    pod: Key,
    /// What stood behind its destination when it was last judged by that.
    stored: Option<Behind>,
    /// Whether its last packet has passed.
    passes: bool,
}

impl Open {
    /// A flow that was opened just now.
    pub(crate) fn new(sight: &Sight, compiled: &Compiled, place: &Place) -> Option<Self> {
        let Place { way, case, .. } = *place;
        // What a pod says to its own address comes back by translation, if at all: with another one.
        if case.src == case.dst {
            return None;
        }
        let at = if matches!(way, Way::From(_)) { case.src } else { case.dst };
        let pod = sight.spec.owner(at)?.key.clone();
        let origin = match way {
            Way::From(_) => Origin::Pod,
            Way::To(_) => Origin::Peer,
            Way::Between(slot, sender) if slot != sender => Origin::Neighbour(sender),
            Way::Between(..) | Way::FromNode(_) => Origin::Privileged,
        };
        let mut open = Self { way, case, origin, pod, stored: None, passes: true };
        compiled.backends_of(way, &case)?;
        open.remember(sight, compiled);
        Some(open)
    }

    /// The flow as the endpoint knows it.
    pub(crate) fn key(&self) -> FlowKey {
        self.case.key(self.way.direction() == Direction::Egress)
    }

    /// What sets flows of different kinds apart.
    pub(crate) fn sort(&self) -> (u8, u8, bool) {
        let origin = match self.origin {
            Origin::Pod => 0,
            Origin::Peer => 1,
            Origin::Neighbour(_) => 2,
            Origin::Privileged => 3,
        };
        (origin, self.case.key(true).proto, self.stored.is_some())
    }

    /// Whether it was judged by what stands behind a Service.
    pub(crate) const fn is_to_service(&self) -> bool {
        self.stored.is_some()
    }

    /// A flow keeps the backends that it was judged by, since translation has pinned it to one of those.
    fn remember(&mut self, sight: &Sight, compiled: &Compiled) {
        match compiled.backends_of(self.way, &self.case) {
            None | Some(0) => self.stored = None,
            Some(_) if self.stored.is_none() => self.stored = sight.behind(&self.case),
            Some(_) => {}
        }
    }

    /// What is to become of its next packet; `None` when nobody can say, since its end is no longer what it was.
    pub(crate) fn expected(&self, sight: &Sight) -> Option<Expected> {
        let slot = self.way.slot();
        if !sight.has(slot) {
            return None;
        }
        let Case { src, dst, .. } = self.case;
        if self.origin == Origin::Privileged {
            return sight.is_at(slot, dst).then_some(Expected::Exactly(true));
        }
        if sight.unknown().any(|(_, unknown)| unknown == slot) {
            return Some(Expected::Exactly(sight.switched_off));
        }
        let own = if self.origin == Origin::Pod { src } else { dst };
        let owner = sight.spec.owner(own)?;
        if owner.key != self.pod || sight.slot(owner) != Some(slot) {
            return None;
        }
        let verdict = sight.spec.allows(&self.case.traffic());
        match self.origin {
            Origin::Pod => Some(match &self.stored {
                None => egress(sight, slot, self.case),
                Some(stored) => {
                    let mut behind = stored.clone();
                    behind.backends.retain(|one| !sight.is_gone(one));
                    behind.certain &= behind.backends.len() == stored.backends.len();
                    service(sight, slot, self.case, &behind)
                }
            }),
            Origin::Peer if sight.spec.owner(src).is_some_and(|peer| peer.key == owner.key) => None,
            Origin::Peer => Some(Expected::Exactly(verdict.ingress)),
            Origin::Neighbour(sender) if sight.slot_at(src) != Some(sender) => None,
            Origin::Neighbour(_) => Some(Expected::Both { ingress: verdict.ingress, egress: verdict.egress }),
            Origin::Privileged => Some(Expected::Exactly(true)),
        }
    }

    /// A packet in each direction, and how it comes.
    pub(crate) fn packets(&self) -> [(Way, Sent); 2] {
        let back = match self.way {
            Way::From(slot) => Way::To(slot),
            Way::To(slot) | Way::Between(slot, _) | Way::FromNode(slot) => Way::From(slot),
        };
        [(self.way, self.case.follows()), (back, self.case.answers())]
    }

    /// One of its packets was judged; says how it fares, when that has been seen before to be otherwise or the same.
    pub(crate) fn judged(&mut self, said: &Said, sight: &Sight, compiled: &Compiled) -> Option<&'static str> {
        let before = std::mem::replace(&mut self.passes, said.passes);
        self.remember(sight, compiled);
        match (before, said.passes) {
            (true, true) => Some("lived on"),
            (true, false) => Some("was stopped"),
            (false, true) => Some("went on again"),
            (false, false) => None,
        }
    }
}
