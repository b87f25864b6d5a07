//! Kubernetes Events: a Warning on a local pod that is not enforced, on a NetworkPolicy that is not realized as it is
//! written, and on a Namespace or Node whose break-glass switch is set. What is mended is a Warning no more.
//!
//! An Event's name is made from what it is about and what it says, and from the hour. So a thousand agents that find the
//! same wrong policy make one Event an hour: the first creates it, the others are told that it is there. Only agents
//! with a pod that the policy selects speak of it.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::{Request, header, request};
use kube::Client;
use netpol_policy::{
    model::{BREAK_GLASS as ANNOTATION, Kind},
    read::api_version,
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tokio::time::{error::Elapsed, timeout};
use tracing::{debug, warn};

use crate::control::protocol::{BreakGlassLine, Moment, RepairedLine, Status};

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

/// Reasons that end in their own way.
const HOOK_REPAIRED: &str = "HookRepaired";
const BREAK_GLASS: &str = "BreakGlass";

/// What is to be said of an object.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Trouble {
    kind: Kind,
    /// Of the object; empty for a Node.
    namespace: String,
    name: String,
    reason: &'static str,
    message: String,
}

impl Trouble {
    /// Under which reason it is said that it is over; `None` for what happened once.
    fn reason_when_over(&self) -> Option<&'static str> {
        match self.reason {
            HOOK_REPAIRED => None,
            BREAK_GLASS => Some("BreakGlassEnded"),
            _ => Some("Mended"),
        }
    }

    /// Where its Events are: those of a Node in the namespace `default`.
    fn events(&self) -> String {
        let namespace = if self.namespace.is_empty() { "default" } else { &self.namespace };
        format!("/api/v1/namespaces/{namespace}/events")
    }

    /// The name of its Event in a period: the same for every agent.
    fn event(&self, period: i64) -> String {
        let Self { kind, namespace, name, reason, message } = self;
        let kind = kind.name();
        let digest = Sha256::digest(format!("{kind}\0{namespace}\0{name}\0{reason}\0{message}\0{period}"));
        let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
        let short: String = name.chars().take(NAME).collect();
        format!("{}.{digest}", short.trim_end_matches(['.', '-']))
    }
}

/// Speaks to the API server, and remembers what it has said.
pub(super) struct Events {
    client: Arc<Client>,
    node: String,
    /// When each was said last, in periods since 1970; until it is over.
    said: BTreeMap<Trouble, i64>,
    /// The server has refused it for want of rights; said once.
    forbidden: bool,
}

impl Events {
    pub(super) fn new(client: Arc<Client>, node: &str) -> Self {
        Self { client, node: node.to_owned(), said: BTreeMap::new(), forbidden: false }
    }

    /// Says what is wrong now and was not said in this period, and takes back what is over.
    pub(super) async fn say(&mut self, status: &Status) {
        let now = Moment::now();
        let period = now.milliseconds() / i64::try_from(PERIOD.as_millis()).unwrap_or(i64::MAX);
        let troubles = troubles(status);
        let over: Vec<(Trouble, i64)> = self
            .said
            .iter()
            .filter(|(trouble, _)| !troubles.contains_key(trouble))
            .map(|(trouble, period)| (trouble.clone(), *period))
            .take(AT_ONCE)
            .collect();
        for (trouble, last) in over {
            let answer = timeout(PATIENCE, self.take_back(&trouble, last)).await;
            if !self.is_settled(answer) {
                return;
            }
            self.said.remove(&trouble);
        }
        let ours = troubles.into_iter().filter_map(|(trouble, ours)| ours.then_some(trouble));
        let new: Vec<Trouble> =
            ours.filter(|trouble| self.said.get(trouble) != Some(&period)).take(AT_ONCE).collect();
        for trouble in new {
            let answer = timeout(PATIENCE, self.warn(&trouble, now, period)).await;
            if !self.is_settled(answer) {
                return;
            }
            self.said.insert(trouble, period);
        }
    }

    /// Whether nothing is to be tried again.
    fn is_settled(&mut self, answer: Result<Result<(), kube::Error>, Elapsed>) -> bool {
        match answer {
            // Or the object is gone with its namespace, the Event with its time.
            Ok(Ok(())) => true,
            Ok(Err(kube::Error::Api(status))) if status.code == 404 => true,
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                if !std::mem::replace(&mut self.forbidden, true) {
                    warn!(
                        "the API server takes no Events of us (deploy/rbac.yaml gives the right): {}",
                        status.message
                    );
                }
                true
            }
            Ok(Err(error)) => {
                debug!(%error, "cannot create or change an Event");
                false
            }
            Err(_) => {
                debug!("the API server has taken no Event for {} s", PATIENCE.as_secs());
                false
            }
        }
    }

    async fn warn(&self, trouble: &Trouble, now: Moment, period: i64) -> Result<(), kube::Error> {
        let event = event(trouble, &self.node, now, period);
        let request = Request::post(trouble.events()).header(header::CONTENT_TYPE, "application/json");
        match self.ask(request, &event).await {
            // Somebody has said it in this period. It may have been over since.
            Err(kube::Error::Api(status)) if status.code == 409 => {
                self.change(trouble, period, ("Warning", trouble.reason), &trouble.message).await
            }
            answer => answer,
        }
    }

    /// Events cannot be deleted with the rights that we have: what is over is made a normal one.
    async fn take_back(&self, trouble: &Trouble, last: i64) -> Result<(), kube::Error> {
        let Some(reason) = trouble.reason_when_over() else { return Ok(()) };
        let message = format!("no longer so: {}", trouble.message);
        // The one before may still be there.
        for period in [last - 1, last] {
            match self.change(trouble, period, ("Normal", reason), &message).await {
                Err(kube::Error::Api(status)) if status.code == 404 => {}
                answer => answer?,
            }
        }
        Ok(())
    }

    /// The same change by every agent, without a time: only the first one writes.
    async fn change(
        &self,
        trouble: &Trouble,
        period: i64,
        (kind, reason): (&str, &str),
        message: &str,
    ) -> Result<(), kube::Error> {
        let path = format!("{}/{}", trouble.events(), trouble.event(period));
        let request = Request::patch(path).header(header::CONTENT_TYPE, "application/merge-patch+json");
        self.ask(request, &json!({"type": kind, "reason": reason, "message": message})).await
    }

    async fn ask(&self, request: request::Builder, body: &Value) -> Result<(), kube::Error> {
        let request = request.body(body.to_string().into_bytes()).map_err(kube::Error::HttpError)?;
        self.client.request_text(request).await.map(drop)
    }
}

fn event(trouble: &Trouble, node: &str, now: Moment, period: i64) -> Value {
    let Trouble { kind, namespace, name, reason, message } = trouble;
    let time = now.to_string();
    // The API's times have whole seconds.
    let time = time.split_once('.').map_or(time.clone(), |(whole, _)| format!("{whole}Z"));
    let mut object = json!({"apiVersion": api_version(*kind), "kind": kind.name(), "name": name});
    if namespace.is_empty() {
        // Events of nodes are found by this.
        object["uid"] = name.as_str().into();
    } else {
        object["namespace"] = namespace.as_str().into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": trouble.event(period)},
        "involvedObject": object,
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

/// What is wrong by a status, and whether this agent is to say so; of what others say it is to know when it is over.
fn troubles(status: &Status) -> BTreeMap<Trouble, bool> {
    let mut all = BTreeMap::new();
    let mut say = |kind, object: &str, reason, message: String, ours| {
        let Some((namespace, name)) = object.split_once('/') else { return };
        let message: String = message.chars().filter(|c| !c.is_control()).take(LONGEST / 4).collect();
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        all.insert(Trouble { kind, namespace, name, reason, message }, ours);
    };
    for refused in &status.refused {
        let message = format!("{}: {}", refused.interface, refused.reason);
        say(Kind::Pod, &refused.pod, "NotHooked", message, true);
    }
    for repaired in &status.repaired {
        let RepairedLine { interface, direction, time, .. } = repaired;
        let message = format!(
            "{interface}: somebody had taken the classifier off ({direction}): it was not enforced until {time}, and is again"
        );
        say(Kind::Pod, &repaired.pod, HOOK_REPAIRED, message, true);
    }
    for line in &status.unenforced {
        let message = format!("{}: {} ({})", line.interface, line.message, line.remedy);
        say(Kind::Pod, &line.pod, "NotEnforced", message, true);
    }
    for policy in &status.policies {
        for problem in &policy.problems {
            let remedy =
                if problem.remedy.is_empty() { String::new() } else { format!(" ({})", problem.remedy) };
            let message = format!("{}: {}{remedy}", problem.field, problem.message);
            say(Kind::NetworkPolicy, &policy.policy, "NotRealizedAsWritten", message, policy.local_pods > 0);
        }
    }
    for BreakGlassLine { kind, name, pods } in &status.break_glass {
        let message = format!(
            "no NetworkPolicy is enforced for the pods of this {}: the annotation {ANNOTATION} is set (remove it to enforce again)",
            kind.to_lowercase()
        );
        if kind == Kind::Node.name() {
            say(Kind::Node, &format!("/{name}"), BREAK_GLASS, message, true);
        } else {
            // Where those of the namespace look for Events.
            say(Kind::Namespace, &format!("{name}/{name}"), BREAK_GLASS, message, !pods.is_empty());
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
            troubles(&status(1)).into_keys().map(|t| (t.kind, t.name, t.reason, t.message)).collect();
        let policy = "spec.ingress[0].from[0].ipBlock.cidr: no CIDR (write 10.0.0.0/8)";
        assert_eq!(
            said,
            [
                (Kind::Pod, "a".into(), "NotHooked", "veth1: no slot is left".into()),
                (Kind::NetworkPolicy, "web".into(), "NotRealizedAsWritten", policy.into()),
            ]
        );
    }

    #[test]
    fn of_policies_only_agents_with_a_pod_of_theirs_speak_and_all_know_when_it_is_over() {
        let others = troubles(&status(0));
        assert!(others.iter().all(|(trouble, ours)| *ours == (trouble.kind == Kind::Pod)), "{others:?}");
        assert_eq!(others.len(), 2);
        assert_eq!(troubles(&Status::default()).len(), 0);
    }

    #[test]
    fn a_break_glass_switch_is_said_where_it_is_set() {
        let line = |kind: &str, name: &str, pods: &[&str]| BreakGlassLine {
            kind: kind.to_owned(),
            name: name.to_owned(),
            pods: pods.iter().map(|pod| (*pod).to_owned()).collect(),
        };
        let break_glass = vec![
            line("Node", "n1", &[]),
            line("Namespace", "shop", &["shop/a"]),
            line("Namespace", "far", &[]),
        ];
        let said = troubles(&Status { break_glass, ..Status::default() });
        let events: Vec<_> = said
            .iter()
            .map(|(trouble, ours)| {
                (trouble.events(), event(trouble, "n1", Moment::from_milliseconds(0), 1), *ours)
            })
            .collect();
        let [(far, _, false), (shop, of_shop, true), (node, of_node, true)] = &events[..] else {
            panic!("{events:?}")
        };
        assert_eq!(far, "/api/v1/namespaces/far/events");
        assert_eq!(shop, "/api/v1/namespaces/shop/events");
        assert_eq!(
            of_shop["involvedObject"],
            json!({"apiVersion": "v1", "kind": "Namespace", "namespace": "shop", "name": "shop"})
        );
        assert_eq!(node, "/api/v1/namespaces/default/events");
        assert_eq!(
            of_node["involvedObject"],
            json!({"apiVersion": "v1", "kind": "Node", "name": "n1", "uid": "n1"})
        );
        assert!(said.keys().all(|trouble| trouble.reason_when_over() == Some("BreakGlassEnded")));
    }

    #[test]
    fn every_agent_makes_the_same_event_of_the_same_trouble_for_an_hour() {
        let troubles = troubles(&status(1));
        let trouble = troubles.keys().next().unwrap();
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
