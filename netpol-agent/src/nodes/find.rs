//! Which agents a cluster has: a pod on each node, of a label.

use std::collections::BTreeMap;

use anyhow::Context as _;
use k8s_openapi::api::core::v1::{ContainerState, Node, Pod};
use kube::{
    Api, Client,
    api::{ListParams, ObjectList, PartialObjectMeta},
};

/// The label of the agents' pods.
pub const LABEL: &str = "app.kubernetes.io/name=netpol";
/// The container that the agent runs in.
pub const CONTAINER: &str = "agent";

/// The agent of a node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Agent {
    /// The node; empty while its pod is on none.
    pub node: String,
    /// The pod's name.
    pub pod: String,
    /// Why it cannot be asked.
    pub fault: Option<String>,
}

/// The agents in a namespace, by node; of these nodes only, if any are named.
///
/// # Errors
/// When the API server does not say, or there are none.
pub async fn agents(client: &Client, namespace: &str, nodes: &[String]) -> anyhow::Result<Vec<Agent>> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    let pods = pods.list(&ListParams::default().labels(LABEL)).await.with_context(|| {
        format!("cannot list the agents' pods of {namespace} (deploy/rbac-operator.yaml gives the right to)")
    })?;
    anyhow::ensure!(
        !pods.items.is_empty(),
        "no agent is there: no pod of namespace {namespace} has the label {LABEL}; --agents-namespace names another"
    );
    Ok(chosen(of_each_node(pods.items), nodes))
}

/// The names of all nodes.
///
/// # Errors
/// When the API server does not say.
pub async fn nodes(client: &Client) -> Result<Vec<String>, kube::Error> {
    let nodes: Api<Node> = Api::all(client.clone());
    let nodes: ObjectList<PartialObjectMeta<Node>> = nodes.list_metadata(&ListParams::default()).await?;
    Ok(nodes.items.into_iter().filter_map(|node| node.metadata.name).collect())
}

/// Of several pods on a node, as there are while one takes the place of another, the one that is fit to answer.
fn of_each_node(pods: Vec<Pod>) -> Vec<Agent> {
    let mut best: BTreeMap<String, (_, Agent)> = BTreeMap::new();
    for pod in pods {
        let agent = agent_of(&pod);
        let created = pod.metadata.creation_timestamp.map(|time| time.0);
        let rank = (agent.fault.is_none(), pod.metadata.deletion_timestamp.is_none(), created);
        // What is on no node takes nobody's place.
        let place = if agent.node.is_empty() { format!("/{}", agent.pod) } else { agent.node.clone() };
        match best.get(&place) {
            Some((other, _)) if *other >= rank => {}
            _ => drop(best.insert(place, (rank, agent))),
        }
    }
    let mut agents: Vec<Agent> = best.into_values().map(|(_, agent)| agent).collect();
    agents.sort_by_key(|agent| (agent.node.is_empty(), agent.node.clone()));
    agents
}

/// Those of the nodes that are named, each of which is there even if it has none.
fn chosen(agents: Vec<Agent>, nodes: &[String]) -> Vec<Agent> {
    if nodes.is_empty() {
        return agents;
    }
    let of = |node: &String| {
        let there = agents.iter().find(|agent| agent.node == *node).cloned();
        there.unwrap_or_else(|| Agent {
            node: node.clone(),
            pod: String::new(),
            fault: Some(format!("no pod of label {LABEL} is on it")),
        })
    };
    nodes.iter().map(of).collect()
}

fn agent_of(pod: &Pod) -> Agent {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone()).unwrap_or_default();
    let fault = fault(pod, &node).map(|fault| format!("its pod {name} {fault}"));
    Agent { node, pod: name, fault }
}

/// Why a pod cannot be asked.
fn fault(pod: &Pod, node: &str) -> Option<String> {
    if node.is_empty() {
        return Some("is on no node yet".to_owned());
    }
    let status = pod.status.as_ref();
    let containers = status.and_then(|status| status.container_statuses.as_deref()).unwrap_or_default();
    let state = containers.iter().find(|container| container.name == CONTAINER);
    let state = match state {
        Some(container) => container.state.as_ref(),
        None if containers.is_empty() => None,
        None => return Some(format!("has no container {CONTAINER}")),
    };
    match state {
        Some(ContainerState { running: Some(_), .. }) => None,
        Some(ContainerState { waiting: Some(waiting), .. }) => {
            let reason = waiting.reason.as_deref().unwrap_or("no reason is given");
            let message = waiting.message.as_ref().map(|message| format!(": {message}")).unwrap_or_default();
            Some(format!("waits to be started ({reason}{message})"))
        }
        Some(ContainerState { terminated: Some(ended), .. }) => {
            Some(format!("has ended with exit code {}", ended.exit_code))
        }
        _ => {
            let phase = status.and_then(|status| status.phase.as_deref()).unwrap_or("not started");
            Some(format!("is {phase}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn pod(name: &str, node: Option<&str>, state: &Value) -> Pod {
        serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": name, "creationTimestamp": "2026-01-01T12:00:00Z"},
            "spec": {"nodeName": node, "containers": []},
            "status": {"phase": "Running", "containerStatuses": [
                {"name": "agent", "image": "i", "imageID": "", "ready": true, "restartCount": 0, "state": state}]}
        }))
        .unwrap()
    }

    fn running() -> Value {
        json!({"running": {}})
    }

    #[test]
    fn each_node_has_one_agent_and_a_pod_that_runs_is_taken_before_one_that_ends_or_waits() {
        let mut ending = pod("old", Some("node-1"), &running());
        ending.metadata.deletion_timestamp = ending.metadata.creation_timestamp.clone();
        let waits = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting"}});
        let agents = of_each_node(vec![
            ending,
            pod("new", Some("node-1"), &running()),
            pod("also", Some("node-1"), &waits),
            pod("broken", Some("node-2"), &waits),
            pod("lost", None, &waits),
        ]);
        let found: Vec<(&str, &str)> = agents.iter().map(|a| (a.node.as_str(), a.pod.as_str())).collect();
        assert_eq!(found, [("node-1", "new"), ("node-2", "broken"), ("", "lost")]);
        assert_eq!(agents[0].fault, None);
        let fault = agents[1].fault.as_deref().unwrap();
        assert!(fault.contains("broken") && fault.contains("CrashLoopBackOff: back-off"), "{fault}");
        assert!(agents[2].fault.as_deref().unwrap().contains("on no node"));
    }

    #[test]
    fn a_pod_that_ends_is_asked_while_there_is_no_other() {
        let mut ending = pod("old", Some("node-1"), &running());
        ending.metadata.deletion_timestamp = ending.metadata.creation_timestamp.clone();
        let waits = pod("new", Some("node-1"), &json!({"waiting": {}}));
        assert_eq!(of_each_node(vec![ending, waits])[0].pod, "old");
    }

    #[test]
    fn a_node_that_is_named_and_has_no_agent_is_said() {
        let agents = of_each_node(vec![pod("a", Some("node-1"), &running())]);
        let chosen = chosen(agents, &["node-2".to_owned(), "node-1".to_owned()]);
        assert!(chosen[0].node == "node-2" && chosen[0].fault.is_some());
        assert!(chosen[1].node == "node-1" && chosen[1].fault.is_none());
    }
}
