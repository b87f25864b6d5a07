//! One side of a flow: which rules allow it, or how near each policy comes.

use netpol_common::Direction;
use serde::{Deserialize, Serialize};

use super::{
    escape::{escaped, key_text},
    miss,
    party::Party,
};
use crate::{
    model::{Policy, Rule},
    spec::{Cluster, Payload},
};

/// What the policies of one end say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "verdict", rename_all = "kebab-case")]
pub enum Side {
    /// That end is no pod, so no policy speaks of it.
    NoPod,
    /// A pod of the node's network: no policy ever selects it.
    HostNetwork,
    /// A pod that has succeeded or failed: policies ignore it.
    Finished,
    /// No policy selects the pod in that direction.
    NotIsolated,
    /// Policies select the pod, and the break-glass switch keeps them from being enforced.
    BreakGlass {
        /// The object that carries the annotation, such as `Namespace shop`.
        by: String,
        /// The policies, `namespace/name`.
        policies: Vec<String>,
    },
    /// Allowed whatever the policies say.
    Always {
        /// Why.
        reason: AlwaysReason,
    },
    /// Allowed by every one of these rules.
    Allowed {
        /// The rules, by policy.
        by: Vec<Granted>,
    },
    /// Denied: these policies isolate the pod, and none has a rule for it.
    Denied {
        /// The policies, each with its nearest rule.
        policies: Vec<IsolatingPolicy>,
    },
}

impl Side {
    /// Whether this side lets the flow pass.
    #[must_use]
    pub const fn allows(&self) -> bool {
        !matches!(self, Self::Denied { .. })
    }
}

/// What no policy can deny.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AlwaysReason {
    /// A pod reaches itself.
    Itself,
    /// The node reaches its own pods.
    OwnNode,
}

/// A rule that allows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Granted {
    /// The policy, `namespace/name`.
    pub policy: String,
    /// Which rule of that direction, counted from 1.
    pub rule: usize,
    /// Its path, counted from 0, such as `spec.ingress[0]`.
    pub field: String,
}

/// A policy that isolates and does not allow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct IsolatingPolicy {
    /// The policy, `namespace/name`.
    pub policy: String,
    /// The rule that comes nearest; `None` when there is no rule in that direction.
    pub nearest: Option<NearestRule>,
}

/// The rule of a policy that comes nearest to allowing a flow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NearestRule {
    /// Which rule of that direction, counted from 1.
    pub rule: usize,
    /// The path of what does not match, such as `spec.ingress[0].ports`.
    pub field: String,
    /// What does not match.
    pub miss: Miss,
    /// The same in words: what the rule says, and what was asked.
    pub text: String,
}

/// What about a rule does not match, from the farthest to the nearest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Miss {
    /// It could not be read, and grants nothing.
    Void,
    /// Neither peer nor port.
    PeerAndPort,
    /// The peer.
    Peer,
    /// The port.
    Port,
}

/// What the policies of `own` say of a flow in a direction; `receiver` is whoever of the two receives.
pub(super) fn side(
    cluster: &Cluster,
    own: &Party,
    direction: Direction,
    peer: &Party,
    receiver: &Party,
    payload: Payload,
) -> Side {
    let Some(pod) = &own.pod else { return Side::NoPod };
    if pod.host_network {
        return Side::HostNetwork;
    }
    if pod.finished {
        return Side::Finished;
    }
    let mut isolating: Vec<(&Policy, &[Rule])> = cluster.selecting(pod, direction).collect();
    if isolating.is_empty() {
        return Side::NotIsolated;
    }
    isolating.sort_by(|(a, _), (b, _)| a.key.cmp(&b.key));
    if let Some((kind, name)) = cluster.break_glass(pod) {
        let policies = isolating.iter().map(|(policy, _)| key_text(&policy.key)).collect();
        return Side::BreakGlass { by: format!("{} {}", kind.name(), escaped(&name)), policies };
    }

    let mut by = Vec::new();
    let mut policies = Vec::new();
    for (policy, rules) in isolating {
        let mut nearest: Option<NearestRule> = None;
        for (index, rule) in rules.iter().enumerate() {
            let field = format!("spec.{}[{index}]", direction.name());
            let asked = miss::Asked { cluster, policy, direction, peer, receiver, payload };
            match asked.miss(rule) {
                None => by.push(Granted { policy: key_text(&policy.key), rule: index + 1, field }),
                Some(missed) => {
                    if nearest.as_ref().is_none_or(|other| missed.miss > other.miss) {
                        let field = format!("{field}{}", missed.field);
                        let text = escaped(&missed.text);
                        nearest = Some(NearestRule { rule: index + 1, field, miss: missed.miss, text });
                    }
                }
            }
        }
        policies.push(IsolatingPolicy { policy: key_text(&policy.key), nearest });
    }
    if by.is_empty() { Side::Denied { policies } } else { Side::Allowed { by } }
}
