//! What the specification says of a packet, at each place where it is judged.

use netpol_common::Reason;
use netpol_policy::{
    engine::HookLevel,
    model::Pod,
    spec::{self, Answer, BackendVerdict, Payload},
};

use crate::{
    case::Case,
    cluster::{Cluster, SERVICE_RANGES},
    compiled::{Compiled, Said, Way},
};

/// What a judge may say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Expected {
    /// This.
    Exactly(bool),
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
}

impl Expected {
    pub(crate) fn fits(self, said: &Said) -> bool {
        match self {
            Self::Exactly(passes) => said.passes == passes,
            Self::Unknown(passes) => {
                if said.passes {
                    passes
                } else {
                    !passes || matches!(said.reason(), None | Some(Reason::UnknownFrontend))
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
        }
    }
}

/// One packet at one place, and what is to become of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) way: Way,
    pub(crate) case: Case,
    pub(crate) expected: Expected,
}

/// The places that a packet passes when each lets it through, and what the specification says there.
pub(crate) fn places(cluster: &Cluster, spec: &spec::Cluster, compiled: &Compiled, case: Case) -> Vec<Place> {
    let mut places = Vec::new();
    let here = |pod: Option<&Pod>| pod.and_then(|pod| compiled.slot(&pod.key));
    let (source, destination) = (spec.owner(case.src), spec.owner(case.dst));
    let (from, to) = (here(source), here(destination));
    let direct = spec.allows(&case.traffic());
    let mut add = |way, case, expected| places.push(Place { way, case, expected });

    if let Some(from) = from {
        match spec.answer(&case.traffic()) {
            Answer::Direct(verdict) if destination.is_none() && is_services(spec, &case) => {
                add(Way::From(from), case, Expected::Unknown(verdict.egress));
            }
            Answer::Direct(verdict) => add(Way::From(from), case, Expected::Exactly(verdict.egress)),
            Answer::Backends(backends) => {
                add(Way::From(from), case, service(cluster, spec, compiled, from, &backends));
                for one in &backends {
                    let Some(behind) = here(spec.owner(one.backend.address)) else { continue };
                    // To itself it comes back masqueraded, with an address of the node.
                    let node =
                        if case.src.is_ipv4() { [172, 16, 0, 1].into() } else { "fd16::1".parse().unwrap() };
                    let src = if behind == from { node } else { case.src };
                    let led = Case { src, ..case.led_to(one.backend.address, one.backend.port) };
                    let passes = behind == from || one.verdict.passes();
                    add(Way::Between(behind, from), led, Expected::Exactly(passes));
                }
            }
        }
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
            if let Some(from) = from
                && compiled.hook(to) == HookLevel::Full
            {
                let other = Case { port: case.port ^ 0x4000, ..case };
                add(Way::Between(to, from), other, Expected::Exactly(direct.passes()));
            }
        }
    }
    places
}

/// An address that only Services use.
fn is_services(spec: &spec::Cluster, case: &Case) -> bool {
    let in_range =
        SERVICE_RANGES.iter().any(|range| range.parse::<ipnet::IpNet>().unwrap().contains(&case.dst));
    let cluster_ip = || spec.backends(case.dst, netpol_policy::model::Protocol::Tcp, 1).is_some();
    in_range || matches!(case.payload, Payload::Other(_)) && cluster_ip()
}

fn service(
    cluster: &Cluster,
    spec: &spec::Cluster,
    compiled: &Compiled,
    from: u32,
    backends: &[BackendVerdict],
) -> Expected {
    let (mut some_allowed, mut some_denied, mut recognised, mut itself) = (false, false, true, false);
    for one in backends {
        let slot = spec.owner(one.backend.address).and_then(|pod| compiled.slot(&pod.key));
        if slot == Some(from) {
            itself = true;
        } else if one.verdict.egress {
            some_allowed = true;
        } else {
            some_denied = true;
            recognised &= slot.is_some() && cluster.tag_trusted;
        }
    }
    Expected::Service { some_allowed, some_denied, recognised, itself, trusted: cluster.tag_trusted }
}
