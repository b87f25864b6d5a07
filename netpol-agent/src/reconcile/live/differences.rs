//! Where the live tables say something else than the objects, and why that may be.
//!
//! What is compared is the outcome. A Service's backends are judged all at once at the sender, and again one by one
//! where they are pods of this node: that is no difference as long as the backend's outcome is the same.

use netpol_common::{Direction, Reason, tables::SET_CLOSED};
use netpol_policy::why::{FlowExplanation, Side};

use super::{Asked, LiveSide, reason_of, words};
use crate::{
    datapath::{Entry, Hook, Meeting, Met, first_packet},
    reconcile::{Datapath, Reconciler},
};

impl<D: Datapath> Reconciler<D> {
    /// The differences of both sides.
    pub(super) fn differences(&self, flow: &FlowExplanation, egress: &Asked, ingress: &Asked) -> Vec<String> {
        let mut found = Vec::new();
        if differs_at_source(flow, egress) {
            found.push(self.difference("egress", &flow.source, &flow.egress, egress));
        }
        if differs_at_destination(flow, ingress) {
            found.push(self.difference("ingress", &flow.destination, &flow.ingress, ingress));
        }
        found
    }

    fn difference(&self, direction: &str, of: &str, said: &Side, asked: &Asked) -> String {
        let said = if said.allows() { "allow" } else { "deny" };
        let met = if asked.side.is_dropped() { "dropped" } else { "let through" };
        let why = match (&asked.met, &asked.side) {
            (Some((meeting, met)), _) => self.cause(meeting, met),
            (None, LiveSide::Elsewhere { why, .. } | LiveSide::Unhooked { why }) => why.clone(),
            (None, LiveSide::NoPod | LiveSide::Judged(_)) => String::new(),
        };
        format!("{direction} of {of}: the policies {said} it, and it is {met}: {why}")
    }

    /// Why the kernel does something else than the objects say: the first cause that is known.
    fn cause(&self, meeting: &Meeting, met: &Met) -> String {
        let slot = meeting.arrival.slot;
        let name = self.endpoint_name(slot);
        match met.hook {
            Hook::Gone => {
                return format!(
                    "somebody has taken our classifier off {name}; the agent attaches it again within seconds"
                );
            }
            Hook::Empty => {
                return format!(
                    "the entry on {name} calls no classifier; a new start of the agent sets it again"
                );
            }
            Hook::None if self.failed_hooks.contains_key(&slot) => return self.why_unhooked(meeting),
            Hook::None | Hook::SourceCheck | Hook::Full => {}
        }
        if !self.settled || self.dirty {
            return "the agent has not written everything yet; ask again".to_owned();
        }
        let (_, written) = first_packet(self.engine.tables(), meeting);
        if let Some((held, wrote)) = met.entries.iter().zip(&written).find(|(held, wrote)| held != wrote) {
            return self.changed_entry(held, wrote);
        }
        if met.decision.set == SET_CLOSED {
            let known = self.engine.endpoint(slot).is_some_and(|endpoint| endpoint.pod.is_some());
            return if known {
                format!(
                    "{name} is closed, as its policies could not be written in whole{}",
                    self.first_problem()
                )
            } else {
                format!("{name} is closed, as the object of its pod is not known")
            };
        }
        if let Some(cause) = reason_of(met).and_then(words::cause) {
            return cause.to_owned();
        }
        format!("the tables could not take everything in{}", self.first_problem())
    }

    /// What the engine could not realize, if there is such a thing.
    fn first_problem(&self) -> String {
        let problem = self.engine.problems().into_iter().next();
        problem.map_or_else(String::new, |problem| {
            format!(" ({}; {}); `netpol status` lists all problems", problem.message, problem.remedy)
        })
    }

    /// The policy set by which the sender was judged where the packet arrives.
    pub(super) fn set_of_sender(&self, met: &Met, meeting: &Meeting) -> u32 {
        let of_sender = |entry: &Entry| match entry {
            Entry::Judgement { slot, direction: Direction::Egress, set } if *slot != meeting.arrival.slot => {
                Some(*set)
            }
            _ => None,
        };
        met.entries.iter().find_map(of_sender).unwrap_or(SET_CLOSED)
    }
}

fn differs_at_source(flow: &FlowExplanation, egress: &Asked) -> bool {
    let Some(passes) = egress.side.passes() else { return false };
    let allows = flow.egress.allows();
    match egress.met.as_ref().and_then(|(_, met)| reason_of(met)) {
        // The destination looks again.
        Some(Reason::Deferred) => false,
        _ => passes != allows,
    }
}

fn differs_at_destination(flow: &FlowExplanation, ingress: &Asked) -> bool {
    let Some(passes) = ingress.side.passes() else { return false };
    match ingress.met.as_ref().and_then(|(_, met)| reason_of(met)) {
        // The sender's egress, judged here.
        Some(Reason::SenderDenied) => flow.egress.allows(),
        _ => passes != flow.ingress.allows(),
    }
}
