//! Floods: of flows, of denials.

use netpol_common::{Reason, flow::STATE_ESTABLISHED};
use netpol_tests::kernel::{
    Seen,
    craft::{at, tcp, udp},
};
use netpol_tests::packet::{ACK, SYN};

use crate::scene::{BOTH, FLOW_DENIED, POLICY, Scene, UNREPORTED, confidant, friend, stranger};

/// More than the harness's table of flows holds.
const FLOOD: u16 = 3000;

#[test]
#[ignore = "needs root and BPF"]
fn a_flood_of_half_open_flows_or_of_datagrams_pushes_out_no_established_connection() {
    for answered in [false, true] {
        flood(answered);
    }
}

fn flood(answered: bool) {
    let mut scene = Scene::new();
    scene.close(netpol_common::Direction::Ingress);
    for v4 in BOTH {
        let own = at(scene.own(v4), 4000);
        assert_eq!(scene.from(&tcp(own, at(friend(v4), 80), SYN)), POLICY);
        assert_eq!(scene.to(&tcp(at(friend(v4), 80), own, SYN | ACK)), UNREPORTED);
    }
    for port in 0..FLOOD {
        let (own, peer) = (at(scene.own(true), port), at(confidant(true), 9));
        if answered {
            scene.tables.run_quietly(&scene.pod, &udp(own, peer));
            scene.tables.run_quietly_to(&scene.pod, &udp(peer, own));
        } else {
            scene.tables.run_quietly(&scene.pod, &tcp(own, peer, SYN));
        }
    }
    let kept = scene.tables.flows(&scene.pod).len();
    assert!((500..usize::from(FLOOD)).contains(&kept), "the flood had a limit: {kept} were kept");
    for v4 in BOTH {
        assert_eq!(scene.to(&tcp(at(friend(v4), 80), at(scene.own(v4), 4000), ACK)), UNREPORTED);
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn a_flood_of_one_pods_flows_pushes_out_no_other_pods() {
    let mut scene = Scene::new();
    let other = scene.tables.pod();
    let (own, peer) = (at(scene.own(true), 4000), at(friend(true), 80));
    assert_eq!(scene.from(&tcp(own, peer, SYN)), POLICY);
    for port in 0..FLOOD {
        // Established ones too: each is answered.
        let (from, to) = (at(other.v4, port), at(stranger(true), 53));
        scene.tables.run_quietly(&other, &udp(from, to));
        scene.tables.run_quietly_to(&other, &udp(to, from));
    }
    let established =
        scene.tables.flows(&other).iter().filter(|(_, flow)| flow.state == STATE_ESTABLISHED).count();
    assert!(established > 100, "{established} of the flood were kept");
    // Still half open, and still there: as a reply it would be denied otherwise.
    scene.close(netpol_common::Direction::Ingress);
    assert_eq!(scene.to(&tcp(peer, own, SYN | ACK)), UNREPORTED);
    scene.close(netpol_common::Direction::Egress);
    assert_eq!(scene.to(&tcp(peer, own, ACK)), FLOW_DENIED);
}

#[test]
#[ignore = "needs root and BPF"]
fn many_denials_of_one_endpoint_are_counted_and_a_few_reported() {
    let mut scene = Scene::new();
    let other = scene.tables.pod();
    scene.tables.judge_both_by(&other, netpol_common::tables::SET_CLOSED);
    let frame = udp(at(scene.own(true), 4000), at(stranger(true), 53));
    let before = scene.tables.counters();
    let reported = scene.tables.run_many(&scene.pod, &frame, 2000);
    let after = scene.tables.counters();
    let denied = |counters: &netpol_agent::datapath::Counters| {
        let all = counters.verdicts.iter().filter(|(_, reason, _)| *reason == Reason::PolicyDenied);
        all.map(|(.., count)| count).sum::<u64>()
    };
    assert_eq!(denied(&after) - denied(&before), 2000);
    assert!((256..2000).contains(&reported), "{reported} were reported");
    assert_eq!(after.limited - before.limited + after.lost - before.lost, 2000 - reported as u64);
    // Another endpoint's are heard meanwhile.
    let frame = udp(at(other.v4, 4000), at(stranger(true), 53));
    assert_eq!(scene.tables.from(&other, &frame), Seen::Drops(Reason::PolicyDenied));
}
