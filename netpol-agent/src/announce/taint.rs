//! The startup taint: pods are not scheduled onto a node before its agent is ready. Whoever makes nodes puts it on them
//! (the kubelet by `--register-with-taints`); the agent only takes it off.

use std::time::Duration;

use anyhow::{Context as _, bail};
use http::{Method, Request, header};
use k8s_openapi::api::core::v1::{Node, Taint};
use kube::{Api, Client};
use serde_json::json;
use tokio::time::timeout;

/// How often it is tried again when somebody else changes the node's taints at the same time.
const TRIES: usize = 5;

/// How long the API server may take for all of it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Takes the taint off, and says whether it was there.
///
/// # Errors
/// When the API server refuses, above all for want of the right to patch nodes, or does not answer.
pub(super) async fn take_off(client: &Client, node: &str, key: &str) -> anyhow::Result<bool> {
    let answer = timeout(PATIENCE, try_to_take_off(client, node, key)).await;
    answer.unwrap_or_else(|_| bail!("the API server has not answered for {} s", PATIENCE.as_secs()))
}

async fn try_to_take_off(client: &Client, node: &str, key: &str) -> anyhow::Result<bool> {
    let nodes: Api<Node> = Api::all(client.clone());
    for _ in 0..TRIES {
        let found = nodes.get(node).await.with_context(|| format!("cannot read the node {node}"))?;
        let taints = found.spec.and_then(|spec| spec.taints).unwrap_or_default();
        let Some(patch) = patch(&taints, key) else { return Ok(false) };
        let request = Request::builder()
            .method(Method::PATCH)
            .uri(format!("/api/v1/nodes/{node}"))
            .header(header::CONTENT_TYPE, "application/json-patch+json")
            .body(serde_json::to_vec(&patch)?)
            .context("the node's name cannot stand in a URL")?;
        match client.request_text(request).await {
            Ok(_) => return Ok(true),
            // The taints are not what they were.
            Err(kube::Error::Api(status)) if matches!(status.code, 409 | 422) => {}
            Err(error) => {
                return Err(error).with_context(|| {
                    format!(
                        "cannot patch the node {node} (deploy/startup-taint/rbac.yaml gives the right to)"
                    )
                });
            }
        }
    }
    bail!("somebody else changes the taints of {node} all the time")
}

/// What takes every taint of the key off, and nothing if another one stands in its place by then.
fn patch(taints: &[Taint], key: &str) -> Option<serde_json::Value> {
    let mut operations = Vec::new();
    // From the end: what is removed moves those behind it.
    for (index, _) in taints.iter().enumerate().rev().filter(|(_, taint)| taint.key == key) {
        operations.push(json!({"op": "test", "path": format!("/spec/taints/{index}/key"), "value": key}));
        operations.push(json!({"op": "remove", "path": format!("/spec/taints/{index}")}));
    }
    (!operations.is_empty()).then(|| operations.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, effect: &str) -> Taint {
        Taint { key: key.to_owned(), effect: effect.to_owned(), ..Taint::default() }
    }

    #[test]
    fn only_taints_of_the_key_are_taken_off_from_the_end() {
        let taints = [taint("a", "NoSchedule"), taint("b", "NoExecute"), taint("a", "NoExecute")];
        let patch = patch(&taints, "a").unwrap();
        let paths: Vec<&str> =
            patch.as_array().unwrap().iter().filter_map(|operation| operation["path"].as_str()).collect();
        assert_eq!(paths, ["/spec/taints/2/key", "/spec/taints/2", "/spec/taints/0/key", "/spec/taints/0"]);
    }

    #[test]
    fn without_the_taint_there_is_nothing_to_do() {
        assert_eq!(patch(&[taint("b", "NoSchedule")], "a"), None);
        assert_eq!(patch(&[], "a"), None);
    }
}
