mod random;

use std::{net::Ipv4Addr, time::Duration};

use netpol_common::{
    decide::{Judged, Tables as _, judge},
    flow::FlowKey,
    packet::ICMP,
    tables::{SET_CLOSED, revision_of, set_of},
};
use netpol_policy::{
    engine::{LocalEndpoint, Recovered, Settings},
    model::{Kind as ObjectKind, Object, SourceEvent},
    read::{Read, read_document},
};
use serde_json::{Value, json};

use super::*;
use crate::{control::protocol::PolicyPart, verdicts::log::tests::drop_from};

fn object(document: &Value) -> Object {
    match read_document(document).remove(0) {
        Read::Object { object, .. } => object,
        other => panic!("{other:?}"),
    }
}

fn pod(name: &str, address: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "namespace": "n", "labels": {"app": name}},
        "spec": {"nodeName": "n1"}, "status": {"phase": "Running", "podIPs": [{"ip": address}]}
    })
}

fn policy(name: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": "n"}, "spec": spec
    })
}

fn endpoint(ifname: &str, pod: &str) -> LocalEndpoint {
    LocalEndpoint {
        ifname: ifname.into(),
        ifindex: u32::from(ifname.bytes().last().unwrap()),
        pod: Some(Key::new("n", pod)),
        uid: "".into(),
        addresses: Vec::new(),
        hardware: None,
        sources: Vec::new(),
        tag_trusted: true,
        tags_allowed: false,
    }
}

/// Pod `a` (10.0.0.1) is local; only `b` (10.0.0.2) reaches its port 80; it reaches the Service `s` (10.1.0.1:80, behind
/// which is `b`, port 8080) and nothing else.
struct Given {
    engine: Engine,
    slot: u32,
    now: Duration,
}

impl Given {
    fn cluster() -> Self {
        let mut engine =
            Engine::new(Settings { node: "n1".into(), ..Settings::default() }, Recovered::default());
        let documents = [
            json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n1"},
                "status": {"addresses": [{"type": "InternalIP", "address": "192.168.0.1"}]}}),
            pod("a", "10.0.0.1"),
            pod("b", "10.0.0.2"),
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "s", "namespace": "n"},
                "spec": {"clusterIP": "10.1.0.1", "selector": {"app": "b"}, "ports": [{"port": 80, "targetPort": 8080}]}}),
            policy(
                "in",
                &json!({"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Ingress"],
                "ingress": [{"from": [{"podSelector": {"matchLabels": {"app": "b"}}}], "ports": [{"port": 80}]}]}),
            ),
            policy(
                "out",
                &json!({"podSelector": {"matchLabels": {"app": "a"}}, "policyTypes": ["Egress"],
                "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "b"}}}], "ports": [{"port": 8080}]}]}),
            ),
        ];
        engine.apply(SourceEvent::Reset(documents.iter().map(object).collect()));
        let slot = engine.set_endpoint(endpoint("veth1", "a")).unwrap();
        let mut given = Self { engine, slot, now: Duration::from_secs(1) };
        given.compile();
        given
    }

    fn compile(&mut self) {
        self.engine.compile(self.now);
        self.engine.applied(self.now, &[]);
        self.now += Duration::from_secs(1);
    }

    /// As the kernel would report it, had it decided so.
    fn event(&self, src: [u8; 4], dst: [u8; 4], port: u16, direction: Direction, reason: Reason) -> Event {
        let (src, dst) = (Ipv4Addr::from(src).into(), Ipv4Addr::from(dst).into());
        let event = judged(&self.engine, self.slot, direction, (src, dst), (TCP, port));
        Event { reason: reason as u8, ..event }
    }

    fn name(&self, event: &Event) -> Verdict {
        look_up(&self.engine, &mut Memory::of("n1"), Clock::now(), event).verdict()
    }
}

/// What the kernel reports of a new flow: the decision function over the engine's tables makes it.
fn judged(
    engine: &Engine,
    slot: u32,
    direction: Direction,
    (src, dst): (Addr, Addr),
    (proto, port): (u8, u16),
) -> Event {
    let tables = engine.tables();
    let (pod, peer, pod_port, peer_port) = match direction {
        Direction::Ingress => (dst, src, port, 40_000),
        Direction::Egress => (src, dst, 40_000, port),
    };
    let key = FlowKey { pod, peer, pod_port, peer_port, proto, reserved: [0; 3] };
    let word = tables.judgement(slot, direction);
    let mut judged = Judged::default();
    judge(tables, slot, direction, set_of(word), &key, BACKENDS_NONE, &mut judged);
    Event {
        at: 0,
        src,
        dst,
        src_port: 40_000,
        dst_port: port,
        slot,
        revision: revision_of(word),
        set: set_of(word),
        class: judged.class,
        port_set: judged.port_set,
        backends: judged.backends,
        length: 60,
        proto,
        direction: direction as u8,
        reason: judged.reason,
        tcp_flags: 2,
        icmp_type: 8,
        icmp_code: 0,
        reply: 0,
        reserved: 0,
    }
}

/// As it would be kept of an event that is named so; nobody decided.
impl From<Verdict> for Kept {
    fn from(verdict: Verdict) -> Self {
        let reason = Reason::ALL.iter().find(|reason| reason.name() == verdict.reason).unwrap();
        let reason = if verdict.verdict == Outcome::Dropped { *reason } else { Reason::Policy };
        let address = |end: &End| Addr::from(end.address.parse::<IpAddr>().unwrap());
        let event = Event {
            src: address(&verdict.source),
            dst: address(&verdict.destination),
            dst_port: verdict.destination.port.unwrap(),
            reason: reason as u8,
            ..drop_from(verdict.source.port.unwrap())
        };
        let seen = Seen {
            event,
            node: "n1".into(),
            endpoint: verdict.endpoint.into(),
            source: pod_end(&verdict.source),
            destination: pod_end(&verdict.destination),
            backends: None,
            basis: Basis::None,
        };
        let mut kept = Self::of(Arc::new(Kind::from(seen)), verdict.time, &event);
        (kept.first, kept.count, kept.at_least) = (verdict.first, verdict.count, verdict.at_least);
        kept
    }
}

fn pod_end(end: &End) -> Whose {
    let (namespace, name) = end.name.split_once('/').unwrap();
    let Object::Pod(pod) = object(&pod(name, &end.address)) else { panic!("{end:?}") };
    let pod = Pod { key: Key::new(namespace, name), labels: end.labels.clone().into(), ..pod };
    Whose::Pod(Arc::new(Snapshot { pod, namespace: None }))
}

const A: [u8; 4] = [10, 0, 0, 1];
const B: [u8; 4] = [10, 0, 0, 2];

#[test]
fn an_allowed_packet_names_both_pods_and_the_rule() {
    let given = Given::cluster();
    let verdict = given.name(&given.event(B, A, 80, Direction::Ingress, Reason::Policy));
    assert_eq!((verdict.source.name.as_str(), verdict.destination.name.as_str()), ("n/b", "n/a"));
    assert_eq!(
        verdict.allowed_by,
        [PolicyPart { policy: "n/in".to_owned(), number: 1, rule: "spec.ingress[0]".to_owned() }]
    );
    assert_eq!((verdict.verdict, verdict.tcp_flags.as_str()), (Outcome::Allowed, "S"));
}

#[test]
fn a_denied_packet_names_who_isolates_and_what_came_nearest() {
    let given = Given::cluster();
    let verdict = given.name(&given.event(B, A, 81, Direction::Ingress, Reason::PolicyDenied));
    assert_eq!((verdict.verdict, verdict.isolated_by), (Outcome::Dropped, vec!["n/in".to_owned()]));
    assert!(verdict.allowed_by.is_empty() && !verdict.changed_since);
    let [nearest] = verdict.nearest.as_slice() else { panic!("{:?}", verdict.nearest) };
    assert_eq!((nearest.policy.as_str(), nearest.number, nearest.miss.as_str()), ("n/in", Some(1), "port"));
    assert_eq!(nearest.rule, "spec.ingress[0].ports");
    assert_eq!(
        nearest.text,
        "rule 1 of n/in matches the peer, not the port: 80/TCP allowed, 81/TCP asked (spec.ingress[0].ports)"
    );
}

#[test]
fn a_policy_that_has_changed_since_is_not_blamed() {
    let mut given = Given::cluster();
    let event = given.event(B, A, 81, Direction::Ingress, Reason::PolicyDenied);
    let other = policy("other", &json!({"podSelector": {}, "policyTypes": ["Ingress"]}));
    given.engine.apply(SourceEvent::Apply(object(&other)));
    given.compile();
    assert_eq!(given.name(&event).isolated_by, ["n/in"]);
    let event = given.event(B, A, 81, Direction::Ingress, Reason::PolicyDenied);
    assert_eq!(given.name(&event).isolated_by, ["n/in", "n/other"]);
}

#[test]
fn a_flow_to_a_service_names_it_and_its_backends_and_the_rule_at_their_port() {
    let given = Given::cluster();
    let event = given.event(A, [10, 1, 0, 1], 80, Direction::Egress, Reason::Policy);
    let verdict = given.name(&event);
    assert_eq!((verdict.destination.kind, verdict.destination.name.as_str()), (EndKind::Service, "n/s"));
    assert_eq!(verdict.backends, ["n/b (10.0.0.2:8080)"]);
    assert_eq!(
        verdict.allowed_by,
        [PolicyPart { policy: "n/out".to_owned(), number: 1, rule: "spec.egress[0]".to_owned() }]
    );
}

#[test]
fn a_reply_is_judged_as_the_flow_it_belongs_to() {
    let given = Given::cluster();
    // a answers b: it leaves a, but ingress rules judged it.
    let mut event = given.event(B, A, 81, Direction::Ingress, Reason::FlowDenied);
    event.direction = Direction::Egress as u8;
    (event.src, event.dst) = (event.dst, event.src);
    (event.src_port, event.dst_port) = (81, 40_000);
    event.reply = 1;
    let verdict = given.name(&event);
    assert_eq!((verdict.direction.as_str(), verdict.reply), ("egress", true));
    assert_eq!(verdict.isolated_by, ["n/in"]);
}

#[test]
fn nodes_and_the_world_have_names_too() {
    let given = Given::cluster();
    let verdict = given.name(&given.event(A, [192, 168, 0, 1], 1, Direction::Egress, Reason::PolicyDenied));
    assert_eq!((verdict.destination.kind, verdict.destination.name.as_str()), (EndKind::Node, "n1"));
    let verdict = given.name(&given.event(A, [203, 0, 113, 9], 1, Direction::Egress, Reason::PolicyDenied));
    assert_eq!((verdict.destination.kind, verdict.destination.name.as_str()), (EndKind::World, ""));
    assert_eq!(verdict.destination.address, "203.0.113.9");
}

#[test]
fn an_event_of_an_endpoint_that_is_gone_still_has_a_line() {
    let mut given = Given::cluster();
    let event = given.event(B, A, 81, Direction::Ingress, Reason::PolicyDenied);
    given.engine.remove_endpoint("veth1");
    given.compile();
    let verdict = given.name(&event);
    assert_eq!(verdict.destination.name, "n/a");
    assert!(!verdict.endpoint.is_empty());
}

#[test]
fn an_unknown_reason_is_shown_as_its_number() {
    let given = Given::cluster();
    let mut event = given.event(B, A, 81, Direction::Ingress, Reason::PolicyDenied);
    event.reason = 127;
    assert_eq!(given.name(&event).reason, "reason-127");
}

#[test]
fn ends_carry_the_labels_of_their_pods() {
    let given = Given::cluster();
    let verdict = given.name(&given.event(B, [203, 0, 113, 9], 80, Direction::Ingress, Reason::Policy));
    assert_eq!(verdict.source.labels["app"], "b");
    assert!(verdict.destination.labels.is_empty());
}

fn relabelled(name: &str, address: &str) -> SourceEvent {
    let mut document = pod(name, address);
    document["metadata"]["labels"]["app"] = json!("else");
    SourceEvent::Apply(object(&document))
}

#[test]
fn a_peer_relabelled_since_is_neither_said_to_be_allowed_nor_how_it_failed() {
    let mut given = Given::cluster();
    let allowed = given.event(B, A, 80, Direction::Ingress, Reason::Policy);
    let denied = given.event(B, A, 81, Direction::Ingress, Reason::PolicyDenied);
    given.engine.apply(relabelled("b", "10.0.0.2"));
    given.compile();
    let verdict = given.name(&allowed);
    assert!(verdict.changed_since && verdict.allowed_by.is_empty() && verdict.nearest.is_empty());
    let verdict = given.name(&denied);
    assert!(verdict.changed_since && verdict.allowed_by.is_empty() && verdict.nearest.is_empty());
    assert_eq!(verdict.isolated_by, ["n/in"], "which policies there were is known by the revision");
    // What is judged now is named as it is now.
    let verdict = given.name(&given.event(B, A, 80, Direction::Ingress, Reason::PolicyDenied));
    assert!(!verdict.changed_since && verdict.nearest.len() == 1);
}

#[test]
fn a_pod_relabelled_since_was_still_isolated_by_what_isolated_it() {
    let mut given = Given::cluster();
    let event = given.event(B, A, 81, Direction::Ingress, Reason::PolicyDenied);
    given.engine.apply(relabelled("a", "10.0.0.1"));
    given.compile();
    let verdict = given.name(&event);
    assert_eq!((verdict.isolated_by, verdict.allowed_by), (vec!["n/in".to_owned()], Vec::new()));
}

#[test]
fn a_policy_that_is_gone_is_still_named() {
    let mut given = Given::cluster();
    let event = given.event(B, A, 80, Direction::Ingress, Reason::Policy);
    given.engine.apply(SourceEvent::Delete(ObjectKind::NetworkPolicy, Key::new("n", "in")));
    given.compile();
    let verdict = given.name(&event);
    assert!(verdict.changed_since || verdict.allowed_by[0].policy == "n/in", "{verdict:?}");
}

#[test]
fn a_revision_that_nobody_knows_any_more_blames_nobody() {
    let given = Given::cluster();
    let event = given.event(B, A, 81, Direction::Ingress, Reason::PolicyDenied);
    let verdict = given.name(&Event { revision: 999_999, ..event });
    assert!(verdict.changed_since && verdict.isolated_by.is_empty() && verdict.nearest.is_empty());
}

#[test]
fn a_reason_that_the_policies_contradict_is_not_explained_by_them() {
    let given = Given::cluster();
    let verdict = given.name(&given.event(B, A, 80, Direction::Ingress, Reason::PolicyDenied));
    assert!(verdict.changed_since && verdict.allowed_by.is_empty() && verdict.nearest.is_empty());
    let verdict = given.name(&given.event(B, A, 81, Direction::Ingress, Reason::Policy));
    assert!(verdict.changed_since && verdict.allowed_by.is_empty() && verdict.isolated_by.is_empty());
}

#[test]
fn a_closed_endpoint_is_said_to_be_closed() {
    let given = Given::cluster();
    let event = given.event(B, A, 80, Direction::Ingress, Reason::PolicyDenied);
    let verdict = given.name(&Event { set: SET_CLOSED, ..event });
    assert!(verdict.closed && !verdict.changed_since && verdict.isolated_by.is_empty());
}

#[test]
fn an_error_that_quotes_a_denied_flow_names_the_policies_only() {
    let given = Given::cluster();
    let event = given.event(B, A, 81, Direction::Ingress, Reason::FlowDenied);
    let verdict = given.name(&Event { proto: ICMP, icmp_type: 3, icmp_code: 3, ..event });
    assert_eq!((verdict.isolated_by, verdict.icmp.as_str()), (vec!["n/in".to_owned()], "port-unreachable"));
    assert!(verdict.nearest.is_empty() && !verdict.changed_since);
}

#[test]
fn a_flow_that_its_senders_policies_deny_names_those() {
    let mut given = Given::cluster();
    let open = policy("in", &json!({"podSelector": {"matchLabels": {"app": "a"}}, "ingress": [{}]}));
    given.engine.apply(SourceEvent::Apply(object(&open)));
    let deny =
        policy("b-out", &json!({"podSelector": {"matchLabels": {"app": "b"}}, "policyTypes": ["Egress"]}));
    given.engine.apply(SourceEvent::Apply(object(&deny)));
    given.engine.set_endpoint(endpoint("veth2", "b")).unwrap();
    given.compile();
    for reason in [Reason::SenderDenied, Reason::FlowDenied] {
        let verdict = given.name(&given.event(B, A, 80, Direction::Ingress, reason));
        assert_eq!(verdict.isolated_by, ["n/b-out"], "{reason:?}");
        assert_eq!(verdict.nearest[0].text, "n/b-out has no rule in this direction");
        assert!(!verdict.changed_since);
    }
}

#[test]
fn another_packet_of_a_kind_is_named_as_if_it_were_the_first() {
    const SERVICE: [u8; 4] = [10, 1, 0, 1];
    const WORLD: [u8; 4] = [192, 0, 2, 1];
    let given = Given::cluster();
    let mut memory = Memory::of("n1");
    for (src, dst) in [(B, A), (A, B), (A, SERVICE), (SERVICE, A), (WORLD, A), (A, WORLD)] {
        for (reply, port) in [(0, 80), (0, 81), (1, 80)] {
            let direction = if dst == A { Direction::Ingress } else { Direction::Egress };
            for (own, chosen) in (0u16..).zip([40_000, 40_001, 80, 81]) {
                let mut event = given.event(src, dst, port, direction, Reason::Policy);
                event.reply = reply;
                if reply == 0 {
                    event.src_port = chosen;
                } else {
                    (event.src_port, event.dst_port) = (port, chosen);
                }
                (event.at, event.length) = (1_000_000 * u64::from(own), 60 + u32::from(own));
                let clock = Clock::now();
                let with = look_up(&given.engine, &mut memory, clock, &event).verdict();
                let without = look_up(&given.engine, &mut Memory::of("n1"), clock, &event).verdict();
                assert_eq!(with, without);
                assert_eq!(
                    (with.source.port, with.destination.port),
                    (Some(event.src_port), Some(event.dst_port))
                );
            }
        }
    }
    assert!(memory.kinds.len() < 40, "{} kinds of 72 packets", memory.kinds.len());
}

#[test]
fn a_verdict_tells_what_was_true_when_it_came_whenever_it_is_read() {
    let mut given = Given::cluster();
    let events = [
        given.event(B, A, 80, Direction::Ingress, Reason::Policy),
        given.event(B, A, 81, Direction::Ingress, Reason::PolicyDenied),
        given.event(A, [10, 1, 0, 1], 80, Direction::Egress, Reason::Policy),
    ];
    let clock = Clock::now();
    let look_up = |given: &Given, event: &Event| look_up(&given.engine, &mut Memory::of("n1"), clock, event);
    let then = events.map(|event| look_up(&given, &event).verdict());
    let unread = events.map(|event| look_up(&given, &event));
    for gone in [
        (ObjectKind::NetworkPolicy, "in"),
        (ObjectKind::NetworkPolicy, "out"),
        (ObjectKind::Service, "s"),
        (ObjectKind::Pod, "b"),
    ] {
        given.engine.apply(SourceEvent::Delete(gone.0, Key::new("n", gone.1)));
    }
    given.engine.apply(relabelled("a", "10.0.0.1"));
    given.compile();
    assert_eq!(unread.map(|kept| kept.verdict()), then);
    assert!(then.iter().all(|verdict| !verdict.changed_since));
}

#[test]
fn denials_are_the_same_as_long_as_nobody_who_reads_is_told_anything_else() {
    let mut given = Given::cluster();
    let event = given.event(B, A, 81, Direction::Ingress, Reason::PolicyDenied);
    let look_up =
        |given: &Given, event: &Event| look_up(&given.engine, &mut Memory::of("n1"), Clock::now(), event);
    let before = look_up(&given, &event);
    let mut document = pod("b", "10.0.0.2");
    document["status"]["conditions"] = json!([{"type": "Ready", "status": "False"}]);
    given.engine.apply(SourceEvent::Apply(object(&document)));
    given.compile();
    assert!(look_up(&given, &event).says_the_same(&before), "whether it is ready is not told");
    let other_flags = Event { tcp_flags: 4, ..event };
    assert!(look_up(&given, &other_flags).says_the_same(&before));
    given.engine.apply(relabelled("b", "10.0.0.2"));
    given.compile();
    assert!(!look_up(&given, &event).says_the_same(&before), "labels are");
}

#[test]
fn a_flood_of_the_same_denial_is_looked_up_once() {
    let given = Given::cluster();
    let mut memory = Memory::of("n1");
    for port in 0..1000 {
        let mut event = given.event(B, A, 81, Direction::Ingress, Reason::PolicyDenied);
        event.src_port = port;
        let verdict = look_up(&given.engine, &mut memory, Clock::now(), &event).verdict();
        assert_eq!((verdict.isolated_by, verdict.source.port), (vec!["n/in".to_owned()], Some(port)));
    }
    assert_eq!(memory.kinds.len(), 1);
    for port in 0..10_000 {
        let event = given.event(B, A, port, Direction::Ingress, Reason::PolicyDenied);
        let _named = look_up(&given.engine, &mut memory, Clock::now(), &event);
    }
    assert!(memory.kinds.len() <= REMEMBERED);
    assert_eq!((memory.addresses.len(), memory.slots.len()), (2, 1), "new kinds are of ends that are known");
}
