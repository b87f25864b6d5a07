//! Asks everything of a step from inside the pods, and compares it with what must come of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use netpol_policy::model::Protocol;
use netpol_prober::{Outcomes, Probe};
use netpol_tests::cluster::Prober;
use netpol_tests::conformance::Step;

use super::expected::Expected;
use super::world::Running;

/// How long an answer is waited for that must not come, in milliseconds. Those that must come are waited for longer, and
/// most of each step's do: so a machine on which nothing answers in time is not taken for one that drops.
const DROPPED: u64 = 400;
/// How long one is waited for that must come, in milliseconds.
const ARRIVES: u64 = 2000;
/// How long kube-proxy may lag behind, and a busy machine take. Only what failed to come is asked again, never what came.
const AGAIN: Duration = Duration::from_secs(15);

/// How much was asked.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) probes: u64,
    pub(super) denied: u64,
}

/// A probe, and what must come of it.
struct Question {
    probe: Probe,
    /// The receiver.
    to: String,
    passes: bool,
}

impl Question {
    fn is_answered_by(&self, outcomes: &Outcomes) -> bool {
        if self.passes { outcomes.who() == Some(&self.to) } else { outcomes.all_timed_out() }
    }
}

/// Asks all from all pods at the same time.
pub(super) fn all(
    step: &Step,
    running: &BTreeMap<String, Running>,
    expected: &Expected,
    blocks: bool,
) -> Result<Done> {
    let questions = questions(step, running, expected, blocks)?;
    let wrong: Vec<String> = thread::scope(|scope| {
        let mut asked = Vec::new();
        for (from, questions) in &questions {
            asked.push(scope.spawn(move || ask(&running[*from], from, questions)));
        }
        let answers = asked.into_iter().map(|thread| thread.join().map_err(|_| anyhow!("it panicked"))?);
        answers.collect::<Result<Vec<_>>>()
    })?
    .concat();
    if !wrong.is_empty() {
        bail!("{} probes went wrong:\n{}", wrong.len(), wrong.join("\n"));
    }
    let count = |which: fn(&Question) -> bool| {
        questions.values().flatten().filter(|question| which(question)).count() as u64
    };
    Ok(Done { probes: count(|_| true), denied: count(|question| !question.passes) })
}

/// For each pod what it asks.
fn questions<'a>(
    step: &Step,
    running: &'a BTreeMap<String, Running>,
    expected: &Expected,
    blocks: bool,
) -> Result<BTreeMap<&'a str, Vec<Question>>> {
    let find = |pod: usize| {
        let key = step.pods[pod].key();
        running.get_key_value(&key).with_context(|| format!("{key} does not run"))
    };
    let mut questions: BTreeMap<&str, Vec<Question>> = BTreeMap::new();
    for probe in &step.probes {
        let protocol = match probe.protocol {
            Protocol::Tcp => netpol_prober::Protocol::Tcp,
            Protocol::Udp => netpol_prober::Protocol::Udp,
            // This kernel has no sockets for it; forged packets are asked elsewhere.
            Protocol::Sctp => continue,
        };
        let ((from, source), (to, destination)) = (find(probe.source)?, find(probe.destination)?);
        for at in destination.addresses.iter().chain(&destination.frontends) {
            let own = source.addresses.iter().find(|own| own.is_ipv4() == at.is_ipv4());
            let own = own.with_context(|| format!("{from} has no address to reach {at} from"))?;
            let passes = expected.passes(*own, *at, probe.protocol, probe.port)?;
            // The suite speaks of pods that have IPv4 addresses; its blocks are of these.
            ensure!(
                passes == probe.expected.passes() || (blocks && at.is_ipv6()),
                "{from} to {to} at {at}, {}/{}: the suite expects {:?}, the evaluator says otherwise",
                probe.port,
                probe.protocol.name(),
                probe.expected,
            );
            let patience = if passes { ARRIVES } else { DROPPED };
            let probe = Probe::new(protocol, SocketAddr::new(*at, probe.port), patience);
            questions.entry(from).or_default().push(Question { probe, to: to.clone(), passes });
        }
    }
    Ok(questions)
}

/// Asks one pod's questions; what went wrong with them.
fn ask(source: &Running, from: &str, questions: &[Question]) -> Result<Vec<String>> {
    let prober = Prober::at(&source.node, source.addresses[0]);
    let start = Instant::now();
    let mut open: Vec<&Question> = questions.iter().collect();
    let mut wrong = Vec::new();
    loop {
        let probes: Vec<Probe> = open.iter().map(|question| question.probe.clone()).collect();
        let outcomes = prober.probe(&probes)?;
        ensure!(outcomes.len() == open.len(), "{} answers to {} probes", outcomes.len(), open.len());
        let late = start.elapsed() > AGAIN;
        let mut again = Vec::new();
        for (question, outcomes) in open.into_iter().zip(&outcomes) {
            if question.is_answered_by(outcomes) {
                continue;
            }
            if late || !outcomes.reached.is_empty() {
                let Question { probe, to, passes } = question;
                let must = if *passes { "pass" } else { "be dropped" };
                wrong.push(format!(
                    "{from} to {to} at {} by {} must {must}, but {outcomes}",
                    probe.to, probe.protocol
                ));
            } else {
                again.push(question);
            }
        }
        if again.is_empty() {
            return Ok(wrong);
        }
        open = again;
    }
}
