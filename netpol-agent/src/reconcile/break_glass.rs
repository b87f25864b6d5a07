//! The break-glass switch as it is said: in the status, of each policy, and in the log. What it does is the engine's.

use std::collections::BTreeSet;

use netpol_policy::model::{BREAK_GLASS, Kind};
use tracing::{info, warn};

use super::{Datapath, Reconciler};
use crate::control::protocol::BreakGlassLine;

impl<D: Datapath> Reconciler<D> {
    /// The objects whose switch is set, with the local pods that policies would isolate.
    pub(super) fn break_glass(&self) -> Vec<BreakGlassLine> {
        let released: Vec<_> = self
            .engine
            .endpoints()
            .filter(|endpoint| endpoint.released.contains(&true))
            .filter_map(|endpoint| endpoint.local.pod.as_ref())
            .collect();
        let line = |(kind, name): (Kind, &str)| {
            let pods = released.iter().filter(|pod| kind == Kind::Node || *pod.namespace == *name);
            let pods: BTreeSet<String> = pods.map(ToString::to_string).collect();
            BreakGlassLine {
                kind: kind.name().to_owned(),
                name: name.to_owned(),
                pods: pods.into_iter().collect(),
            }
        };
        self.engine.break_glass().map(line).collect()
    }

    /// What keeps the policies of a namespace from being enforced here; empty when nothing does.
    pub(super) fn stopped_by(&self, namespace: &str) -> String {
        let switch = self.engine.switch_over(Some(namespace));
        switch.map(|(kind, name)| format!("{} {name}", kind.name())).unwrap_or_default()
    }

    /// Says which switches are set since it was last looked, and which are gone.
    pub(super) fn log_break_glass(&mut self) {
        let now: BTreeSet<(Kind, String)> =
            self.engine.break_glass().map(|(kind, name)| (kind, name.to_owned())).collect();
        for (kind, name) in now.difference(&self.switched_off) {
            warn!(
                kind = kind.name(),
                name,
                "the annotation {BREAK_GLASS} is set: no policy is enforced for the pods there until it is gone"
            );
        }
        for (kind, name) in self.switched_off.difference(&now) {
            info!(
                kind = kind.name(),
                name, "the annotation {BREAK_GLASS} is gone: policies are enforced again"
            );
        }
        self.switched_off = now;
    }
}
