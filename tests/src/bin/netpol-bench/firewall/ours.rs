//! The same rule set as manifests, and the kernel's tables that the agent writes from them.

use std::fs;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use netpol_tests::Laboratory;
use serde_json::{Value, json};

use super::rules::{LOCAL, Policy, Rules};
use crate::judgements::Judgements;

/// The cluster's namespace with the pods.
pub(super) const NAMESPACE: &str = "shop";
/// Between two looks.
const LOOK: Duration = Duration::from_micros(50);
/// How long a change may take at most.
const PATIENCE: Duration = Duration::from_secs(5);

/// The label `app` of an application's pods.
pub(super) fn app(number: u32) -> String {
    format!("app-{number}")
}

/// Writes all manifests but those of the node's own pods.
pub(super) fn write(lab: &mut Laboratory, rules: &Rules) -> Result<()> {
    for policy in &rules.policies {
        write_policy(lab, policy)?;
    }
    let pods = (0..rules.apps()).flat_map(|number| rules.pods(number).map(move |address| (number, address)));
    let elsewhere = pods.filter(|(_, address)| !LOCAL.contains(address));
    let pods: Vec<Value> = elsewhere
        .map(|(number, address)| {
            json!({
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {
                    "namespace": NAMESPACE,
                    "name": format!("peer-{}", address.to_bits()),
                    "uid": format!("00000000-0000-4000-9000-{:012x}", address.to_bits()),
                    "labels": {"app": app(number)},
                },
                "spec": {"nodeName": "node-2", "containers": [{"name": "main", "image": "none"}]},
                "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
            })
        })
        .collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": pods});
    fs::write(lab.manifests().join("peers.json"), list.to_string()).context("cannot write the peers")
}

/// Writes a policy's manifest, or replaces it.
pub(super) fn write_policy(lab: &mut Laboratory, policy: &Policy) -> Result<()> {
    let ports: Vec<Value> =
        policy.ports.iter().map(|port| json!({"protocol": "TCP", "port": port})).collect();
    let spec = json!({
        "podSelector": {},
        "policyTypes": ["Ingress"],
        "ingress": [{
            "from": [{"podSelector": {"matchLabels": {"app": app(policy.app)}}}],
            "ports": ports,
        }],
    });
    lab.policy(NAMESPACE, &format!("policy-{}", policy.number), &spec)
}

/// The table of endpoints, looked at from outside.
pub(super) struct Endpoints {
    judgements: Judgements,
    slots: Vec<u32>,
}

impl Endpoints {
    pub(super) fn open(lab: &Laboratory) -> Result<Self> {
        let status = lab.agent()?.status()?;
        let lines = status["endpoints"].as_array().context("a status without endpoints")?;
        let slot = |line: &Value| line["slot"].as_u64().and_then(|slot| slot.try_into().ok());
        let slots: Vec<u32> = lines.iter().map(slot).collect::<Option<_>>().context("no slot")?;
        if slots.len() != LOCAL.len() {
            bail!("{} endpoints on a node with {} pods", slots.len(), LOCAL.len());
        }
        Ok(Self { judgements: Judgements::open(lab)?, slots })
    }

    /// Seconds from the change of a policy's manifest until both pods are judged by what follows from it.
    pub(super) fn update(&self, lab: &mut Laboratory, policy: &Policy) -> Result<f64> {
        let before = self.judgements.of(&self.slots)?;
        let begun = Instant::now();
        write_policy(lab, policy)?;
        while self.judgements.of(&self.slots)?.iter().zip(&before).any(|(now, before)| now == before) {
            if begun.elapsed() > PATIENCE {
                bail!("a changed policy is not in the tables after {PATIENCE:?}");
            }
            sleep(LOOK);
        }
        Ok(begun.elapsed().as_secs_f64())
    }
}
