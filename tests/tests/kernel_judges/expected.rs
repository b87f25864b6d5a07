//! What the specification says of a packet, at each place where it is judged.

use netpol_common::{Direction, Reason, flow::FlowKey};
use netpol_policy::spec::{Backend, Sender, Traffic};

use crate::{
    case::Case,
    compiled::{Said, Way},
    sight::{Behind, Sight},
};

/// What a judge may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// This.
    Exactly(bool),
    /// What both ends together say, where the destination judges the sender too.
    Both {
        /// The destination's word.
        ingress: bool,
        /// The sender's.
        egress: bool,
    },
    /// A Service's address without a frontend: closed, unless everything is allowed; never wider than this.
    Unknown(bool),
    /// A Service whose backends all, none or partly may be reached.
    Service {
        /// Some may.
        some_allowed: bool,
        /// Some may not.
        some_denied: bool,
        /// Each that may not is a pod of this node at which the sender can be recognised.
        recognised: bool,
        /// The sender is among them itself.
        itself: bool,
        /// The sender can be recognised at other pods, and at itself.
        trusted: bool,
    },
    /// A Service that was another one a moment ago: what was there counts too, so it may be closed; and it is when
    /// what is there now closes it.
    Lags {
        /// What is there now does not close it.
        may_pass: bool,
    },
}

impl Expected {
    pub(crate) fn fits(self, said: &Said) -> bool {
        match self {
            Self::Exactly(passes) => said.passes == passes,
            Self::Both { ingress, egress } => said.passes == (ingress && egress),
            Self::Unknown(passes) => {
                if said.passes {
                    passes
                } else {
                    let unknown = [None, Some(Reason::UnknownFrontend), Some(Reason::FlowDenied)];
                    !passes || unknown.contains(&said.reason())
                }
            }
            // It leads nowhere; or whether the sender may reach itself only the destination can say, which does not
            // know it.
            Self::Service { some_allowed: false, some_denied: false, itself: false, .. }
            | Self::Service { some_denied: false, itself: true, trusted: false, .. } => true,
            Self::Service { some_denied: false, .. } => said.passes,
            Self::Service { recognised, itself, some_allowed, .. } => {
                // What is partly allowed is left to the destinations where they can judge, and else closed.
                said.passes == (recognised && (some_allowed || itself))
            }
            Self::Lags { may_pass } => may_pass || !said.passes,
        }
    }

    /// Whether it is a Service's.
    pub(crate) const fn is_services(self) -> bool {
        matches!(self, Self::Unknown(_) | Self::Service { .. } | Self::Lags { .. })
    }

    /// What a judge may say while one becomes the other: one of both. Each end changes by itself; and a Service is
    /// closed for a moment rather than open.
    pub(crate) fn or_fits(self, other: Self, said: &Said) -> bool {
        if let (Self::Both { ingress, egress }, Self::Both { ingress: in_2, egress: out_2 }) = (self, other) {
            let can_pass = (ingress || in_2) && (egress || out_2);
            let can_drop = !(ingress && in_2 && egress && out_2);
            return if said.passes { can_pass } else { can_drop };
        }
        let closed = !said.passes && (self.is_services() || other.is_services());
        self.fits(said) || other.fits(said) || closed
    }
}

/// One packet that opens a flow at one place, and what is to become of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) way: Way,
    pub(crate) case: Case,
    pub(crate) expected: Expected,
    /// It gets here only if its sender has let it pass.
    pub(crate) led: bool,
    /// It is judged only where the whole classifier is.
    pub(crate) left_to_it: bool,
}

impl Place {
    /// The flow that it opens there.
    pub(crate) fn key(&self) -> FlowKey {
        self.case.key(self.way.direction() == Direction::Egress)
    }
}

/// The places that a packet passes when each lets it through, and what the specification says there.
pub(crate) fn places(sight: &Sight, case: Case) -> Vec<Place> {
    let mut places = Vec::new();
    let spec = &sight.spec;
    let (from, to) = (sight.slot_at(case.src), sight.slot_at(case.dst));
    let direct = spec.allows(&case.traffic());
    let both = Expected::Both { ingress: direct.ingress, egress: direct.egress };
    let mut add =
        |way, case, expected| places.push(Place { way, case, expected, led: false, left_to_it: false });

    if let Some(from) = from {
        add(Way::From(from), case, egress(sight, from, case));
    }
    if let Some(to) = to {
        if from == Some(to) {
            add(Way::Between(to, to), case, Expected::Exactly(true));
        } else {
            add(Way::To(to), case, Expected::Exactly(direct.ingress));
            if case.port.is_multiple_of(8) {
                add(Way::FromNode(to), Case { port: case.port ^ 0x8000, ..case }, Expected::Exactly(true));
            }
            // As if the sender's own classifier had left its judgement to us.
            if let Some(from) = from {
                let case = Case { port: case.port ^ 0x4000, ..case };
                let way = Way::Between(to, from);
                places.push(Place { way, case, expected: both, led: false, left_to_it: true });
            }
        }
    }
    if let Some(from) = from {
        for one in sight.behind(&case).map(|behind| behind.backends).unwrap_or_default() {
            let Some(behind) = sight.slot_at(one.address) else { continue };
            // To itself it comes back masqueraded, with an address of the node.
            let node = if case.src.is_ipv4() { [172, 16, 0, 1].into() } else { "fd16::1".parse().unwrap() };
            let src = if behind == from { node } else { case.src };
            let led = Case { src, ..case.led_to(one.address, one.port) };
            let verdict = spec.allows(&led.traffic());
            let expected = if behind == from {
                Expected::Exactly(true)
            } else {
                Expected::Both { ingress: verdict.ingress, egress: verdict.egress }
            };
            let way = Way::Between(behind, from);
            places.push(Place { way, case: led, expected, led: true, left_to_it: false });
        }
    }
    places.extend(closed(sight, case));
    places
}

/// What does not belong to any pod that is known is closed, unless the node's break-glass switch is set.
fn closed(sight: &Sight, case: Case) -> impl Iterator<Item = Place> {
    sight.unknown().flat_map(move |(interface, slot)| {
        let from = interface.addresses.contains(&case.src).then_some(Way::From(slot));
        let to = interface.addresses.contains(&case.dst).then_some(Way::To(slot));
        let itself = from.is_some() && to.is_some();
        let ways = [from, to].into_iter().flatten().filter(move |_| !itself);
        let expected = Expected::Exactly(sight.switched_off);
        ways.map(move |way| Place { way, case, expected, led: false, left_to_it: false })
    })
}

/// What the policies of the pod in a slot say of a flow that it opens.
pub(crate) fn egress(sight: &Sight, from: u32, case: Case) -> Expected {
    if let Some(behind) = sight.behind(&case) {
        return service(sight, from, case, &behind);
    }
    let verdict = sight.spec.allows(&case.traffic());
    if sight.spec.owner(case.dst).is_none() && sight.is_services(&case) {
        Expected::Unknown(verdict.egress)
    } else {
        Expected::Exactly(verdict.egress)
    }
}

/// The same of one that is led to one of these backends.
pub(crate) fn service(sight: &Sight, from: u32, case: Case, behind: &Behind) -> Expected {
    let (mut some_allowed, mut some_denied, mut recognised, mut itself) = (false, false, true, false);
    for Backend { address, port } in &behind.backends {
        let slot = sight.slot_at(*address);
        let led = case.led_to(*address, *port);
        let traffic = Traffic { src: Sender::Address(case.src), ..led.traffic() };
        if slot == Some(from) {
            itself = true;
        } else if sight.spec.allows(&traffic).egress {
            some_allowed = true;
        } else {
            some_denied = true;
            recognised &= slot.is_some() && sight.tag_trusted;
        }
    }
    if behind.certain {
        Expected::Service { some_allowed, some_denied, recognised, itself, trusted: sight.tag_trusted }
    } else {
        Expected::Lags { may_pass: !some_denied || recognised }
    }
}
