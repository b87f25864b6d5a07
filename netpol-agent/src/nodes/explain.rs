//! One answer about a flow, of the answers of several agents: each speaks of what its own node judges.

use std::collections::BTreeSet;

use anyhow::Context as _;
use netpol_policy::why::{self, FlowExplanation, Outcome};

use crate::{
    control::protocol::{Explanation, LivePath, LiveSide},
    explain::with_live,
};

/// What an agent says of a flow.
#[derive(Clone, Debug)]
pub struct Account {
    objects: why::Explanation,
    /// By flow.
    live: Vec<Vec<LivePath>>,
}

impl Account {
    /// Reads an agent's answer.
    ///
    /// # Errors
    /// When it is of a version that speaks otherwise.
    pub fn read(answer: &Explanation) -> anyhow::Result<Self> {
        let value = &answer.explanation;
        let otherwise = "the agent explains otherwise than this version; is it of another version?";
        let objects: why::Explanation = serde_json::from_value(value.clone()).context(otherwise)?;
        let live = |index: usize| serde_json::from_value(value["flows"][index]["live"].clone());
        let live = (0..objects.flows.len()).map(live).collect::<Result<_, _>>().context(otherwise)?;
        Ok(Self { objects, live })
    }

    /// Nodes whose agents must be asked as well.
    #[must_use]
    pub fn elsewhere(&self) -> BTreeSet<String> {
        let sides = self.live.iter().flatten().flat_map(|path| [&path.egress, &path.ingress]);
        sides.filter_map(node_of).map(str::to_owned).collect()
    }

    /// This account, with what the others know better.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn joined(mut self, others: &[Self]) -> anyhow::Result<Explanation> {
        for (flow, paths) in self.objects.flows.iter_mut().zip(&mut self.live) {
            for other in others {
                for path in paths.iter_mut() {
                    if let Some(better) = other.path(flow, path) {
                        complete(path, better);
                    }
                }
                if let Some(better) = other.as_its_receiver(flow) {
                    flow.clone_from(better);
                }
            }
        }
        self.objects.outcome = Outcome::of(&self.objects.flows);
        with_live(&self.objects, &self.live)
    }

    /// The same addresses of the same flow.
    fn path(&self, flow: &FlowExplanation, path: &LivePath) -> Option<&LivePath> {
        let same = |other: &&LivePath| (other.source, other.destination) == (path.source, path.destination);
        let flows = self.objects.flows.iter().zip(&self.live);
        let same_flow =
            |other: &FlowExplanation| other.payload == flow.payload && address_of(other) == address_of(flow);
        flows.filter(|(other, _)| same_flow(other)).find_map(|(_, paths)| paths.iter().find(same))
    }

    /// The same flow, if this agent's node judges what arrives: it knows whether the sender is the node itself.
    fn as_its_receiver(&self, flow: &FlowExplanation) -> Option<&FlowExplanation> {
        let same = |other: &FlowExplanation| {
            other.payload == flow.payload
                && address_of(other) == address_of(flow)
                && other.paths == flow.paths
        };
        let flows = self.objects.flows.iter().zip(&self.live);
        let judged = |paths: &[LivePath]| paths.iter().any(|path| path.ingress.passes().is_some());
        flows.filter(|(other, paths)| same(other) && judged(paths)).map(|(other, _)| other).next()
    }
}

fn address_of(flow: &FlowExplanation) -> Option<(std::net::IpAddr, &str)> {
    flow.frontend.as_ref().map(|frontend| (frontend.address, frontend.payload.as_str()))
}

fn node_of(side: &LiveSide) -> Option<&str> {
    match side {
        LiveSide::Elsewhere { node, .. } => node.as_deref(),
        LiveSide::NoPod | LiveSide::Unhooked { .. } | LiveSide::Judged(_) => None,
    }
}

fn complete(path: &mut LivePath, better: &LivePath) {
    for (side, better) in [(&mut path.egress, &better.egress), (&mut path.ingress, &better.ingress)] {
        if node_of(side).is_some() && node_of(better).is_none() {
            side.clone_from(better);
        }
    }
    for difference in &better.differences {
        if !path.differences.contains(difference) {
            path.differences.push(difference.clone());
        }
    }
}
