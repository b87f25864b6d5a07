//! How long a change takes from the wire to the kernel: from when its bytes are sent to the agent's socket until its last
//! entry is seen in the kernel's table.
//!
//! A relay in front of the API server says when the bytes go to the agent; the pinned tables are looked at all the time.

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use netpol_agent::datapath::Peers;
use netpol_common::{Addr, tables::Peer};

use crate::api::{self, ApiNode};
use crate::goals::{Answer, Bound, Goal, Only};
use crate::judgements::Judgements;
use crate::statistics::Figure;

/// The cluster's pods.
const PODS: u32 = 10_000;
/// The node's own.
const LOCAL: u32 = 100;
/// Changes of each sort.
const CHANGES: u32 = 200;
/// What decides has this many bytes at least; what keeps a connection alive has fewer.
const EVENT: usize = 200;
/// Between two changes, so that each comes alone.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two looks.
const LOOK: Duration = Duration::from_micros(50);
/// How long a change may take at most.
const PATIENCE: Duration = Duration::from_secs(5);

const fn told(name: &'static str, what: &'static str) -> Goal {
    Goal::told(name, what, "ms")
}

const fn aimed(name: &'static str, what: &'static str) -> Goal {
    told(name, what).must(Bound::AtMost(50.0))
}

/// What is measured: of a policy and of a pod, the half and nearly all.
const ALL: [[Goal; 2]; 2] = [
    [
        told("event-policy-p50", "a port of a policy, wire to last map write: half within"),
        aimed("event-policy-p99", "the same: 99 of 100 within"),
    ],
    [
        told("event-label-p50", "a label of a pod elsewhere, wire to map write: half within"),
        aimed("event-label-p99", "the same: 99 of 100 within"),
    ],
];

/// All goals.
pub(crate) fn all() -> impl Iterator<Item = Goal> {
    ALL.into_iter().flatten()
}

/// The kernel's tables, looked at from outside.
struct Tables {
    judgements: Judgements,
    peers: Peers,
}

impl Tables {
    fn open(node: &ApiNode) -> Result<Self> {
        Ok(Self { judgements: Judgements::open(&node.lab)?, peers: Peers::open(&node.lab.pins())? })
    }

    /// What an address is to the policies.
    fn peer(&self, address: &Addr) -> Result<Option<Peer>> {
        Ok(self.peers.get(address)?)
    }
}

/// Measures what of it is wanted.
pub(crate) fn run(only: &Only) -> Result<Vec<Answer>> {
    if !all().any(|goal| only.wants_goal(&goal)) {
        return Ok(Vec::new());
    }
    let mut node = ApiNode::new(PODS, LOCAL)?;
    node.use_relay()?;
    node.start()?;
    let tables = Tables::open(&node)?;
    let slots = slots(&node)?;
    let mut times = [Vec::new(), Vec::new()];
    let _from_now_on = node.relay.traced();
    for number in 0..CHANGES {
        // Any of the first policies selects pods of this node.
        let which = number % LOCAL;
        let selected = slots.get(&selects(which)).context("a policy that selects nobody here")?;
        let before = tables.judgements.of(selected)?;
        let changed = || {
            let now = tables.judgements.of(selected)?;
            Ok(now.iter().zip(&before).all(|(now, before)| now != before))
        };
        let took = timed(&node, || node.etcd.put([api::policy(which, 9000 + number)]), changed);
        times[0].push(took.with_context(|| format!("policy {which}"))?);

        // A pod that the first policy names as a peer, and does so no more; another one each time.
        let other = 100 * (1 + number % 90);
        let address = Addr::from(std::net::IpAddr::from(api::address(other)));
        let before = tables.peer(&address)?;
        let label = if before.is_some() { "nobody".to_owned() } else { api::app(other) };
        let changed = || Ok(tables.peer(&address)? != before);
        let took = timed(&node, || node.etcd.put([api::pod(other, &label)]), changed);
        times[1].push(took.with_context(|| format!("pod {other} with the label {label}"))?);
    }
    let lines = ALL.into_iter().zip(times).flat_map(|([half, most], times)| {
        let of = |goal, at| Answer { goal, figure: Figure::quantile_of(&times, at) };
        [of(half, 0.5), of(most, 0.99)]
    });
    Ok(lines.filter(|answer| only.wants_goal(&answer.goal)).collect())
}

/// Milliseconds from when a change goes to the agent until it is seen.
fn timed(node: &ApiNode, change: impl Fn() -> Result<()>, seen: impl Fn() -> Result<bool>) -> Result<f64> {
    sleep(PAUSE);
    let _before = node.relay.traced();
    let begun = Instant::now();
    change()?;
    while !seen()? {
        if begun.elapsed() > PATIENCE {
            bail!("a change is not in the tables after {PATIENCE:?}");
        }
        sleep(LOOK);
    }
    let seen = Instant::now();
    let sent = node.relay.traced().into_iter().find(|(_, bytes)| *bytes >= EVENT);
    let (sent, _) = sent.context("a change came to the kernel without crossing the wire")?;
    Ok(seen.saturating_duration_since(sent).as_secs_f64() * 1e3)
}

/// Which pods a policy selects: namespace and label.
fn selects(policy: u32) -> (String, String) {
    let object = api::policy(policy, 0);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
    (text(&object["metadata"]["namespace"]), text(&object["spec"]["podSelector"]["matchLabels"]["app"]))
}

/// The slots of the node's pods, by namespace and label.
fn slots(node: &ApiNode) -> Result<BTreeMap<(String, String), Vec<u32>>> {
    let status = node.lab.agent()?.status()?;
    let mut slots = BTreeMap::<_, Vec<u32>>::new();
    for line in status["endpoints"].as_array().context("a status without endpoints")? {
        let name = line["pod"].as_str().unwrap_or_default();
        let slot = line["slot"].as_u64().and_then(|slot| slot.try_into().ok()).context("no slot")?;
        let pod = &node.lab.pod(name)?.spec;
        let label = pod.labels.iter().find(|(key, _)| key == "app").map(|(_, value)| value.clone());
        slots.entry((pod.namespace.clone(), label.unwrap_or_default())).or_default().push(slot);
    }
    Ok(slots)
}
