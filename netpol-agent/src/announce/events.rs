//! Kubernetes Events: a Warning on a local pod that is not enforced, and on a NetworkPolicy that is not realized as it is
//! written.
//!
//! An Event's name is made from what it is about and what it says, and from the hour. So a thousand agents that find the
//! same wrong policy make one Event an hour: the first creates it, the others are told that it is there. Only agents
//! with a pod that the policy selects speak of it.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use http::{Request, header};
use kube::Client;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::control::protocol::{Moment, RepairedLine, Status};

/// Events of one look at most; what is left comes with the next ones.
const AT_ONCE: usize = 10;
/// How long an Event stands for what it says.
const PERIOD: Duration = Duration::from_secs(3600);
/// How long the API server may take for one.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest text that the API server takes is 1024 bytes.
const LONGEST: usize = 1000;
/// Characters of an object's name in an Event's, which has at most 253.
const NAME: usize = 200;

/// What is to be said of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Trouble {
    kind: &'static str,
    namespace: String,
    name: String,
    reason: &'static str,
    message: String,
}

/// Speaks to the API server, and remembers what it has said.
pub(super) struct Events {
    client: Arc<Client>,
    node: String,
    /// When each was said, in periods since 1970.
    said: BTreeMap<Trouble, i64>,
    /// The server has refused it for want of rights; said once.
    forbidden: bool,
}

impl Events {
    pub(super) fn new(client: Arc<Client>, node: &str) -> Self {
        Self { client, node: node.to_owned(), said: BTreeMap::new(), forbidden: false }
    }

    /// Says what is wrong now and was not said in this period.
    pub(super) async fn say(&mut self, status: &Status) {
        let now = Moment::now();
        let period = now.milliseconds() / i64::try_from(PERIOD.as_millis()).unwrap_or(i64::MAX);
        let troubles = troubles(status);
        self.said.retain(|trouble, _| troubles.contains(trouble));
        let new: Vec<Trouble> =
            troubles.into_iter().filter(|trouble| self.said.get(trouble) != Some(&period)).collect();
        for trouble in new.into_iter().take(AT_ONCE) {
            let Ok(answer) = timeout(PATIENCE, self.create(&trouble, now, period)).await else {
                debug!("the API server has taken no Event for {} s", PATIENCE.as_secs());
                return;
            };
            match answer {
                // Somebody has said it in this period, or the object is gone with its namespace.
                Ok(_) => {}
                Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
                Err(kube::Error::Api(status)) if status.code == 403 => {
                    if !std::mem::replace(&mut self.forbidden, true) {
                        warn!(
                            "the API server takes no Events of us (deploy/rbac.yaml gives the right): {}",
                            status.message
                        );
                    }
                }
                Err(error) => {
                    debug!(%error, "cannot create an Event");
                    return;
                }
            }
            self.said.insert(trouble, period);
        }
    }

    async fn create(&self, trouble: &Trouble, now: Moment, period: i64) -> Result<String, kube::Error> {
        let event = event(trouble, &self.node, now, period);
        let request = Request::post(format!("/api/v1/namespaces/{}/events", trouble.namespace))
            .header(header::CONTENT_TYPE, "application/json")
            .body(event.to_string().into_bytes())
            .map_err(kube::Error::HttpError)?;
        self.client.request_text(request).await
    }
}

fn event(trouble: &Trouble, node: &str, now: Moment, period: i64) -> Value {
    let Trouble { kind, namespace, name, reason, message } = trouble;
    let api = if *kind == "Pod" { "v1" } else { "networking.k8s.io/v1" };
    let digest = Sha256::digest(format!("{kind}\0{namespace}\0{name}\0{reason}\0{message}\0{period}"));
    let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let short: String = name.chars().take(NAME).collect();
    let time = now.to_string();
    // The API's times have whole seconds.
    let time = time.split_once('.').map_or(time.clone(), |(whole, _)| format!("{whole}Z"));
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"namespace": namespace, "name": format!("{}.{digest}", short.trim_end_matches(['.', '-']))},
        "involvedObject": {"apiVersion": api, "kind": kind, "namespace": namespace, "name": name},
        "type": "Warning",
        "reason": reason,
        "message": message,
        "source": {"component": "netpol", "host": node},
        "reportingComponent": "netpol.io/agent",
        "reportingInstance": node,
        "firstTimestamp": time,
        "lastTimestamp": time,
        "count": 1,
    })
}

/// What is wrong by a status.
fn troubles(status: &Status) -> BTreeSet<Trouble> {
    let mut all = BTreeSet::new();
    let mut say = |kind, object: &str, reason, message: String| {
        let Some((namespace, name)) = object.split_once('/') else { return };
        let message: String = message.chars().filter(|c| !c.is_control()).take(LONGEST / 4).collect();
        all.insert(Trouble { kind, namespace: namespace.to_owned(), name: name.to_owned(), reason, message });
    };
    for refused in &status.refused {
        say("Pod", &refused.pod, "NotHooked", format!("{}: {}", refused.interface, refused.reason));
    }
    for repaired in &status.repaired {
        let RepairedLine { interface, direction, time, .. } = repaired;
        let message = format!(
            "{interface}: somebody had taken the classifier off ({direction}): it was not enforced until {time}, and is again"
        );
        say("Pod", &repaired.pod, "HookRepaired", message);
    }
    for line in &status.unenforced {
        let message = format!("{}: {} ({})", line.interface, line.message, line.remedy);
        say("Pod", &line.pod, "NotEnforced", message);
    }
    for policy in status.policies.iter().filter(|policy| policy.local_pods > 0) {
        for problem in &policy.problems {
            let remedy =
                if problem.remedy.is_empty() { String::new() } else { format!(" ({})", problem.remedy) };
            let message = format!("{}: {}{remedy}", problem.field, problem.message);
            say("NetworkPolicy", &policy.policy, "NotRealizedAsWritten", message);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        control::protocol::{PolicyLine, RefusedLine},
        sources::Located,
    };

    fn problem() -> Located {
        Located {
            file: None,
            line: None,
            kind: "NetworkPolicy".to_owned(),
            object: "shop/web".to_owned(),
            field: "spec.ingress[0].from[0].ipBlock.cidr".to_owned(),
            message: "no CIDR".to_owned(),
            remedy: "write 10.0.0.0/8".to_owned(),
        }
    }

    fn status(local_pods: usize) -> Status {
        let policy = PolicyLine {
            policy: "shop/web".to_owned(),
            local_pods,
            problems: vec![problem()],
            ..PolicyLine::default()
        };
        let refusal = RefusedLine {
            pod: "shop/a".to_owned(),
            interface: "veth1".to_owned(),
            reason: "no slot is left".to_owned(),
        };
        Status { policies: vec![policy], refused: vec![refusal], ..Status::default() }
    }

    #[test]
    fn a_pod_that_is_not_enforced_and_a_policy_with_a_problem_are_said() {
        let said: Vec<_> =
            troubles(&status(1)).into_iter().map(|t| (t.kind, t.name, t.reason, t.message)).collect();
        let policy = "spec.ingress[0].from[0].ipBlock.cidr: no CIDR (write 10.0.0.0/8)";
        assert_eq!(
            said,
            [
                ("NetworkPolicy", "web".into(), "NotRealizedAsWritten", policy.into()),
                ("Pod", "a".into(), "NotHooked", "veth1: no slot is left".into()),
            ]
        );
    }

    #[test]
    fn of_policies_only_agents_with_a_pod_of_theirs_speak() {
        assert!(troubles(&status(0)).iter().all(|trouble| trouble.kind == "Pod"));
    }

    #[test]
    fn every_agent_makes_the_same_event_of_the_same_trouble_for_an_hour() {
        let troubles = troubles(&status(1));
        let trouble = troubles.first().unwrap();
        let name = |node: &str, period| {
            event(trouble, node, Moment::from_milliseconds(5), period)["metadata"].clone()
        };
        assert_eq!(name("a", 1), name("b", 1));
        assert_ne!(name("a", 1), name("a", 2));
        let whole = event(trouble, "a", Moment::from_milliseconds(1500), 1);
        assert_eq!(whole["firstTimestamp"], "1970-01-01T00:00:01Z");
        assert_eq!(whole["type"], "Warning");
    }
}
