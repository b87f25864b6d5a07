//! A node with two pods, their traffic, and the firewall that is on there.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use netpol_tests::{Laboratory, Link, Pod, PodSpec, ServiceSpec, Setup};
use nix::time::ClockId;

use super::engine::{self, Engine};
use super::ours::{self, Endpoints, NAMESPACE};
use super::rules::{CLIENT, Rules, SERVER};
use super::verdicts;
use crate::machine::{Machine, cpu_nanoseconds};
use crate::path::traffic::{EXCHANGE_PORT, Traffic};

/// How long one turn is.
const SLICE: Duration = Duration::from_millis(100);
/// The part of a turn's time that is its own at least.
const OWN: f64 = 0.98;
/// How often a turn is begun at most.
const TRIES: u32 = 5;
/// Before a change, so that it comes alone.
const PAUSE: Duration = Duration::from_millis(50);

/// What takes time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A request and its response over one connection.
    Exchange,
    /// A connection with one request.
    Connection,
    /// The change of one policy.
    Update,
}

/// A node.
pub(super) struct Side {
    lab: Laboratory,
    client: Pod,
    traffic: Traffic,
    policies: u16,
    /// What is on, and what it was told.
    engine: Engine,
    rules: Rules,
    endpoints: Option<Endpoints>,
    changes: u16,
}

impl Side {
    /// With so many policies, and nothing that enforces them. Where Services are translated, conntrack sees each packet,
    /// whatever else is on.
    pub(super) fn new(policies: u16, has_services: bool) -> Result<Self> {
        let rules = Rules::new(policies);
        let mut lab = Laboratory::with(Setup { link: Link::Routed, ..Setup::default() })?;
        let server = lab.add_pod(PodSpec::new(NAMESPACE, "server").label("app", "server").at(SERVER))?;
        let clients = ours::app(rules.apps() - 1);
        let client = lab.add_pod(PodSpec::new(NAMESPACE, "client").label("app", &clients).at(CLIENT))?;
        if has_services {
            let service = ServiceSpec::new(NAMESPACE, "server", 10, "app", "server");
            lab.add_service(service.port("TCP", 80, EXCHANGE_PORT))?;
        }
        ours::write(&mut lab, &rules)?;
        let traffic = Traffic::start(client.clone(), &server)?;
        let (engine, endpoints) = (Engine::Nothing, None);
        Ok(Self { lab, client, traffic, policies, engine, rules, endpoints, changes: 0 })
    }

    /// Switches a firewall on.
    pub(super) fn switch_on(&mut self, engine: Engine, machine: &Machine) -> Result<()> {
        self.engine = engine;
        self.rules = Rules::new(self.policies);
        self.changes = 0;
        engine::run(&self.lab.node, &engine.load(&self.rules)?)
            .with_context(|| format!("{engine:?} cannot be switched on"))?;
        if engine == Engine::Ours {
            machine.unpinned(|| self.lab.start_agent())?;
            self.endpoints = Some(Endpoints::open(&self.lab)?);
        }
        self.traffic.reconnect()
    }

    /// Switches it off again.
    pub(super) fn switch_off(&mut self) -> Result<()> {
        engine::run(&self.lab.node, &self.engine.unload())
            .with_context(|| format!("{:?} cannot be switched off", self.engine))?;
        if self.engine == Engine::Ours {
            self.endpoints = None;
            self.lab.uninstall_agent()?;
        }
        self.engine = Engine::Nothing;
        Ok(())
    }

    /// Lets the agent stand still, if it is here.
    pub(super) fn set_standing_still(&self, still: bool) -> Result<()> {
        match (self.engine, still) {
            (Engine::Ours, true) => self.lab.freeze_agent(),
            (Engine::Ours, false) => self.lab.thaw_agent(),
            _ => Ok(()),
        }
    }

    /// How many seconds one of a kind takes.
    pub(super) fn seconds(&mut self, kind: Kind, machine: &Machine) -> Result<f64> {
        match kind {
            Kind::Exchange => undisturbed(|| Ok(1.0 / self.traffic.rate(0, 0, SLICE)?)),
            Kind::Connection => undisturbed(|| Ok(1.0 / self.traffic.rate(0, 1, SLICE)?)),
            Kind::Update => machine.unpinned(|| self.update()),
        }
    }

    /// Changes a policy that was not changed yet.
    fn update(&mut self) -> Result<f64> {
        thread::sleep(PAUSE);
        let number = self.changes;
        self.changes += 1;
        let policy = self.rules.change(number).context("no policy is left that could be changed")?.clone();
        if let Some(endpoints) = &self.endpoints {
            return endpoints.update(&mut self.lab, &policy);
        }
        engine::run(&self.lab.node, &self.engine.update(&self.rules, &policy)?)
    }

    /// Without a firewall all arrives; with one, what the policies allow as they are now.
    fn expect_verdicts(&self) -> Result<()> {
        let mut questions = self.rules.questions();
        if self.engine == Engine::Nothing {
            questions.iter_mut().for_each(|question| question.arrives = true);
        }
        verdicts::expect(&questions, &self.client, &self.lab.outside)
            .with_context(|| format!("{:?} with {} policies", self.engine, self.policies))
    }
}

/// Sees that each gives the verdicts that it should.
pub(super) fn expect_verdicts(sides: &[Side]) -> Result<()> {
    thread::scope(|scope| {
        let asked: Vec<_> = sides.iter().map(|side| scope.spawn(|| side.expect_verdicts())).collect();
        let panicked = |_| Err(anyhow!("a thread that asks panicked"));
        asked.into_iter().try_for_each(|answer| answer.join().unwrap_or_else(panicked))
    })
}

/// Does it again when others were busy on the processor meanwhile: what is left when everything else has been subtracted is
/// small. Client and server keep it busy all the time.
fn undisturbed(mut turn: impl FnMut() -> Result<f64>) -> Result<f64> {
    let mut tries = TRIES;
    loop {
        let (begun, before) = (Instant::now(), cpu_nanoseconds(ClockId::CLOCK_PROCESS_CPUTIME_ID)?);
        let seconds = turn()?;
        let used = cpu_nanoseconds(ClockId::CLOCK_PROCESS_CPUTIME_ID)? - before;
        tries -= 1;
        if tries == 0 || used as f64 / 1e9 > OWN * begun.elapsed().as_secs_f64() {
            return Ok(seconds);
        }
    }
}
