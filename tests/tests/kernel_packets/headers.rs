//! IPv4 options and IPv6 extension headers: ports are found behind them, or the packet is dropped.

use netpol_common::Reason;
use netpol_tests::kernel::{
    Seen,
    craft::{Extension, Extension::*, at, framed, with_headers, with_options},
};
use netpol_tests::packet::{self, SYN};

use crate::scene::{DENIED, POLICY, Scene, confidant, friend, stranger};

const SOURCE_ROUTED: Seen = Seen::Drops(Reason::SourceRouted);
const MALFORMED: Seen = Seen::Drops(Reason::Malformed);

impl Scene {
    /// The pod opens a connection with these IPv4 options: to an allowed port, to another one, to a stranger.
    fn options(&mut self, options: &[u8]) -> [Seen; 3] {
        let own = at(self.own(true), 4000);
        [at(friend(true), 80), at(friend(true), 81), at(stranger(true), 80)]
            .map(|to| self.from(&framed(&with_options(packet::tcp(own, to, SYN, 1, 0), options))))
    }

    /// The same with IPv6 extension headers.
    fn headers(&mut self, headers: &[Extension]) -> [Seen; 3] {
        let own = at(self.own(false), 4000);
        [at(friend(false), 80), at(friend(false), 81), at(stranger(false), 80)]
            .map(|to| self.from(&framed(&with_headers(packet::tcp(own, to, SYN, 1, 0), headers))))
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn ports_are_found_behind_ipv4_options() {
    let mut scene = Scene::new();
    let record_route = [7, 39, 4].iter().copied().chain([0; 36]).collect::<Vec<u8>>();
    for options in [
        &[][..],
        &[1, 1, 1, 1],                // nothing, four times
        &[1; 40],                     // as often as fits
        &[148, 4, 0, 0],              // router alert
        &[0x44, 8, 5, 0, 0, 0, 0, 0], // timestamp
        &record_route,                // record route, which does not steer
        &[0, 131, 3, 4],              // behind the end of the list nothing counts
    ] {
        assert_eq!(scene.options(options), [POLICY, DENIED, DENIED], "{options:?}");
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn ipv4_source_routing_is_dropped_wherever_it_stands() {
    let mut scene = Scene::new();
    for kind in [131, 137] {
        let route = [kind, 7, 4, 10, 0, 0, 1];
        for before in 0..=33 {
            let mut options = vec![1; before];
            options.extend(route);
            assert_eq!(scene.options(&options), [SOURCE_ROUTED; 3], "{kind} behind {before} others");
        }
        let mut options = vec![148, 4, 0, 0];
        options.extend(route);
        assert_eq!(scene.options(&options), [SOURCE_ROUTED; 3]);
    }
    assert_eq!(scene.options(&[7, 7, 4, 10, 0, 0, 1])[0], POLICY);
}

#[test]
#[ignore = "needs root and BPF"]
fn ipv4_source_routing_is_dropped_on_its_way_in_too() {
    let mut scene = Scene::new();
    let packet = packet::tcp(at(confidant(true), 4000), at(scene.own(true), 80), SYN, 1, 0);
    assert_eq!(scene.to(&framed(&with_options(packet.clone(), &[1; 4]))), POLICY);
    assert_eq!(scene.to(&framed(&with_options(packet, &[131, 3, 4]))), SOURCE_ROUTED);
}

#[test]
#[ignore = "needs root and BPF"]
fn an_ipv4_option_without_a_length_is_malformed() {
    let mut scene = Scene::new();
    for options in [[148, 0, 0, 0], [148, 1, 0, 0], [148, 41, 0, 0]] {
        assert_eq!(scene.options(&options), [MALFORMED; 3], "{options:?}");
    }
    assert_eq!(scene.options(&[148, 4, 0, 0])[0], POLICY);
}

#[test]
#[ignore = "needs root and BPF"]
fn ports_are_found_behind_ipv6_extension_headers() {
    let mut scene = Scene::new();
    for headers in [
        &[][..],
        &[HopByHop(0)],
        &[HopByHop(3)],
        &[Destination(0)],
        &[Routing(0)],
        &[Authentication(0)],
        &[Authentication(3)],
        &[HopByHop(0), Destination(1), Routing(0), Authentication(3), Destination(0)],
        &[HopByHop(0), Destination(0), Routing(0), Fragment(0, false, 7), Authentication(3), Destination(0)],
        // An atomic fragment is a whole packet.
        &[Fragment(0, false, 7)],
    ] {
        assert_eq!(scene.headers(headers), [POLICY, DENIED, DENIED], "{headers:?}");
    }
}

#[test]
#[ignore = "needs root and BPF"]
fn an_ipv6_routing_header_with_segments_left_is_dropped() {
    let mut scene = Scene::new();
    for headers in [
        &[Routing(1)][..],
        &[Routing(255)],
        &[HopByHop(0), Destination(0), Routing(1)],
        &[Authentication(0), Routing(1)],
    ] {
        assert_eq!(scene.headers(headers), [SOURCE_ROUTED; 3], "{headers:?}");
    }
    assert_eq!(scene.headers(&[Routing(0)])[0], POLICY);
    let arriving = packet::tcp(at(confidant(false), 4000), at(scene.own(false), 80), SYN, 1, 0);
    assert_eq!(scene.to(&framed(&with_headers(arriving.clone(), &[Routing(0)]))), POLICY);
    assert_eq!(scene.to(&framed(&with_headers(arriving, &[Routing(2)]))), SOURCE_ROUTED);
}

#[test]
#[ignore = "needs root and BPF"]
fn six_extension_headers_are_walked_and_seven_are_too_many() {
    let mut scene = Scene::new();
    assert_eq!(scene.headers(&[Destination(0); 6]), [POLICY, DENIED, DENIED]);
    assert_eq!(scene.headers(&[Destination(0); 7]), [Seen::Drops(Reason::TooManyHeaders); 3]);
    assert_eq!(scene.headers(&[Destination(0); 20]), [Seen::Drops(Reason::TooManyHeaders); 3]);
}

#[test]
#[ignore = "needs root and BPF"]
fn an_extension_header_that_leads_out_of_the_packet_is_dropped() {
    let mut scene = Scene::new();
    let own = at(scene.own(false), 4000);
    let good = with_headers(packet::tcp(own, at(confidant(false), 80), SYN, 1, 0), &[Destination(0)]);
    assert_eq!(scene.from(&framed(&good)), POLICY);
    for length in [3, 4, 20, 255] {
        let mut long = good.clone();
        long[41] = length;
        assert_eq!(scene.from(&framed(&long)), MALFORMED, "{length}");
    }
    // One that ends within the packet, where too little is left for TCP.
    let mut long = good;
    long[41] = 1;
    assert_eq!(scene.from(&framed(&long)), MALFORMED);
}
