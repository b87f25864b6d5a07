//! Questions about a scene, and the three judges that answer them.

use std::net::{IpAddr, SocketAddr};

use netpol_agent::datapath::Classifier;
use netpol_common::{
    Direction, Reason,
    decide::{Arrival, Decision, Work, decide, source_check},
};
use netpol_policy::{
    engine::HookLevel,
    model::Key,
    spec::{Sender, Traffic, Verdict},
};
use netpol_tests::kernel::{Came, UPLINK, craft::at};

use crate::{
    manifest::NODE,
    scene::{Scene, Side},
    sent::{Sent, Step, What},
    tables::Read,
};

/// The pod that most scenes are about.
pub(crate) const API: &str = "shop/api";
/// Somebody outside of the cluster, by both families.
const WORLD: [&str; 2] = ["192.0.2.9", "2001:db8::9"];

/// Where a packet is judged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// As a pod of this node sends it.
    Out(Key),
    /// As it reaches a pod of this node.
    In(Key, Way),
}

/// How a packet comes to a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// From outside of the node.
    Uplink,
    /// From a socket of the node.
    Node,
    /// By an interface, with a tag.
    By(u32, u32),
}

/// What became of a packet at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) passes: bool,
    /// Why; `None` where nobody judges.
    pub(crate) why: Option<Reason>,
    /// The tag that it carries on.
    pub(crate) tag: u32,
}

/// Who a test names: `shop/web` is a pod, `node` the own node, `world` somebody outside, anything else an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct End {
    /// The pod, when it is one of this node.
    pub(crate) here: Option<Key>,
    pub(crate) is_node: bool,
    addresses: Vec<IpAddr>,
}

impl End {
    pub(crate) fn address(&self, v4: bool) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|one| one.is_ipv4() == v4)
    }
}

impl Scene {
    pub(crate) fn end(&self, name: &str) -> End {
        let parse = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        let (pod, addresses): (Option<Key>, Vec<IpAddr>) = match name {
            "node" => (
                None,
                self.engine().store().node(NODE).map(|node| node.addresses.clone()).unwrap_or_default(),
            ),
            "world" => (None, parse(&WORLD)),
            _ => match (name.parse::<IpAddr>(), name.split_once('/')) {
                (Ok(address), _) => (self.spec.owner(address).map(|pod| pod.key.clone()), vec![address]),
                (_, Some((namespace, own))) => {
                    let key = Key::new(namespace, own);
                    let pod = self.engine().store().pod(&key).unwrap_or_else(|| panic!("{name} is no pod"));
                    (Some(key), pod.addresses.clone())
                }
                _ => panic!("{name} is nobody"),
            },
        };
        End { here: pod.filter(|pod| self.local(pod).is_some()), is_node: name == "node", addresses }
    }

    /// Both judges that know packets look at one; they must say the same, for the same reason.
    #[track_caller]
    pub(crate) fn judged(&mut self, place: &Place, sent: &Sent) -> Said {
        let (pod, direction) = match place {
            Place::Out(pod) => (pod, Direction::Egress),
            Place::In(pod, _) => (pod, Direction::Ingress),
        };
        let (slot, own) = self.local(pod).unwrap_or_else(|| panic!("{pod} is not here"));
        let (ingress_ifindex, tag) = match place {
            Place::Out(_) => (own, 0),
            Place::In(_, Way::Uplink) => (UPLINK, 0),
            Place::In(_, Way::Node) => (0, 0),
            Place::In(_, Way::By(ifindex, tag)) => (*ifindex, *tag),
        };
        let level = self.engine().tables().hook(slot);
        let Some(classifier) = Classifier::of(level, direction) else {
            return Said { passes: true, why: None, tag: 0 };
        };
        // Test runs always have a socket.
        let arrival = Arrival { slot, now: 1000, ingress_ifindex, tag, has_socket: 1 };
        let mut memory = std::mem::take(&mut self.memory);
        let tables = Read { mirror: self.engine().tables(), bridges: &self.bridges };
        let mut decision = Decision::default();
        if level == HookLevel::SourceCheck {
            decision.reason =
                source_check(&tables, slot, &sent.packet.src, sent.packet.link_control != 0) as u8;
        } else {
            decide(
                &tables,
                &mut memory,
                &sent.packet,
                &arrival,
                direction,
                &mut Work::default(),
                &mut decision,
            );
        }
        self.memory = memory;
        let why = Reason::from_number(decision.reason).unwrap();

        let came = Came { by: ingress_ifindex, tag };
        let (passes, events) = self.in_kernel(|kernel| {
            kernel.forget_events();
            (kernel.passes(classifier, slot, came, &sent.frame), kernel.take_events())
        });
        assert_eq!(
            passes,
            decision.passes(),
            "the kernel and the decision ({why:?}) differ at {place:?}: {sent:?}"
        );
        for event in events {
            assert_eq!(Reason::from_number(event.reason), Some(why), "another reason at {place:?}: {sent:?}");
        }
        Said { passes, why: Some(why), tag: decision.tag(slot) }
    }

    /// A packet goes from one end to the other, as far as it is let. Says what the last place said.
    #[track_caller]
    pub(crate) fn walks(&mut self, from: &End, to: &End, sent: &Sent) -> Said {
        let mut said = Said { passes: true, why: None, tag: 0 };
        if let Some(pod) = &from.here {
            said = self.judged(&Place::Out(pod.clone()), sent);
        }
        match &to.here {
            Some(pod) if said.passes => {
                let way = self.way(from, said.tag);
                self.judged(&Place::In(pod.clone(), way), sent)
            }
            _ => said,
        }
    }

    /// How a packet comes from somebody, with this tag.
    pub(crate) fn way(&self, from: &End, tag: u32) -> Way {
        match &from.here {
            Some(pod) => Way::By(self.local(pod).unwrap().1, tag),
            None if from.is_node => Way::Node,
            None => Way::Uplink,
        }
    }

    /// A port, or an identifier, that no flow of this scene has had.
    pub(crate) fn new_port(&mut self) -> u16 {
        self.port += 1;
        self.port
    }

    /// What the specification says.
    pub(crate) fn specified(&self, from: &End, to: &End, what: What, v4: bool) -> Option<Verdict> {
        let (src, dst) = (from.address(v4)?, to.address(v4)?);
        let src = if from.is_node { Sender::Node(src) } else { Sender::Address(src) };
        Some(self.spec.allows(&Traffic { src, dst, payload: what.payload(v4) }))
    }

    /// A new flow passes, say all judges, by every family that both ends have.
    #[track_caller]
    pub(crate) fn passes(&mut self, from: &str, to: &str, what: What) {
        self.asks(from, to, what, true);
    }

    /// A new flow is dropped, say all judges, by every family that both ends have.
    #[track_caller]
    pub(crate) fn drops(&mut self, from: &str, to: &str, what: What) {
        self.asks(from, to, what, false);
    }

    /// The peer and `shop/api` may open a flow in the direction that the scene is about.
    #[track_caller]
    pub(crate) fn allows(&mut self, peer: &str, what: What) {
        self.answers(peer, what, true);
    }

    /// They may not.
    #[track_caller]
    pub(crate) fn denies(&mut self, peer: &str, what: What) {
        self.answers(peer, what, false);
    }

    /// They may, or may not.
    #[track_caller]
    pub(crate) fn answers(&mut self, peer: &str, what: What, passes: bool) {
        match self.side {
            Side::Ingress => self.asks(peer, API, what, passes),
            Side::Egress => self.asks(API, peer, what, passes),
        }
    }

    /// A new flow passes, or is dropped.
    #[track_caller]
    pub(crate) fn asks(&mut self, from: &str, to: &str, what: What, passes: bool) {
        let asked = format!("{from} to {to}, {what:?}");
        let (from, to) = (self.end(from), self.end(to));
        let mut families = 0;
        for v4 in [true, false] {
            let Some(specified) = self.specified(&from, &to, what, v4) else { continue };
            families += 1;
            assert_eq!(
                specified.passes(),
                passes,
                "the specification says of {asked} v4={v4}: {specified:?}"
            );
            let (Some(src), Some(dst)) = (from.address(v4), to.address(v4)) else { continue };
            for pod in [&from.here, &to.here].into_iter().flatten() {
                self.forget(pod, what);
            }
            let port = self.new_port();
            let sent = Sent::of_flow(what, Step::Opens, at(src, port), at(dst, what.port()));
            let said = self.walks(&from, &to, &sent);
            assert_eq!(said.passes, passes, "the tables say of {asked} v4={v4}: {:?}", said.why);
            // Each side by itself too: one that denies must not hide what the other one says.
            if let (Some(sender), Some(receiver)) = (&from.here, &to.here)
                && sender != receiver
                && !specified.egress
            {
                let (slot, ifindex) = self.local(sender).unwrap();
                let place = Place::In(receiver.clone(), Way::By(ifindex, slot));
                let said = self.judged(&place, &sent);
                assert_eq!(said.passes, specified.ingress, "ingress of {asked} v4={v4}: {:?}", said.why);
            }
        }
        assert!(families > 0, "{asked}: no family that both have");
    }

    /// Where there are no ports, nothing tells a new flow from the last one.
    fn forget(&mut self, pod: &Key, what: What) {
        if let (What::Other(_), Some((slot, _))) = (what, self.local(pod)) {
            self.memory.forget_all(slot);
            self.in_kernel(|kernel| kernel.forget_flows(slot));
        }
    }
}

/// A flow that is open.
#[derive(Clone, Debug)]
pub(crate) struct Talk {
    pub(crate) from: End,
    pub(crate) to: End,
    pub(crate) what: What,
    pub(crate) client: SocketAddr,
    pub(crate) server: SocketAddr,
}

impl Talk {
    /// A packet of it.
    pub(crate) fn packet(&self, step: Step, back: bool) -> Sent {
        let (src, dst) = if back { (self.server, self.client) } else { (self.client, self.server) };
        Sent::of_flow(self.what, step, src, dst)
    }
}

impl Scene {
    /// Opens a flow in each family: the first packet passes, and its answer.
    #[track_caller]
    pub(crate) fn opens(&mut self, from: &str, to: &str, what: What) -> Vec<Talk> {
        let (from, to) = (self.end(from), self.end(to));
        let mut talks = Vec::new();
        for v4 in [true, false] {
            let (Some(src), Some(dst)) = (from.address(v4), to.address(v4)) else { continue };
            let (client, server) = (at(src, self.new_port()), at(dst, what.port()));
            let talk = Talk { from: from.clone(), to: to.clone(), what, client, server };
            let said = self.walks(&from, &to, &talk.packet(Step::Opens, false));
            assert!(said.passes, "{talk:?} does not open: {said:?}");
            let said = self.walks(&to, &from, &talk.packet(Step::Answers, true));
            assert!(said.passes, "{talk:?} is not answered: {said:?}");
            talks.push(talk);
        }
        assert!(!talks.is_empty(), "no family that both have");
        talks
    }

    /// Opens a flow between the peer and `shop/api`, in the direction that the scene is about.
    #[track_caller]
    pub(crate) fn opens_with(&mut self, peer: &str, what: What) -> Vec<Talk> {
        match self.side {
            Side::Ingress => self.opens(peer, API, what),
            Side::Egress => self.opens(API, peer, what),
        }
    }

    /// Each flow goes on in both directions, and the specification would let it open now.
    #[track_caller]
    pub(crate) fn live(&mut self, talks: &[Talk]) {
        self.goes_on(talks, true);
    }

    /// Each flow is dropped in both directions, and the specification would not let it open now.
    #[track_caller]
    pub(crate) fn stop(&mut self, talks: &[Talk]) {
        self.goes_on(talks, false);
    }

    /// It goes on, or is dropped.
    #[track_caller]
    pub(crate) fn goes_on(&mut self, talks: &[Talk], passes: bool) {
        for talk in talks {
            let specified = self.specified(&talk.from, &talk.to, talk.what, talk.client.is_ipv4()).unwrap();
            assert_eq!(specified.passes(), passes, "the specification says of {talk:?}: {specified:?}");
            for back in [true, false, true, true, false] {
                let step = if back && talk.what == What::Ping { Step::Answers } else { Step::Continues };
                let (from, to) = if back { (&talk.to, &talk.from) } else { (&talk.from, &talk.to) };
                let said = self.walks(from, to, &talk.packet(step, back));
                assert_eq!(said.passes, passes, "back={back} {talk:?}: {:?}", said.why);
            }
        }
    }
}
