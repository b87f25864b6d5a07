//! etcd by its JSON gateway: objects written beside the API server, which hears of them as of any other server's.
//!
//! It is how objects change while no API server runs, and how a hundred thousand come into being in seconds. Only plain
//! HTTP, which the laboratory's etcd speaks to its own network namespace alone.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::laboratory::Namespace;

/// How many writes etcd takes in one transaction.
const AT_ONCE: usize = 128;
/// Where it listens, on `127.0.0.1`.
const PORT: u16 = 2379;
/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A client of etcd.
#[derive(Debug, Clone)]
pub struct Etcd {
    namespace: Namespace,
    server: SocketAddr,
}

impl Etcd {
    /// The etcd that a [`ControlPlane`](crate::cluster::ControlPlane) or a whole cluster has in this namespace.
    #[must_use]
    pub fn new(namespace: &Namespace) -> Self {
        Self { namespace: namespace.clone(), server: (Ipv4Addr::LOCALHOST, PORT).into() }
    }

    /// Writes objects one after the other, each to where the API server keeps it.
    ///
    /// # Errors
    /// When etcd refuses, or an object is of a kind of which it is not known here where that is.
    pub fn put(&self, objects: impl IntoIterator<Item = Value>) -> Result<()> {
        objects.into_iter().try_for_each(|object| self.ask("kv/put", &write(&object)?).map(drop))
    }

    /// Writes many objects, many at once, before anybody watches: they share versions, and no API server would do that. A
    /// watch that is taken up again from such a version misses the rest of it.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn fill(&self, objects: impl IntoIterator<Item = Value>) -> Result<()> {
        let mut objects = objects.into_iter().peekable();
        while objects.peek().is_some() {
            let writes = objects.by_ref().take(AT_ONCE);
            let writes = writes.map(|object| Ok(json!({"requestPut": write(&object)?})));
            let writes: Vec<Value> = writes.collect::<Result<_>>()?;
            self.ask("kv/txn", &json!({"success": writes}))?;
        }
        Ok(())
    }

    /// Deletes an object.
    ///
    /// # Errors
    /// When there is none, or etcd refuses.
    pub fn delete(&self, kind: &str, namespace: &str, name: &str) -> Result<()> {
        let key = key(kind, namespace, name)?;
        let answer = self.ask("kv/deleterange", &json!({"key": BASE64.encode(&key)}))?;
        ensure!(text(&answer["deleted"]) == "1", "etcd has no {key}");
        Ok(())
    }

    /// Lets etcd forget every revision but the present one, which it returns. A watch from an older one ends with 410 Gone when
    /// the API server does not remember it either: after a restart of it, or with `--watch-cache=false`.
    ///
    /// # Errors
    /// When etcd does not answer.
    pub fn compact(&self) -> Result<u64> {
        // Any key will do: each answer says the revision.
        let answer = self.ask("kv/range", &json!({"key": "AA=="}))?;
        let revision = text(&answer["header"]["revision"]);
        let revision: u64 = revision.parse().with_context(|| format!("etcd told no revision: {answer}"))?;
        self.ask("kv/compaction", &json!({"revision": revision, "physical": true}))?;
        Ok(revision)
    }

    fn ask(&self, method: &str, body: &Value) -> Result<Value> {
        let answer = self
            .namespace
            .run(|| self.exchange(method, &body.to_string()))?
            .with_context(|| format!("cannot ask etcd for {method}"))?;
        let (head, body) = answer.split_once("\r\n\r\n").context("etcd's answer is no HTTP")?;
        let status = head.split(' ').nth(1).unwrap_or_default();
        if status != "200" {
            bail!("etcd refused {method} ({status}): {}", body.trim());
        }
        serde_json::from_str(body).with_context(|| format!("etcd answered {method} by no JSON: {body}"))
    }

    fn exchange(&self, method: &str, body: &str) -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&self.server, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // To a request of HTTP/1.0 the answer ends with the connection.
        let length = body.len();
        write!(stream, "POST /v3/{method} HTTP/1.0\r\nContent-Length: {length}\r\n\r\n{body}")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }
}

/// What etcd is told to write.
fn write(object: &Value) -> Result<Value> {
    let metadata = &object["metadata"];
    let key = key(text(&object["kind"]), text(&metadata["namespace"]), text(&metadata["name"]))?;
    Ok(json!({"key": BASE64.encode(key), "value": BASE64.encode(object.to_string())}))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// Where the API server keeps an object.
fn key(kind: &str, namespace: &str, name: &str) -> Result<String> {
    let folder = match kind {
        "Pod" => "pods",
        "Namespace" => "namespaces",
        "Node" => "minions",
        "NetworkPolicy" => "networkpolicies",
        "Service" => "services/specs",
        "EndpointSlice" => "endpointslices",
        other => bail!("where the API server keeps a {other} is not known here"),
    };
    let namespace = if namespace.is_empty() { String::new() } else { format!("{namespace}/") };
    Ok(format!("/registry/{folder}/{namespace}{name}"))
}
