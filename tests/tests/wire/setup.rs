//! What many tests begin with.

use anyhow::Result;
use netpol_tests::probe::{Kind, Probe};
use netpol_tests::serve::{self, Server};
use netpol_tests::{Laboratory, Link, Namespace, Pod, PodSpec, Setup};
use serde_json::{Value, json};

/// A server with two ports of each protocol, a client that policies name, and a stranger that none names.
pub(crate) struct Three {
    pub(crate) lab: Laboratory,
    pub(crate) server: Pod,
    pub(crate) client: Pod,
    pub(crate) stranger: Pod,
    /// What listens on [`ALLOWED`].
    pub(crate) allowed: Listening,
    /// What listens on [`OTHER`].
    pub(crate) other: Listening,
}

/// A pod's end of one port.
pub(crate) struct Listening {
    _tcp: Server,
    pub(crate) udp: Server,
    _sctp: Server,
}

impl Listening {
    /// Servers of every protocol there.
    pub(crate) fn on(pod: &Pod, port: u16) -> Result<Self> {
        Ok(Self { _tcp: serve::tcp(pod, port)?, udp: serve::udp(pod, port)?, _sctp: serve::sctp(pod, port)? })
    }
}

/// The ports that policies allow, and those that they do not.
pub(crate) const ALLOWED: u16 = 7000;
/// See [`ALLOWED`].
pub(crate) const OTHER: u16 = 7001;
/// What the DaemonSet grants: CAP_NET_ADMIN, CAP_PERFMON, CAP_BPF.
pub(crate) const GRANTED: [u8; 3] = [12, 38, 39];

impl Three {
    /// With a running agent and without policies.
    pub(crate) fn start(link: Link) -> Result<Self> {
        Self::with(Setup { link, ..Setup::default() })
    }

    /// The same, in a laboratory of another kind.
    pub(crate) fn with(setup: Setup) -> Result<Self> {
        let mut lab = Laboratory::with(setup)?;
        let server = lab.add_pod(PodSpec::new("shop", "server").label("app", "server"))?;
        let client = lab.add_pod(PodSpec::new("shop", "client").label("app", "client"))?;
        let stranger = lab.add_pod(PodSpec::new("shop", "stranger").label("app", "stranger"))?;
        let (allowed, other) = (Listening::on(&server, ALLOWED)?, Listening::on(&server, OTHER)?);
        lab.start_agent()?;
        Ok(Self { lab, server, client, stranger, allowed, other })
    }

    /// Questions of every protocol to one port of the server, both families, without pings.
    pub(crate) fn all_protocols(&self, from: &Namespace, port: u16) -> Vec<Probe> {
        let kinds = [Kind::Tcp, Kind::Udp, Kind::Sctp];
        kinds.iter().flat_map(|kind| Probe::all(from, *kind, &self.server.sockets(port))).collect()
    }

    /// A policy, and waits until it is in force.
    pub(crate) fn policy(&mut self, name: &str, spec: &Value) -> Result<()> {
        self.lab.policy("shop", name, spec)?;
        self.lab.settle()
    }

    /// Takes a policy away, and waits until it is gone.
    pub(crate) fn no_policy(&mut self, name: &str) -> Result<()> {
        self.lab.delete_policy("shop", name)?;
        self.lab.settle()
    }
}

/// All three protocols of one port.
pub(crate) fn ports(port: u16) -> Value {
    json!([
        {"protocol": "TCP", "port": port},
        {"protocol": "UDP", "port": port},
        {"protocol": "SCTP", "port": port},
    ])
}

/// Pods of the policy's namespace with this label `app`.
pub(crate) fn app(value: &str) -> Value {
    json!([{"podSelector": {"matchLabels": {"app": value}}}])
}

/// The server takes only these rules' packets.
pub(crate) fn ingress_of_server(rules: &Value) -> Value {
    json!({"podSelector": {"matchLabels": {"app": "server"}}, "policyTypes": ["Ingress"], "ingress": rules})
}

/// The client sends only these rules' packets.
pub(crate) fn egress_of_client(rules: &Value) -> Value {
    json!({"podSelector": {"matchLabels": {"app": "client"}}, "policyTypes": ["Egress"], "egress": rules})
}

/// From the client, to the allowed port.
pub(crate) fn from_client() -> Value {
    json!([{"from": app("client"), "ports": ports(ALLOWED)}])
}
