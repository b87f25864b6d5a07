use std::{cell::RefCell, rc::Rc};

use netpol_common::tables::{ENDPOINT_LIVE, ENDPOINT_RESERVED, FIRST_SLOT};
use netpol_policy::{
    engine::Mirror,
    model::{Key, Kind, Object, SourceEvent},
    read::{Read, read_document},
};
use serde_json::json;

use super::*;
use crate::{
    datapath::{Attachment, Counters, Hold, Hook, Meeting, Met, Surroundings, TakenOver, first_packet},
    discovery::{Bridge, LocalPod, Owner},
};

mod joined;
mod latencies;
mod links;
mod live;
mod lives;
mod replaced;
mod watched;

/// What a fake kernel was told, and what it refuses.
#[derive(Default)]
struct Kernel {
    applied: Vec<TableOp>,
    /// What its tables hold.
    tables: Mirror,
    bridges: Vec<(u32, bool)>,
    /// Bridges that an earlier agent has said are believed.
    believed: BTreeSet<u32>,
    /// Interfaces that a gate closes.
    gates: BTreeSet<u32>,
    /// Interfaces whose gates were taken off.
    opened: Vec<u32>,
    /// No gate can be taken off.
    stuck: bool,
    refuses: Option<fn(&TableOp) -> bool>,
    surroundings: BTreeMap<u32, Surroundings>,
    taken_over: BTreeMap<u32, TakenOver>,
    takeover_fault: Option<String>,
    /// What was to be attached again.
    mended: Vec<Attachment>,
    refuses_to_mend: bool,
    /// Places that filters hold.
    by_filter: BTreeSet<Attachment>,
    /// Those that no link can hold.
    refuses_links: BTreeSet<Attachment>,
}

#[derive(Clone, Default)]
struct Fake(Rc<RefCell<Kernel>>);

impl Datapath for Fake {
    fn apply(&mut self, operations: &[TableOp]) -> Vec<(TableOp, String)> {
        let mut kernel = self.0.borrow_mut();
        kernel.applied.extend(operations.iter().cloned());
        let refuses = kernel.refuses;
        let is_refused = |op: &&TableOp| refuses.is_some_and(|f| f(op));
        for operation in operations.iter().filter(|op| !is_refused(op)) {
            kernel.tables.apply(operation);
        }
        let refused = operations.iter().filter(is_refused);
        refused.map(|op| (op.clone(), "the table is full".to_owned())).collect()
    }

    fn trust_bridge(&mut self, ifindex: u32, trusted: bool) -> Result<(), String> {
        self.0.borrow_mut().bridges.push((ifindex, trusted));
        Ok(())
    }

    fn trusted_bridges(&self) -> BTreeSet<u32> {
        self.0.borrow().believed.clone()
    }

    fn open_gate(&mut self, ifindex: u32) -> Result<(), String> {
        let mut kernel = self.0.borrow_mut();
        if kernel.stuck {
            return Err("the gate is stuck".to_owned());
        }
        kernel.gates.remove(&ifindex);
        kernel.opened.push(ifindex);
        Ok(())
    }

    fn is_gated(&self, ifindex: u32) -> bool {
        self.0.borrow().gates.contains(&ifindex)
    }

    fn mend(&mut self, lost: &BTreeMap<Attachment, Hold>) -> Vec<(Attachment, Result<(), String>)> {
        let mut kernel = self.0.borrow_mut();
        kernel.mended.extend(lost.keys());
        let result = if kernel.refuses_to_mend { Err("no room".to_owned()) } else { Ok(()) };
        lost.keys().map(|place| (*place, result.clone())).collect()
    }

    fn hold_by_link(&mut self, after: Option<Attachment>) -> Option<(Attachment, Result<(), String>)> {
        let mut kernel = self.0.borrow_mut();
        let next = kernel.by_filter.iter().copied().find(|place| after.is_none_or(|after| *place > after))?;
        if kernel.refuses_links.contains(&next) {
            return Some((next, Err("no room".to_owned())));
        }
        kernel.by_filter.remove(&next);
        Some((next, Ok(())))
    }

    fn gates(&self) -> Result<BTreeSet<u32>, String> {
        Ok(self.0.borrow().gates.clone())
    }

    fn counters(&self) -> Result<Counters, String> {
        Ok(Counters::default())
    }

    fn referenced_backends(&self) -> BTreeSet<u32> {
        BTreeSet::new()
    }

    fn set_surroundings(&mut self, surroundings: BTreeMap<u32, Surroundings>) {
        self.0.borrow_mut().surroundings = surroundings;
    }

    fn taken_over(&self, slot: u32) -> Option<TakenOver> {
        self.0.borrow().taken_over.get(&slot).cloned()
    }

    fn takeover_fault(&self) -> Option<String> {
        self.0.borrow().takeover_fault.clone()
    }

    fn meet(&self, meeting: &Meeting) -> Result<Met, String> {
        let tables = &self.0.borrow().tables;
        let (decision, entries) = first_packet(tables, meeting);
        let hook = match (tables.hook(meeting.arrival.slot), meeting.direction) {
            (HookLevel::None, _) | (HookLevel::SourceCheck, netpol_common::Direction::Ingress) => Hook::None,
            (HookLevel::SourceCheck, netpol_common::Direction::Egress) => Hook::SourceCheck,
            (HookLevel::Full, _) => Hook::Full,
        };
        Ok(Met { hook, decision, entries, known: 0, denied: 0 })
    }
}

struct Given {
    kernel: Fake,
    reconciler: Reconciler<Fake>,
    now: Duration,
}

impl Given {
    fn fresh() -> Self {
        Self::after(Recovered::default())
    }

    fn after(recovered: Recovered) -> Self {
        Self::over(Fake::default(), recovered, TrustTag::Auto)
    }

    fn over(kernel: Fake, recovered: Recovered, trust_tag: TrustTag) -> Self {
        Self::on("n1", kernel, recovered, trust_tag)
    }

    fn on(node: &str, kernel: Fake, recovered: Recovered, trust_tag: TrustTag) -> Self {
        let options = Options {
            node: node.to_owned(),
            source: String::new(),
            discovery: String::new(),
            trust_tag,
            sizes: Sizes::default(),
            alive: None,
            latencies: crate::metrics::latencies(),
        };
        let settings = Settings { node: node.into(), ..Settings::default() };
        let reconciler = Reconciler::new(options, settings, recovered, kernel.clone());
        Self { kernel, reconciler, now: Duration::from_secs(1) }
    }

    fn lists(&mut self, objects: Vec<Object>) -> &mut Self {
        let update = SourceUpdate {
            events: vec![SourceEvent::Reset(objects)],
            synced: true,
            ..SourceUpdate::default()
        };
        self.reconciler.take_objects(update);
        self
    }

    fn says(&mut self, event: SourceEvent) -> &mut Self {
        let update = SourceUpdate { events: vec![event], synced: true, ..SourceUpdate::default() };
        self.reconciler.take_objects(update);
        self
    }

    fn finds(&mut self, pods: &[(&str, u32)]) -> &mut Self {
        let mut discovered = Discovered::default();
        discovered
            .bridges
            .insert(1, Bridge { name: "cni0".to_owned(), veths: pods.iter().map(|p| p.1).collect() });
        for (name, ifindex) in pods {
            let local = LocalPod {
                owner: Owner::Named { pod: Key::new("n", name), uid: String::new() },
                interface: format!("veth{ifindex}"),
                ifindex: *ifindex,
                addresses: vec![format!("10.0.0.{ifindex}").parse().unwrap()],
                hardware: None,
                bridge: Some(1),
                namespace: None,
            };
            discovered.pods.insert(*ifindex, local);
        }
        self.reconciler.take_interfaces(discovered);
        self
    }

    fn settles(&mut self) -> &mut Self {
        self.now += Duration::from_millis(10);
        self.reconciler.settle(self.now);
        self
    }

    fn passes(&mut self, time: Duration) -> &mut Self {
        self.now += time;
        self.reconciler.settle(self.now);
        self
    }

    fn applied(&self) -> Vec<TableOp> {
        std::mem::take(&mut self.kernel.0.borrow_mut().applied)
    }

    fn is_ready(&self) -> bool {
        self.reconciler.status(Duration::ZERO).ready
    }
}

fn objects(documents: &[serde_json::Value]) -> Vec<Object> {
    let reads = documents.iter().flat_map(read_document);
    reads
        .filter_map(|read| match read {
            Read::Object { object, .. } => Some(object),
            _ => None,
        })
        .collect()
}

fn pod(name: &str, ifindex: u32) -> serde_json::Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n", "labels": {"app": name}},
        "spec": {"nodeName": "n1"}, "status": {"phase": "Running", "podIPs": [{"ip": format!("10.0.0.{ifindex}")}]}
    })
}

fn deny() -> serde_json::Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": "deny", "namespace": "n"},
        "spec": {"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Ingress", "Egress"]}
    })
}

fn hooks(operations: &[TableOp]) -> Vec<(u32, HookLevel)> {
    operations
        .iter()
        .filter_map(|op| match op {
            TableOp::Hook { ifindex, level, .. } => Some((*ifindex, *level)),
            _ => None,
        })
        .collect()
}

#[test]
fn nothing_is_written_before_source_and_discovery_have_spoken() {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", 5), deny()])).settles();
    assert!(given.applied().is_empty() && !given.is_ready());

    let mut given = Given::fresh();
    given.finds(&[("a", 5)]).settles();
    given.reconciler.take_objects(SourceUpdate::default());
    given.settles();
    assert!(given.applied().is_empty() && !given.is_ready());

    given.lists(objects(&[pod("a", 5), deny()])).settles();
    assert_eq!(hooks(&given.applied()), [(5, HookLevel::Full)]);
    assert!(given.is_ready());
}

#[test]
fn a_node_where_nothing_is_isolated_carries_no_program() {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", 5)])).finds(&[("a", 5)]).settles();
    assert!(hooks(&given.applied()).iter().all(|(_, level)| *level == HookLevel::None));
    assert!(given.is_ready());
}

#[test]
fn a_pod_that_was_there_before_and_that_nobody_knows_is_left_alone_until_it_is_known() {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", 5), deny()])).finds(&[("a", 5), ("b", 6)]).settles();
    assert_eq!(hooks(&given.applied()), [(5, HookLevel::Full)]);
    assert_eq!(given.reconciler.status(Duration::ZERO).unhooked.len(), 1);
    let object = objects(&[pod("b", 6)]).remove(0);
    given.says(SourceEvent::Apply(object)).settles();
    assert_eq!(hooks(&given.applied()), [(6, HookLevel::SourceCheck)]);
    assert!(given.reconciler.status(Duration::ZERO).unhooked.is_empty());
}

#[test]
fn a_new_pod_that_nobody_knows_is_closed_until_it_is_known() {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", 5)])).finds(&[("a", 5)]).settles();
    given.applied();
    given.finds(&[("a", 5), ("b", 6)]).settles();
    let operations = given.applied();
    assert!(hooks(&operations).contains(&(6, HookLevel::Full)), "{operations:?}");
    let line = |given: &Given| {
        let status = given.reconciler.status(Duration::ZERO);
        let line = status.endpoints.into_iter().find(|e| e.interface == "veth6").unwrap();
        (line.ingress, line.egress)
    };
    assert_eq!(line(&given), ("closed".to_owned(), "closed".to_owned()));
    given.says(SourceEvent::Apply(objects(&[pod("b", 6)]).remove(0))).settles();
    assert_eq!(line(&given), ("open".to_owned(), "open".to_owned()));
}

#[test]
fn a_pod_that_an_earlier_agent_had_closed_is_not_opened_by_a_restart() {
    let endpoint = netpol_common::tables::Endpoint {
        judgements: [netpol_common::tables::judgement(netpol_common::tables::SET_CLOSED, 7); 2],
        v6: netpol_common::Addr::NONE,
        v4: 0,
        flags: ENDPOINT_LIVE,
        hardware: [0; 6],
        reserved: [0; ENDPOINT_RESERVED],
    };
    let slot = FIRST_SLOT;
    let recovered = Recovered(vec![
        TableOp::Endpoint { slot, value: Box::new(endpoint) },
        TableOp::Hook { slot, ifindex: 6, level: HookLevel::Full },
    ]);
    let mut given = Given::after(recovered);
    given.lists(objects(&[pod("a", 5)])).finds(&[("a", 5), ("b", 6)]).settles();
    let status = given.reconciler.status(Duration::ZERO);
    let line = status.endpoints.into_iter().find(|e| e.interface == "veth6").unwrap();
    assert_eq!((line.ingress.as_str(), line.egress.as_str()), ("closed", "closed"));
}

#[test]
fn a_hook_that_fails_is_reported_and_tried_again() {
    let mut given = Given::fresh();
    given.kernel.0.borrow_mut().refuses =
        Some(|op| matches!(op, TableOp::Hook { level: HookLevel::Full, .. }));
    given.lists(objects(&[pod("a", 5), deny()])).finds(&[("a", 5)]).settles();
    let status = given.reconciler.status(Duration::ZERO);
    assert!(!status.ready && status.not_ready.iter().any(|r| r.contains("n/a")), "{status:?}");
    assert!(given.kernel.0.borrow().bridges.is_empty(), "an open port of a bridge: its tag is not believed");
    given.applied();
    given.kernel.0.borrow_mut().refuses = None;
    given.passes(Duration::from_secs(10));
    assert_eq!(hooks(&given.applied()), [(5, HookLevel::Full)]);
    assert!(given.is_ready());
    assert_eq!(given.kernel.0.borrow().bridges, [(1, true)]);
}

#[test]
fn a_bridge_with_a_port_that_is_not_ours_is_not_believed() {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", 5), deny()])).finds(&[("a", 5)]).settles();
    assert_eq!(given.kernel.0.borrow().bridges, [(1, true)]);
    let mut discovered = given.reconciler.discovered.clone().unwrap();
    discovered.bridges.get_mut(&1).unwrap().veths.push(9);
    given.reconciler.take_interfaces(discovered);
    given.settles();
    assert_eq!(given.kernel.0.borrow().bridges, [(1, true), (1, false)]);
    let status = given.reconciler.status(Duration::ZERO);
    assert!(!status.endpoints[0].tag_trusted && !status.bridges[0].reason.is_empty());
}

#[test]
fn a_pod_that_goes_takes_its_endpoint_with_it() {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", 5), deny()])).finds(&[("a", 5)]).settles();
    given.applied();
    given.finds(&[]).says(SourceEvent::Delete(Kind::Pod, Key::new("n", "a"))).settles();
    assert!(given.applied().iter().any(|op| matches!(op, TableOp::RemoveEndpoint { .. })));
    assert!(given.reconciler.status(Duration::ZERO).endpoints.is_empty());
}

#[test]
fn what_the_kernel_refuses_closes_the_pod_and_is_said() {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", 5), pod("b", 6)])).finds(&[("a", 5), ("b", 6)]).settles();
    given.kernel.0.borrow_mut().refuses = Some(|op| matches!(op, TableOp::PolicySet { .. }));
    given.says(SourceEvent::Apply(objects(&[deny()]).remove(0))).settles();
    let status = given.reconciler.status(Duration::ZERO);
    let line = |name: &str| status.endpoints.iter().find(|e| e.pod == name).unwrap().clone();
    assert_eq!(
        (line("n/a").ingress.as_str(), line("n/b").ingress.as_str()),
        ("closed", "open"),
        "{status:?}"
    );
    assert!(!status.faults.is_empty());
}

#[test]
fn an_interface_into_a_new_sandbox_is_closed_before_anybody_says_whose_it_is() {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", 5), pod("b", 6)])).finds(&[("a", 5)]).settles();
    given.applied();
    let mut discovered = given.reconciler.discovered.clone().unwrap();
    discovered.waiting.insert(6, "veth6".to_owned());
    given.reconciler.take_interfaces(discovered);
    given.settles();
    assert!(hooks(&given.applied()).contains(&(6, HookLevel::Full)));
    given.finds(&[("a", 5), ("b", 6)]).settles();
    let status = given.reconciler.status(Duration::ZERO);
    let line = status.endpoints.into_iter().find(|e| e.interface == "veth6").unwrap();
    assert_eq!((line.pod.as_str(), line.ingress.as_str()), ("n/b", "open"));
}

#[test]
fn an_interface_into_a_sandbox_that_came_before_everything_was_listed_is_closed() {
    let mut given = Given::fresh();
    given.finds(&[("a", 5)]).settles();
    let mut discovered = given.reconciler.discovered.clone().unwrap();
    discovered.waiting.insert(6, "veth6".to_owned());
    given.reconciler.take_interfaces(discovered);
    given.settles();
    assert!(given.applied().is_empty() && given.kernel.0.borrow().opened.is_empty(), "the gate keeps it");
    given.lists(objects(&[pod("a", 5)])).settles();
    assert!(hooks(&given.applied()).contains(&(6, HookLevel::Full)));
    assert_eq!(given.kernel.0.borrow().opened, [5, 6]);
    assert!(given.reconciler.status(Duration::ZERO).unhooked.is_empty());
}

#[test]
fn a_gate_is_opened_once_and_never_before_the_endpoint_is_hooked() {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", 5), pod("b", 6), deny()])).finds(&[("b", 6)]).settles();
    assert_eq!(given.kernel.0.borrow().opened, [6]);
    given.kernel.0.borrow_mut().refuses = Some(|op| matches!(op, TableOp::Hook { ifindex: 5, .. }));
    given.finds(&[("a", 5), ("b", 6)]).settles();
    assert_eq!(given.kernel.0.borrow().opened, [6], "what cannot be hooked stays closed");
    given.kernel.0.borrow_mut().refuses = None;
    given.passes(Duration::from_secs(2)).settles();
    assert_eq!(given.kernel.0.borrow().opened, [6, 5]);
}

#[test]
fn a_gate_alone_closes_an_interface_whose_pod_may_soon_be_known() {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", 5), pod("b", 6), deny()])).finds(&[("b", 6)]).settles();
    given.applied();
    given.kernel.0.borrow_mut().gates.extend([5, 7]);
    let mut discovered = given.reconciler.discovered.clone().unwrap();
    discovered.waiting.extend([(5, "veth5".to_owned()), (7, "veth7".to_owned())]);
    given.reconciler.take_interfaces(discovered);
    given.settles();
    assert!(given.applied().is_empty(), "nothing is hooked for pods that are not known");
    assert!(given.reconciler.deadline().unwrap() <= given.now + Duration::from_millis(300));
    let mut discovered = given.reconciler.discovered.clone().unwrap();
    discovered.waiting.remove(&5);
    given.finds(&[("a", 5), ("b", 6)]);
    given.reconciler.discovered.as_mut().unwrap().waiting = discovered.waiting;
    given.settles();
    let expected = [(6, HookLevel::SourceCheck), (5, HookLevel::Full)];
    assert_eq!(hooks(&given.applied()), expected, "it is known, and isolated");
    assert_eq!(given.kernel.0.borrow().gates, BTreeSet::from([7]));
    given.passes(Duration::from_millis(300));
    assert_eq!(
        hooks(&given.applied()),
        [(7, HookLevel::Full)],
        "what is not known by then is closed both ways"
    );
}

#[test]
fn what_an_earlier_agents_gate_closes_is_no_stranger() {
    let mut given = Given::fresh();
    given.kernel.0.borrow_mut().gates.insert(5);
    given.lists(objects(&[pod("b", 6)])).finds(&[("a", 5), ("b", 6)]).settles();
    assert!(given.reconciler.status(Duration::ZERO).unhooked.is_empty());
    assert_eq!(given.kernel.0.borrow().opened, [6]);
    given.says(SourceEvent::Apply(objects(&[pod("a", 5)]).remove(0))).settles();
    assert_eq!(given.kernel.0.borrow().opened, [6, 5]);
}

#[test]
fn a_gate_that_an_earlier_agent_left_on_what_is_no_pods_is_opened() {
    let kernel = Fake::default();
    kernel.0.borrow_mut().gates.extend([5, 8, 9]);
    let mut given = Given::over(kernel, Recovered::default(), TrustTag::Auto);
    given.finds(&[("b", 6)]);
    given.reconciler.discovered.as_mut().unwrap().waiting.insert(9, "veth9".to_owned());
    // One that is new, and not found yet.
    given.kernel.0.borrow_mut().gates.insert(10);
    given.settles();
    assert_eq!(
        given.kernel.0.borrow().gates,
        BTreeSet::from([5, 8, 9, 10]),
        "not before everything is listed"
    );
    given.lists(objects(&[pod("b", 6)])).settles();
    assert_eq!(given.kernel.0.borrow().gates, BTreeSet::from([9, 10]));
}

#[test]
fn a_gate_that_could_not_be_opened_is_tried_again_soon() {
    let kernel = Fake::default();
    kernel.0.borrow_mut().gates.extend([5, 8]);
    kernel.0.borrow_mut().stuck = true;
    let mut given = Given::over(kernel, Recovered::default(), TrustTag::Auto);
    given.lists(objects(&[pod("a", 5)])).finds(&[("a", 5)]).settles();
    let status = given.reconciler.status(Duration::ZERO);
    assert!(
        status.not_ready.iter().any(|reason| reason.contains("veth5") && reason.contains("stuck")),
        "{status:?}"
    );
    assert!(given.reconciler.deadline().unwrap() <= given.now + Duration::from_secs(1));
    given.kernel.0.borrow_mut().stuck = false;
    given.passes(Duration::from_secs(1));
    assert!(given.kernel.0.borrow().gates.is_empty() && given.is_ready());
    given.passes(Duration::from_secs(1)).passes(Duration::from_secs(1));
    assert_eq!(given.kernel.0.borrow().opened, [5, 8], "once");
}

#[test]
fn what_takes_an_index_over_is_opened_by_itself() {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", 5)])).finds(&[("a", 5)]).settles();
    assert_eq!(given.kernel.0.borrow().opened, [5]);
    given.finds(&[("a", 5)]);
    given.reconciler.discovered.as_mut().unwrap().pods.get_mut(&5).unwrap().interface = "other".to_owned();
    given.kernel.0.borrow_mut().gates.insert(5);
    given.settles();
    assert!(given.kernel.0.borrow().gates.is_empty(), "its gate is not that of the one before");
}

#[test]
fn what_no_gate_could_close_is_hooked_at_once() {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("b", 6)])).finds(&[("b", 6)]).settles();
    given.applied();
    given.kernel.0.borrow_mut().gates.insert(7);
    let mut discovered = given.reconciler.discovered.clone().unwrap();
    discovered.waiting.insert(7, "veth7".to_owned());
    given.reconciler.take_interfaces(discovered);
    given.settles();
    assert!(given.applied().is_empty(), "its gate is being closed");
    given.kernel.0.borrow_mut().gates.clear();
    given.reconciler.look_again();
    given.settles();
    assert!(hooks(&given.applied()).contains(&(7, HookLevel::Full)));
}

#[test]
fn a_hook_that_failed_is_forgotten_with_its_interface() {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", 5), deny()]));
    given.kernel.0.borrow_mut().refuses = Some(|op| matches!(op, TableOp::Hook { .. }));
    given.finds(&[("a", 5)]).settles();
    assert!(!given.is_ready());
    given.finds(&[]).settles();
    assert!(given.is_ready(), "{:?}", given.reconciler.status(Duration::ZERO).not_ready);
}

#[test]
fn an_interface_into_a_sandbox_that_was_there_before_is_left_alone() {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", 5)])).finds(&[("a", 5)]);
    let mut first = given.reconciler.discovered.take().unwrap();
    first.waiting.insert(6, "veth6".to_owned());
    given.reconciler.take_interfaces(first);
    given.settles();
    assert_eq!(given.reconciler.status(Duration::ZERO).unhooked.len(), 1);
    given.finds(&[("a", 5), ("b", 6)]).settles();
    assert_eq!(given.reconciler.status(Duration::ZERO).unhooked.len(), 1, "its pod is still not known");
    given.says(SourceEvent::Apply(objects(&[pod("b", 6)]).remove(0))).settles();
    assert!(given.reconciler.status(Duration::ZERO).unhooked.is_empty());
}

#[test]
fn a_restart_writes_nothing_but_the_hooks_which_get_the_programs_of_this_version() {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", 5), deny()])).finds(&[("a", 5)]).settles();
    let first = given.applied();
    let mut given = Given::after(Recovered(first));
    given.lists(objects(&[pod("a", 5), deny()])).finds(&[("a", 5)]).settles();
    let second = given.applied();
    assert!(second.iter().all(|op| matches!(op, TableOp::Hook { .. })), "{second:?}");
    assert_eq!(hooks(&second), [(5, HookLevel::Full)]);
}

#[test]
fn what_an_earlier_agent_enforced_is_closed_when_nobody_says_whose_it_is() {
    let mut given = Given::fresh();
    given.lists(objects(&[pod("a", 5), deny()])).finds(&[("a", 5)]).settles();
    let mut given = Given::after(Recovered(given.applied()));
    given.lists(objects(&[pod("a", 5), deny()]));
    let veths = BTreeMap::from([(5, "veth5".to_owned())]);
    given.reconciler.take_interfaces(Discovered { veths, ..Discovered::default() });
    given.settles();
    let status = given.reconciler.status(Duration::ZERO);
    assert_eq!(status.endpoints.len(), 1, "{status:?}");
    assert_eq!((status.endpoints[0].ingress.as_str(), status.endpoints[0].hook.as_str()), ("closed", "full"));
    given.reconciler.take_interfaces(Discovered::default());
    given.settles();
    assert!(given.reconciler.status(Duration::ZERO).endpoints.is_empty(), "its interface is gone");
}
