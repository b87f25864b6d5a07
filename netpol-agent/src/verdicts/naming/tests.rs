use std::{net::Ipv4Addr, time::Duration};

use netpol_policy::{
    engine::{LocalEndpoint, Recovered, Settings},
    model::SourceEvent,
    read::{Read, read_document},
};
use serde_json::{Value, json};

use super::*;

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
        let slot = engine
            .set_endpoint(LocalEndpoint {
                ifname: "veth1".into(),
                ifindex: 1,
                pod: Some(Key::new("n", "a")),
                uid: "".into(),
                addresses: vec!["10.0.0.1".parse().unwrap()],
                hardware: None,
                sources: Vec::new(),
                tag_trusted: true,
                tags_allowed: false,
            })
            .unwrap();
        let mut given = Self { engine, slot, now: Duration::from_secs(1) };
        given.compile();
        given
    }

    fn compile(&mut self) {
        self.engine.compile(self.now);
        self.engine.applied(self.now, &[]);
        self.now += Duration::from_secs(1);
    }

    fn revision(&self, direction: Direction) -> u32 {
        use netpol_common::decide::Tables as _;
        netpol_common::tables::revision_of(self.engine.tables().judgement(self.slot, direction))
    }

    fn event(&self, src: [u8; 4], dst: [u8; 4], port: u16, direction: Direction, reason: Reason) -> Event {
        Event {
            at: 0,
            src: Ipv4Addr::from(src).into(),
            dst: Ipv4Addr::from(dst).into(),
            src_port: 40_000,
            dst_port: port,
            slot: self.slot,
            revision: self.revision(direction),
            set: 0,
            class: 0,
            port_set: 0,
            backends: 0,
            length: 60,
            proto: TCP,
            direction: direction as u8,
            reason: reason as u8,
            tcp_flags: 2,
            icmp_type: 0,
            icmp_code: 0,
            reply: 0,
            reserved: 0,
        }
    }

    fn name(&self, event: &Event) -> Verdict {
        name(&self.engine, &mut Memory::default(), "n1", Clock::now(), event)
    }
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
        [PolicyPart { policy: "n/in".to_owned(), rule: "spec.ingress[0]".to_owned() }]
    );
    assert_eq!((verdict.verdict, verdict.tcp_flags.as_str()), (Outcome::Allowed, "S"));
}

#[test]
fn a_denied_packet_names_who_isolates_and_what_came_nearest() {
    let given = Given::cluster();
    let verdict = given.name(&given.event(B, A, 81, Direction::Ingress, Reason::PolicyDenied));
    assert_eq!((verdict.verdict, verdict.isolated_by), (Outcome::Dropped, vec!["n/in".to_owned()]));
    assert_eq!(verdict.nearest.len(), 1);
    assert!(verdict.allowed_by.is_empty());
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
    let mut event = given.event(A, [10, 1, 0, 1], 80, Direction::Egress, Reason::Policy);
    let key = FrontendKey { addr: event.dst, port: 80, proto: TCP, reserved: 0 };
    event.backends = netpol_common::decide::Tables::frontend(given.engine.tables(), &key);
    let verdict = given.name(&event);
    assert_eq!((verdict.destination.kind, verdict.destination.name.as_str()), (EndKind::Service, "n/s"));
    assert_eq!(verdict.backends, ["n/b (10.0.0.2:8080)"]);
    assert_eq!(
        verdict.allowed_by,
        [PolicyPart { policy: "n/out".to_owned(), rule: "spec.egress[0]".to_owned() }]
    );
}

#[test]
fn a_reply_is_judged_as_the_flow_it_belongs_to() {
    let given = Given::cluster();
    // a answers b: it leaves a, but ingress rules judged it.
    let mut event = given.event(A, B, 40_000, Direction::Ingress, Reason::FlowDenied);
    event.direction = Direction::Egress as u8;
    event.src_port = 81;
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
    assert_eq!(given.name(&event).reason, "127");
}

#[test]
fn a_flood_of_the_same_denial_is_looked_up_once() {
    let given = Given::cluster();
    let mut memory = Memory::default();
    for port in 0..1000 {
        let mut event = given.event(B, A, 81, Direction::Ingress, Reason::PolicyDenied);
        event.src_port = port;
        assert_eq!(name(&given.engine, &mut memory, "n1", Clock::now(), &event).isolated_by, ["n/in"]);
    }
    assert_eq!(memory.decided.len(), 1);
    for port in 0..10_000 {
        let event = given.event(B, A, port, Direction::Ingress, Reason::PolicyDenied);
        let _named = name(&given.engine, &mut memory, "n1", Clock::now(), &event);
    }
    assert!(memory.decided.len() <= REMEMBERED);
}
