//! An engine with tables that only its operations change, a clock, and questions.

use std::{sync::Arc, time::Duration};

use netpol_common::{
    Addr, Direction, Reason,
    decide::{Judged, Tables, judge},
    flow::FlowKey,
    tables::{BACKENDS_NONE, set_of},
};

use super::build::{NODE, ip, net};
use crate::{
    engine::{Engine, LocalEndpoint, Mirror, Recovered, Settings, TableOp},
    model::{Key, Kind, Object, Pod, SourceEvent},
};

pub(crate) const TCP: u8 = 6;

pub(crate) fn settings() -> Settings {
    Settings { node: NODE.into(), service_cidrs: vec![net("10.96.0.0/16")], ..Settings::default() }
}

pub(crate) fn local(key: &Key) -> LocalEndpoint {
    let ifname: Arc<str> = format!("veth-{}-{}", key.namespace, key.name).into();
    LocalEndpoint {
        ifindex: 100
            + ifname.bytes().fold(0u32, |h, b| h.wrapping_mul(31).wrapping_add(u32::from(b))) % 100_000,
        ifname,
        pod: Some(key.clone()),
        uid: "".into(),
        addresses: Vec::new(),
        hardware: None,
        sources: Vec::new(),
        tag_trusted: true,
        tags_allowed: false,
    }
}

pub(crate) struct Lab {
    pub(crate) engine: Engine,
    /// What the kernel would hold: nothing but the operations made it.
    pub(crate) kernel: Mirror,
    pub(crate) now: Duration,
}

impl Lab {
    pub(crate) fn new() -> Self {
        Self::with(settings(), &[])
    }

    pub(crate) fn with(settings: Settings, recovered: &[TableOp]) -> Self {
        let mut kernel = Mirror::default();
        for op in recovered {
            kernel.apply(op);
        }
        Self {
            engine: Engine::new(settings, Recovered(recovered.to_vec())),
            kernel,
            now: Duration::from_secs(1000),
        }
    }

    pub(crate) fn put(&mut self, object: Object) -> &mut Self {
        self.engine.apply(SourceEvent::Apply(object));
        self
    }

    /// A pod of this node with an interface.
    pub(crate) fn local(&mut self, pod: Pod) -> u32 {
        let slot = self.engine.set_endpoint(local(&pod.key)).unwrap();
        self.put(Object::Pod(pod));
        slot
    }

    /// A pod of somewhere else.
    pub(crate) fn remote(&mut self, mut pod: Pod) -> &mut Self {
        pod.node = "there".into();
        self.put(Object::Pod(pod))
    }

    pub(crate) fn delete(&mut self, kind: Kind, key: &str) -> &mut Self {
        let key = match key.split_once('/') {
            Some((namespace, name)) => Key::new(namespace, name),
            None => Key::new("", key),
        };
        self.engine.apply(SourceEvent::Delete(kind, key));
        self
    }

    /// Compiles and applies; every operation must change something.
    pub(crate) fn compile(&mut self) -> Vec<TableOp> {
        let ops = self.engine.compile(self.now);
        for op in &ops {
            assert!(self.kernel.apply(op), "changes nothing: {op:?}");
        }
        self.engine.applied(self.now, &[]);
        ops
    }

    /// Lets the time pass until nothing is left to do, but not beyond a while.
    pub(crate) fn settle(&mut self) -> Vec<TableOp> {
        let mut ops = self.compile();
        let end = self.now + Duration::from_secs(600);
        while let Some(at) = self.engine.next_deadline().filter(|at| *at < end) {
            self.now = self.now.max(at);
            ops.extend(self.compile());
        }
        ops
    }

    pub(crate) fn judged(&self, slot: u32, direction: Direction, peer: &str, proto: u8, port: u16) -> Judged {
        judged_by(&self.kernel, slot, direction, ip(peer).into(), proto, port)
    }

    pub(crate) fn reason(&self, slot: u32, direction: Direction, peer: &str, port: u16) -> Reason {
        Reason::from_number(self.judged(slot, direction, peer, TCP, port).reason).unwrap()
    }

    /// Whether the pod may be reached by TCP.
    pub(crate) fn lets_in(&self, slot: u32, peer: &str, port: u16) -> bool {
        !self.reason(slot, Direction::Ingress, peer, port).is_drop()
    }

    /// Whether the pod may open a TCP connection.
    pub(crate) fn lets_out(&self, slot: u32, peer: &str, port: u16) -> bool {
        !self.reason(slot, Direction::Egress, peer, port).is_drop()
    }
}

pub(crate) fn judged_by(
    tables: &Mirror,
    slot: u32,
    direction: Direction,
    peer: Addr,
    proto: u8,
    port: u16,
) -> Judged {
    let endpoint = tables.endpoint(slot);
    let v6 = endpoint.map_or(Addr::NONE, |e| e.v6);
    let v4 = endpoint.map_or(Addr::NONE, |e| Addr::from_v4_word(e.v4));
    let (pod_port, peer_port) = match direction {
        Direction::Ingress => (port, 40_000),
        Direction::Egress => (40_000, port),
    };
    let pod = if peer.is_v4() { v4 } else { v6 };
    let key = FlowKey { pod, peer, pod_port, peer_port, proto, reserved: [0; 3] };
    let mut out = Judged::default();
    let set = set_of(tables.judgement(slot, direction));
    judge(tables, slot, direction, set, &key, BACKENDS_NONE, &mut out);
    out
}
