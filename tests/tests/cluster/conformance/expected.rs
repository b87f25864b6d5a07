//! What must come of a probe, by the literal evaluator over the objects as the API server has them.

use std::net::IpAddr;

use anyhow::{Context as _, Result, bail, ensure};
use netpol_policy::model::{Object, Protocol};
use netpol_policy::read::{Read, read_document};
use netpol_policy::spec::{Answer, Cluster, Payload, Sender, Traffic};
use serde_json::Value;

use super::world::Running;

/// One that every Service has.
const PORT: u16 = 80;

/// The evaluator, with everything that is in the cluster.
pub(super) struct Expected(Cluster);

impl Expected {
    /// From a list as `kubectl get -o json` gives it.
    pub(super) fn read(list: &Value) -> Result<Self> {
        let items = list["items"].as_array().context("kubectl gave no list")?;
        let mut objects = Vec::new();
        for item in items {
            for read in read_document(item) {
                match read {
                    Read::Object { object, problems } => {
                        let is_policy = matches!(object, Object::Policy(_));
                        ensure!(problems.is_empty() || !is_policy, "{item} was read with {problems:?}");
                        objects.push(object);
                    }
                    Read::Skipped { .. } => {}
                    other => bail!("{item} was read as {other:?}"),
                }
            }
        }
        Ok(Self(Cluster::new(&objects, "elsewhere")))
    }

    /// Whether each of these pods stands behind its own Service, for every protocol and family.
    pub(super) fn has_backends<'a>(&self, pods: impl IntoIterator<Item = &'a Running>) -> bool {
        pods.into_iter().all(|pod: &'a Running| {
            pod.frontends.iter().all(|frontend| {
                [Protocol::Tcp, Protocol::Udp].into_iter().all(|protocol| {
                    let backends = self.0.backends(*frontend, protocol, PORT).unwrap_or_default();
                    backends.len() == 1 && pod.addresses.contains(&backends[0].address)
                })
            })
        })
    }

    /// Whether a flow passes, at an address that is a pod's or a Service's with one backend.
    pub(super) fn passes(
        &self,
        source: IpAddr,
        destination: IpAddr,
        protocol: Protocol,
        port: u16,
    ) -> Result<bool> {
        let payload = Payload::Port(protocol, port);
        let traffic = Traffic { src: Sender::Address(source), dst: destination, payload };
        match self.0.answer(&traffic) {
            Answer::Direct(verdict) => Ok(verdict.passes()),
            Answer::Backends(backends) => match backends.as_slice() {
                [backend] => Ok(backend.verdict.passes()),
                other => bail!("{destination} has {} backends on port {port}", other.len()),
            },
        }
    }
}
