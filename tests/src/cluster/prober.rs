//! The prober in a pod, asked over its control port from the pod's own node, whose traffic no policy stops.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use netpol_prober::{Answer, CONTROL_PORT, Ended, Heard, Held, Outcomes, Probe, Program, Request, Sent};

use super::{Node, Pod};

/// How long a connection to the control port may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long an answer may take. A batch has patience of its own.
const ANSWER: Duration = Duration::from_secs(60);

/// A pod's prober.
#[derive(Debug, Clone)]
pub struct Prober {
    node: Node,
    address: IpAddr,
}

impl Prober {
    /// That of a pod which runs `/prober serve` or `/prober send`.
    ///
    /// # Errors
    /// When the pod has no address, or its node has ended.
    pub fn of(pod: &Pod) -> Result<Self> {
        let address = pod.addresses().first().context("a pod without an address has no prober")?;
        Ok(Self::at(pod.node()?, *address))
    }

    /// That of a pod with this address on this node.
    #[must_use]
    pub fn at(node: &Node, address: IpAddr) -> Self {
        Self { node: node.clone(), address }
    }

    /// Asks all questions at the same time, from inside the pod: for each what came of it.
    ///
    /// # Errors
    /// When the prober does not answer.
    pub fn probe(&self, probes: &[Probe]) -> Result<Vec<Outcomes>> {
        match self.ask(&Request::Probe(probes.to_vec()))? {
            Answer::Probed(outcomes) => Ok(outcomes),
            other => bail!("the prober answers a probe by {other:?}"),
        }
    }

    /// Runs programs of the pod's image, all at the same time.
    ///
    /// # Errors
    /// When the prober does not answer.
    pub fn run(&self, programs: &[Program]) -> Result<Vec<Ended>> {
        match self.ask(&Request::Run(programs.to_vec()))? {
            Answer::Ran(ended) => Ok(ended),
            other => bail!("the prober answers to programs by {other:?}"),
        }
    }

    /// What its servers have heard since the start, or since they were told to forget.
    ///
    /// # Errors
    /// When the prober does not answer.
    pub fn heard(&self, forget: bool) -> Result<Vec<Heard>> {
        match self.ask(&Request::Heard { forget })? {
            Answer::Heard(heard) => Ok(heard),
            other => bail!("the prober says of what it heard {other:?}"),
        }
    }

    /// What has become of what it sends since its start.
    ///
    /// # Errors
    /// When the prober does not answer.
    pub fn sent(&self) -> Result<Vec<Sent>> {
        match self.ask(&Request::Sent)? {
            Answer::Sent(sent) => Ok(sent),
            other => bail!("the prober says of what it sent {other:?}"),
        }
    }

    /// Lets it open connections and exchange lines over them until [`release`](Self::release).
    ///
    /// # Errors
    /// When the prober does not answer.
    pub fn hold(&self, to: &[SocketAddr], every: Duration) -> Result<Vec<Held>> {
        let every = u64::try_from(every.as_millis()).unwrap_or(u64::MAX);
        self.held(&Request::Hold { to: to.to_vec(), every })
    }

    /// What has become of the connections that it holds.
    ///
    /// # Errors
    /// When the prober does not answer.
    pub fn holding(&self) -> Result<Vec<Held>> {
        self.held(&Request::Holding)
    }

    /// Lets it close the connections that it holds.
    ///
    /// # Errors
    /// When the prober does not answer.
    pub fn release(&self) -> Result<()> {
        self.held(&Request::Release).map(drop)
    }

    fn held(&self, request: &Request) -> Result<Vec<Held>> {
        match self.ask(request)? {
            Answer::Holding(held) => Ok(held),
            other => bail!("the prober says of its connections {other:?}"),
        }
    }

    /// One request, one answer.
    ///
    /// # Errors
    /// When the prober does not answer, or says that it could not do it.
    pub fn ask(&self, request: &Request) -> Result<Answer> {
        let at = SocketAddr::new(self.address, CONTROL_PORT);
        let line = serde_json::to_string(request).context("cannot write a request")?;
        let talk = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect_timeout(&at, CONNECT)?;
            stream.set_read_timeout(Some(ANSWER))?;
            stream.write_all(format!("{line}\n").as_bytes())?;
            let mut answer = String::new();
            BufReader::new(stream).read_line(&mut answer)?;
            Ok(answer)
        };
        let answer = self
            .node
            .run(talk)?
            .with_context(|| format!("cannot ask the prober at {at} from node {}", self.node.name()))?;
        match serde_json::from_str(&answer).with_context(|| format!("the prober at {at} said {answer:?}"))? {
            Answer::Error(error) => bail!("the prober at {at}: {error}"),
            answer => Ok(answer),
        }
    }
}
