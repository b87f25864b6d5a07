//! What the engine keeps for each pod of the cluster, counted at the allocator.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use netpol_policy::{
    engine::{Engine, LocalEndpoint, Recovered, Settings},
    model::{Key, Object, SourceEvent},
    read::{Read, read_document},
};
use serde_json::{Value, json};

/// What a pod may take.
const BYTES: usize = 192;

/// The system's allocator, which counts what is taken as glibc does: eight bytes more, in steps of 16, and never below 32.
struct Counting;

static TAKEN: AtomicUsize = AtomicUsize::new(0);

const fn taken(size: usize) -> usize {
    let all = (size + 8).next_multiple_of(16);
    if all < 32 { 32 } else { all }
}

// SAFETY: everything is the system's allocator's; only a number is counted beside.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        TAKEN.fetch_add(taken(layout.size()), Ordering::Relaxed);
        // SAFETY: as the caller says.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        TAKEN.fetch_sub(taken(layout.size()), Ordering::Relaxed);
        // SAFETY: as the caller says.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn apply(engine: &mut Engine, document: &Value) {
    for read in read_document(document) {
        let Read::Object { object, .. } = read else { continue };
        engine.apply(SourceEvent::Apply(object));
    }
}

/// A pod of a hundred replicas on another node.
fn pod(number: u32) -> Value {
    let [_, a, b, c] = (0x0a80_0000 + number).to_be_bytes();
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "namespace": format!("team-{:03}", number % 100),
            "name": format!("web-{number:06}-7d4b9c6f8d-x{}", 100 + number % 97),
            "uid": format!("00000000-0000-4000-8003-{number:012x}"),
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "labels": {"app": format!("app-{}", number / 100 % 5), "pod-template-hash": "7d4b9c6f8d"},
        },
        "spec": {
            "nodeName": format!("node-{}", number % 200),
            "containers": [{"name": "web", "ports": [{"name": "http", "containerPort": 8080}]}],
        },
        "status": {"phase": "Running", "podIPs": [{"ip": format!("10.{a}.{b}.{c}")}]},
    })
}

/// An engine that keeps the addresses of all pods in its tables, since policies of a pod of its node ask for them.
fn engine() -> Engine {
    let mut engine =
        Engine::new(Settings { node: "here".into(), ..Settings::default() }, Recovered::default());
    apply(
        &mut engine,
        &json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {"namespace": "team-000", "name": "p"},
            "spec": {
                "podSelector": {},
                "ingress": [{"from": [{"namespaceSelector": {}, "podSelector": {}}]}],
            },
        }),
    );
    let mut local = pod(0);
    local["spec"]["nodeName"] = "here".into();
    local["metadata"]["name"] = "local".into();
    local["status"]["podIPs"][0]["ip"] = "10.1.0.1".into();
    apply(&mut engine, &local);
    engine.set_endpoint(LocalEndpoint {
        ifname: "veth".into(),
        ifindex: 7,
        pod: Some(Key::new("team-000", "local")),
        uid: "".into(),
        addresses: Vec::new(),
        hardware: None,
        sources: Vec::new(),
        tag_trusted: true,
        tags_allowed: false,
    });
    engine
}

/// What so many pods take, once everything that was noted for them is worked off.
fn kept(pods: u32) -> usize {
    let before = TAKEN.load(Ordering::Relaxed);
    let mut engine = engine();
    for number in 0..pods {
        apply(&mut engine, &pod(number));
    }
    let written = engine.compile(Duration::ZERO).len();
    assert!(written > pods as usize, "an entry for each");
    engine.applied(Duration::ZERO, &[]);
    drop(engine.compile(Duration::from_secs(1)));
    engine.applied(Duration::from_secs(1), &[]);
    assert_eq!(
        engine.store().objects().iter().filter(|object| matches!(object, Object::Pod(_))).count(),
        1 + pods as usize
    );
    TAKEN.load(Ordering::Relaxed) - before
}

#[test]
fn a_pod_elsewhere_takes_little() {
    let (few, many) = (kept(10_000), kept(40_000));
    let each = (many - few) / 30_000;
    println!("{each} bytes for each pod, {few} for 10,000");
    assert!(each <= BYTES, "{each} bytes for each pod");
}
