//! A node with real pods whose agent asks a real API server in the world beside it, while traffic flows.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use netpol_tests::cluster::ControlPlane;
use netpol_tests::etcd::Etcd;
use netpol_tests::laboratory::network::{NODE, OUTSIDE, ROUTER};
use netpol_tests::load::Load;
use netpol_tests::probe::{Kind, Probe, expect_dropped, expect_reached};
use netpol_tests::relay::Relay;
use netpol_tests::serve::{self, Server};
use netpol_tests::steady::{Denied, Steady};
use netpol_tests::{Laboratory, Outcome, Pod, PodSpec, Setup, command, counted, figure};
use serde_json::{Value, json};

/// What the issue gives the agent after the server's return.
pub(crate) const CONVERGED: Duration = Duration::from_secs(5);
/// How long a question waits that is asked again and again.
const LOOK: Duration = Duration::from_millis(300);
/// Beside the API server's own port.
pub(crate) const RELAY_PORT: u16 = 7443;

/// The server's port that policies open to some from the start.
const OPEN: u16 = 7000;
/// The one that is opened while the API server is away.
const LATE: u16 = 7001;
/// The one that never is.
const NEVER: u16 = 7002;
/// The pod that comes late. It alone has a sandbox that the agent knows by its name.
const NEWCOMER: &str = "newcomer";

/// The node, the API server, and four pods with a server among them.
pub(crate) struct Scene {
    pub(crate) lab: Laboratory,
    pub(crate) plane: ControlPlane,
    pub(crate) relay: Relay,
    server: Pod,
    /// May always reach the open port.
    client: Pod,
    /// May do so by a policy that goes while the API server is away.
    guest: Pod,
    /// May do so until its label changes while the API server is away.
    turncoat: Pod,
    /// May never; to the late port once a policy comes while the API server is away.
    stranger: Pod,
    never: [Server; 2],
    _servers: Vec<Server>,
}

impl Scene {
    /// With a running agent that has settled. The agent reaches the API server through the relay.
    pub(crate) fn start() -> Result<Self> {
        let mut scene = Self::without_agent(&[])?;
        expect_reached(&scene.every_probe()).context("without an agent everything arrives")?;
        scene.lab.start_agent()?;
        scene.expect_before()?;
        Ok(scene)
    }

    /// Everything but the agent.
    pub(crate) fn without_agent(flags: &[&str]) -> Result<Self> {
        let agent_flags = vec!["--sandbox-namespace".to_owned(), format!("npl-*-{NEWCOMER}")];
        let mut lab = Laboratory::with(Setup { agent_flags, ..Setup::default() })?;
        let plane = ControlPlane::beside(&lab, flags)?;
        plane.apply(include_str!("../../../../deploy/rbac.yaml"))?;
        let relay = Relay::start(&lab.outside, RELAY_PORT, (ROUTER[0], 6443).into())?;
        let kubeconfig = through_relay(&plane)?;
        lab.use_api(&kubeconfig, Etcd::new(plane.network()))?;
        let mut pod = |name| lab.add_pod(PodSpec::new("shop", name).label("app", name));
        let (server, client, guest) = (pod("server")?, pod("client")?, pod("guest")?);
        let stranger = pod("stranger")?;
        let turncoat = lab.add_pod(PodSpec::new("shop", "turncoat").label("app", "client"))?;
        let mut servers = Vec::new();
        for port in [OPEN, LATE] {
            servers.extend([serve::tcp(&server, port)?, serve::udp(&server, port)?]);
        }
        let never = [serve::tcp(&server, NEVER)?, serve::udp(&server, NEVER)?];
        lab.policy("shop", "clients", &ingress("client", OPEN))?;
        lab.policy("shop", "guests", &ingress("guest", OPEN))?;
        Ok(Self { lab, plane, relay, server, client, guest, turncoat, stranger, never, _servers: servers })
    }

    fn probes(&self, from: &Pod, port: u16) -> Vec<Probe> {
        let to = self.server.sockets(port);
        [Probe::all(from, Kind::Tcp, &to), Probe::all(from, Kind::Udp, &to)].concat()
    }

    fn every_probe(&self) -> Vec<Probe> {
        let pods = [&self.client, &self.guest, &self.turncoat, &self.stranger];
        pods.iter().flat_map(|pod| [OPEN, LATE, NEVER].map(|port| self.probes(pod, port))).flatten().collect()
    }

    /// Adds a pod like the client: what it may send once it is known, and what it may not even then.
    pub(crate) fn add_newcomer(&mut self) -> Result<[Vec<Probe>; 2]> {
        let pod = self.lab.add_pod(PodSpec::new("shop", NEWCOMER).label("app", "client"))?;
        let beyond = [NODE, OUTSIDE].concat();
        let beyond: Vec<_> = beyond.into_iter().map(|address| SocketAddr::new(address, 0)).collect();
        let may = [self.probes(&pod, OPEN), Probe::all(&pod, Kind::Ping, &beyond)].concat();
        Ok([may, [self.probes(&pod, LATE), self.probes(&pod, NEVER)].concat()])
    }

    /// How many interfaces a gate keeps closed.
    pub(crate) fn gates(&self) -> usize {
        std::fs::read_dir(self.lab.pins().join("gates")).map_or(0, Iterator::count)
    }

    /// What always passes, and what never does.
    pub(crate) fn load(&self) -> Result<Running> {
        let denied = [self.probes(&self.stranger, OPEN), self.probes(&self.client, NEVER)].concat();
        let heard = self.heard();
        Ok(Running { load: Load::start(&self.probes(&self.client, OPEN), &denied)?, heard })
    }

    /// The same at a steady rate, with many connections that stay open.
    pub(crate) fn steady(&self) -> Result<Steady> {
        let denied = [&self.stranger, &self.client].map(|from| Denied::of(from, &self.server.sockets(NEVER)));
        Steady::start(&self.client, &self.server.sockets(OPEN), denied.to_vec())
    }

    fn heard(&self) -> u64 {
        self.never.iter().map(Server::heard).sum()
    }

    /// Ends the traffic, and sees that it was as it must be.
    pub(crate) fn ended(&self, running: Running) -> Result<()> {
        let carried = running.load.stop()?;
        ensure!(self.heard() == running.heard, "a denied packet has reached its port");
        counted(&[(carried.allowed, "allowed probes during faults"), (carried.denied, "denied ones")]);
        Ok(())
    }

    /// What changes while the API server is away; written where it keeps its objects.
    pub(crate) fn change(&mut self) -> Result<()> {
        self.lab.policy("shop", "late", &ingress("stranger", LATE))?;
        self.lab.delete_policy("shop", "guests")?;
        self.lab.relabel("shop/turncoat", &[("app", "retired")])
    }

    fn before(&self) -> (Vec<Probe>, Vec<Probe>) {
        let reached = [self.probes(&self.guest, OPEN), self.probes(&self.turncoat, OPEN)].concat();
        (reached, self.probes(&self.stranger, LATE))
    }

    /// As it was before [`change`](Self::change).
    pub(crate) fn expect_before(&self) -> Result<()> {
        let (reached, dropped) = self.before();
        expect_reached(&reached)?;
        expect_dropped(&dropped)
    }

    /// Everything arrives, as without any agent.
    pub(crate) fn expect_everything_open(&self) -> Result<()> {
        expect_reached(&self.every_probe())
    }

    /// Waits until what has changed is in force, counted from the server's return.
    pub(crate) fn converges(&self, returned: Instant) -> Result<Duration> {
        self.converges_within(returned, CONVERGED)
    }

    /// The same with another limit.
    pub(crate) fn converges_within(&self, returned: Instant, limit: Duration) -> Result<Duration> {
        let (closed, opened) = self.before();
        let as_wanted = |began: Instant| -> Option<Duration> {
            let reached = |probes: &[Probe]| count_reached(probes);
            let now = began.elapsed();
            (reached(&closed) == 0 && reached(&opened) == opened.len()).then_some(now)
        };
        let took = loop {
            let asked = returned.elapsed();
            if as_wanted(returned).is_some() {
                break asked;
            }
            if asked > limit {
                let status = self.lab.agent()?.status();
                bail!("not converged {asked:?} after the return: {status:?}\n{}", self.lab.agent()?.log());
            }
        };
        // Not only by accident of a busy machine.
        expect_dropped(&closed)?;
        expect_reached(&opened)?;
        figure(format_args!("converged {:.2} s after the API server's return", took.as_secs_f64()));
        Ok(took)
    }

    /// What `netpol status` says.
    pub(crate) fn status(&self) -> Result<Value> {
        self.lab.agent()?.status()
    }

    /// The node drops what it sends to the API server and what comes from there, or rejects it.
    pub(crate) fn cut_off(&self, verdict: &str) -> Result<()> {
        self.nft(&format!(
            "table inet away {{
                chain out {{ type filter hook output priority 0; tcp dport {RELAY_PORT} {verdict}; }};
                chain in {{ type filter hook input priority 0; tcp sport {RELAY_PORT} drop; }}; }}"
        ))
    }

    pub(crate) fn reconnect(&self) -> Result<()> {
        self.nft("delete table inet away")
    }

    fn nft(&self, rules: &str) -> Result<()> {
        let namespace = format!("--net={}", self.lab.node.path().display());
        command::feed("nsenter", &[namespace.as_str(), "nft", "-f", "-"], rules).map(drop)
    }
}

/// Traffic that must be as it is from its start to its end.
pub(crate) struct Running {
    load: Load,
    heard: u64,
}

fn count_reached(probes: &[Probe]) -> usize {
    std::thread::scope(|scope| {
        let asked: Vec<_> = probes.iter().map(|probe| scope.spawn(|| probe.ask(LOOK))).collect();
        asked.into_iter().filter_map(|one| one.join().ok()).filter(|one| *one == Outcome::Reached).count()
    })
}

/// The server takes what pods with this label send to one port.
fn ingress(app: &str, port: u16) -> Value {
    json!({
        "podSelector": {"matchLabels": {"app": "server"}},
        "policyTypes": ["Ingress"],
        "ingress": [{
            "from": [{"podSelector": {"matchLabels": {"app": app}}}],
            "ports": [{"protocol": "TCP", "port": port}, {"protocol": "UDP", "port": port}],
        }],
    })
}

/// The agent's kubeconfig, by way of the relay.
fn through_relay(plane: &ControlPlane) -> Result<PathBuf> {
    let direct = plane.agent_kubeconfig()?;
    let text = std::fs::read_to_string(&direct).context("cannot read a kubeconfig")?;
    let path = plane.folder()?.join("through-relay.kubeconfig");
    std::fs::write(&path, text.replace(":6443", &format!(":{RELAY_PORT}")))
        .context("cannot write a kubeconfig")?;
    Ok(path)
}
