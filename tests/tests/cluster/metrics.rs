//! The agents' figures, as a monitoring system on their node reads them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};
use netpol_tests::cluster::Node;

/// Where the agents tell their figures, each on its own node: for `--metrics`.
pub(super) const METRICS: &str = "127.0.0.1:9911";

/// How long an agent may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// All figures of the agent of a node.
pub(super) fn metrics(node: &Node) -> Result<String> {
    let at: SocketAddr = METRICS.parse()?;
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(at)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: agent\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    node.run(ask)?.context("cannot ask an agent for its figures")
}

/// One of them, which is a whole number, by its name and labels.
pub(super) fn metric(node: &Node, name: &str) -> Result<u64> {
    let text = metrics(node)?;
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.and_then(|value| value.trim().parse().ok()).with_context(|| format!("no {name} in {text}"))
}
