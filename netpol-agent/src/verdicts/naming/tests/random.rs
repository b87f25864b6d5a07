//! On random clusters: what is named is what the evaluator says of each policy and rule alone, and after a random change
//! what was judged before is named as before, or said to be not known any more.

use std::{collections::BTreeMap, io::Write as _};

use netpol_common::packet::UDP;
use netpol_policy::{
    model::{Pod, Policy, Protocol},
    spec::{Cluster, Payload, Sender, Traffic, matching},
};

use super::*;

/// The same numbers from the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, below: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % below as u64).unwrap()
    }

    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.roll(from.len())].clone()
    }

    fn some<T>(&mut self, most: usize, mut one: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.roll(most + 1)).map(|_| one(self)).collect()
    }
}

const PODS: usize = 7;
const LOCAL: usize = 3;
const OTHERS: [&str; 3] = ["203.0.113.5", "203.0.113.200", "198.51.100.1"];

fn some_pod(dice: &mut Dice, i: usize) -> Value {
    let (app, tier) = (dice.pick(&["x", "y", "z"]), dice.pick(&["front", "back"]));
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": format!("p{i}"), "namespace": "n", "labels": {"app": app, "tier": tier}},
        "spec": {"nodeName": if i < LOCAL { "n1" } else { "n2" }, "containers": [{"name": "c", "ports": [
            {"name": "web", "containerPort": dice.pick(&[80, 81])}]}]},
        "status": {"phase": "Running", "podIPs": [{"ip": format!("10.0.0.{i}")}]}
    })
}

fn selector(dice: &mut Dice) -> Value {
    dice.pick(&[
        json!({}),
        json!({"matchLabels": {"app": "x"}}),
        json!({"matchLabels": {"app": "y", "tier": "front"}}),
        json!({"matchExpressions": [{"key": "app", "operator": "NotIn", "values": ["x"]}]}),
    ])
}

fn some_policy(dice: &mut Dice, i: usize) -> Value {
    let rules = |dice: &mut Dice, side: &str| {
        let rule = |dice: &mut Dice| {
            let peer = |dice: &mut Dice| match dice.roll(4) {
                0 => {
                    json!({"ipBlock": {"cidr": dice.pick(&["203.0.113.0/24", "0.0.0.0/0"]), "except": ["203.0.113.128/25"]}})
                }
                1 => json!({"namespaceSelector": selector(dice)}),
                _ => json!({"podSelector": selector(dice)}),
            };
            let port = |dice: &mut Dice| {
                dice.pick(&[
                    json!({"port": 80}),
                    json!({"port": "web"}),
                    json!({"port": 53, "protocol": "UDP"}),
                    json!({"port": 80, "endPort": 90}),
                ])
            };
            let mut rule = json!({});
            let (peers, ports) = (dice.some(2, peer), dice.some(2, port));
            if !peers.is_empty() {
                rule[side] = json!(peers);
            }
            if !ports.is_empty() {
                rule["ports"] = json!(ports);
            }
            rule
        };
        dice.some(3, rule)
    };
    let mut spec = json!({"podSelector": selector(dice), "policyTypes": ["Ingress", "Egress"]});
    spec["ingress"] = json!(rules(dice, "from"));
    spec["egress"] = json!(rules(dice, "to"));
    if dice.roll(3) == 0 {
        let only = dice.pick(&["Ingress", "Egress"]);
        spec["policyTypes"] = json!([only]);
        spec.as_object_mut().unwrap().remove(if only == "Ingress" { "egress" } else { "ingress" });
    }
    policy(&format!("q{i}"), &spec)
}

/// What is there, and the engine that was told.
struct World {
    objects: BTreeMap<String, Object>,
    engine: Engine,
    slots: Vec<u32>,
    now: Duration,
}

impl World {
    fn new(dice: &mut Dice) -> Self {
        let engine = Engine::new(Settings { node: "n1".into(), ..Settings::default() }, Recovered::default());
        let mut world =
            Self { objects: BTreeMap::new(), engine, slots: Vec::new(), now: Duration::from_secs(1) };
        for i in 0..PODS {
            world.put(&some_pod(dice, i));
        }
        for i in 0..=dice.roll(4) {
            world.put(&some_policy(dice, i));
        }
        for i in 0..LOCAL {
            let endpoint = endpoint(&format!("veth{i}"), &format!("p{i}"));
            world.slots.push(world.engine.set_endpoint(endpoint).unwrap());
        }
        world.compile();
        world
    }

    fn put(&mut self, document: &Value) {
        let one = object(document);
        self.objects.insert(format!("{}{}", document["kind"], document["metadata"]["name"]), one.clone());
        self.engine.apply(SourceEvent::Apply(one));
    }

    fn compile(&mut self) {
        self.engine.compile(self.now);
        self.engine.applied(self.now, &[]);
        self.now += Duration::from_secs(1);
    }

    /// One relabelled pod, or another policy of a name.
    fn change(&mut self, dice: &mut Dice) {
        let document = if dice.roll(2) == 0 {
            let i = dice.roll(PODS);
            some_pod(dice, i)
        } else {
            let i = dice.roll(4);
            some_policy(dice, i)
        };
        self.put(&document);
        self.compile();
        // What was replaced is collected.
        self.now += Duration::from_secs(60);
        self.compile();
    }

    /// Every local pod with everybody.
    fn events(&self) -> Vec<(Event, usize)> {
        let mut events = Vec::new();
        let peers = (0..PODS).map(|i| format!("10.0.0.{i}")).chain(OTHERS.map(str::to_owned));
        let peers: Vec<Addr> = peers.map(|text| text.parse::<IpAddr>().unwrap().into()).collect();
        for (i, slot) in self.slots.iter().enumerate() {
            for (_, peer) in peers.iter().enumerate().filter(|(other, _)| *other != i) {
                for direction in Direction::ALL {
                    for what in [(TCP, 80), (TCP, 81), (TCP, 90), (UDP, 53), (ICMP, 0)] {
                        let ends = match direction {
                            Direction::Ingress => (*peer, peers[i]),
                            Direction::Egress => (peers[i], *peer),
                        };
                        events.push((judged(&self.engine, *slot, direction, ends, what), i));
                    }
                }
            }
        }
        events
    }

    /// What the evaluator says of the flow, were this the only policy, cut to one rule or with all of them.
    fn alone(&self, policy: &Policy, rule: Option<usize>, event: &Event, direction: Direction) -> bool {
        let mut policy = policy.clone();
        if let (Some(rule), Some(rules)) = (rule, policy.rules[direction.index()].as_mut()) {
            *rules = vec![rules[rule].clone()];
        }
        let mut objects: Vec<Object> =
            self.objects.values().filter(|o| !matches!(o, Object::Policy(_))).cloned().collect();
        objects.push(Object::Policy(policy));
        let payload = match event.proto {
            TCP => Payload::Port(Protocol::Tcp, event.dst_port),
            UDP => Payload::Port(Protocol::Udp, event.dst_port),
            other => Payload::Other(other),
        };
        let traffic = Traffic { src: Sender::Address(event.src.into()), dst: event.dst.into(), payload };
        let verdict = Cluster::new(&objects, "n1").allows(&traffic);
        if direction == Direction::Egress { verdict.egress } else { verdict.ingress }
    }

    fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.objects.values().filter_map(|o| if let Object::Policy(policy) = o { Some(policy) } else { None })
    }

    /// The evaluator's word on who allows, and who isolates.
    fn expected(
        &self,
        event: &Event,
        own: usize,
        direction: Direction,
    ) -> (Vec<(String, usize)>, Vec<String>) {
        let Some(Object::Pod(pod)) = self.objects.get(&format!("\"Pod\"\"p{own}\"")) else { panic!("{own}") };
        let (mut allowed, mut isolating) = (Vec::new(), Vec::new());
        for policy in self.policies() {
            let Some(rules) = policy.rules(direction) else { continue };
            if !matching::selects(&policy.pod_selector, &pod.labels) {
                continue;
            }
            isolating.push(policy.key.to_string());
            let by = (0..rules.len()).filter(|rule| self.alone(policy, Some(*rule), event, direction));
            allowed.extend(by.map(|rule| (policy.key.to_string(), rule + 1)));
        }
        // Where a rule allows everything with anybody, nobody asks what the peer is.
        let everything = self.for_everybody(pod, direction);
        (if everything.is_empty() { allowed } else { everything }, isolating)
    }

    fn for_everybody(&self, pod: &Pod, direction: Direction) -> Vec<(String, usize)> {
        let selecting = self.policies().filter(|policy| matching::selects(&policy.pod_selector, &pod.labels));
        let mut all = Vec::new();
        for policy in selecting {
            for (index, rule) in policy.rules(direction).into_iter().flatten().enumerate() {
                if !rule.void && rule.peers.is_none() && rule.ports.is_none() {
                    all.push((policy.key.to_string(), index + 1));
                }
            }
        }
        all
    }
}

fn who(verdict: &Verdict) -> Vec<(String, usize)> {
    verdict.allowed_by.iter().map(|part| (part.policy.clone(), part.number)).collect()
}

#[test]
fn what_is_named_is_what_the_evaluator_says_also_after_a_change() {
    let clusters = if std::env::var_os("NETPOL_LONG").is_some() { 300 } else { 12 };
    let (mut named, mut later, mut unknown) = (0u32, 0u32, 0u32);
    for seed in 1..=clusters {
        let dice = &mut Dice(0x9e37_79b9_7f4a_7c15u64.wrapping_mul(seed));
        let mut world = World::new(dice);
        for _ in 0..3 {
            let (mut before, clock) = (Vec::new(), Clock::now());
            let mut memory = Memory::of("n1");
            for (event, own) in world.events() {
                let direction = Direction::ALL[usize::from(event.direction)];
                let kept = look_up(&world.engine, &mut memory, clock, &event);
                let unread = look_up(&world.engine, &mut Memory::of("n1"), clock, &event);
                let verdict = kept.verdict();
                let (allowed, isolating) = world.expected(&event, own, direction);
                let context = format!("seed {seed}: {verdict:?}");
                assert!(!verdict.changed_since, "nothing has: {context}");
                if isolating.is_empty() {
                    assert_eq!(verdict.reason, "not-isolated", "{context}");
                } else if allowed.is_empty() {
                    assert_eq!(
                        (verdict.reason.as_str(), &verdict.isolated_by),
                        ("policy-denied", &isolating),
                        "{context}"
                    );
                    let nearest: Vec<&String> = verdict.nearest.iter().map(|n| &n.policy).collect();
                    assert_eq!(nearest, isolating.iter().collect::<Vec<_>>(), "{context}");
                    assert!(verdict.allowed_by.is_empty(), "{context}");
                } else {
                    assert_eq!((verdict.reason.as_str(), who(&verdict)), ("policy", allowed), "{context}");
                    assert!(verdict.isolated_by.is_empty() && verdict.nearest.is_empty(), "{context}");
                }
                named += 1;
                assert!(kept.says_the_same(&unread), "{context}");
                before.push((event, verdict, unread));
            }
            world.change(dice);
            let mut memory = Memory::of("n1");
            for (event, then, unread) in before {
                let kept = look_up(&world.engine, &mut memory, clock, &event);
                let now = kept.verdict();
                let context = format!("seed {seed}: {then:?}\nlater {now:?}");
                assert_eq!(unread.verdict(), then, "whenever it is read: {context}");
                assert!(now == then || !kept.says_the_same(&unread), "{context}");
                if now.changed_since {
                    assert!(now.allowed_by.is_empty() && now.nearest.is_empty(), "{context}");
                    unknown += 1;
                } else {
                    let misses = |v: &Verdict| -> Vec<_> {
                        v.nearest.iter().map(|n| (n.policy.clone(), n.number, n.miss.clone())).collect()
                    };
                    assert_eq!((who(&now), misses(&now)), (who(&then), misses(&then)), "{context}");
                }
                assert!(now.isolated_by == then.isolated_by, "{context}");
                later += 1;
            }
        }
    }
    assert!(named > 1000 && unknown > 0 && unknown < later, "{named} {later} {unknown}");
    writeln!(std::io::stdout().lock(), "\ncounted: {named} verdicts named, {later} verdicts named later")
        .unwrap();
}
