//! Probers that talk to each other on loopback.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::io::{Read as _, Write as _};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use netpol_prober::{Answer, Probe, Program, Protocol, Request, Sent};

use crate::arguments::{self, Mode};
use crate::control::Control;
use crate::probe;
use crate::send::Senders;
use crate::serve::Servers;

const LOOPBACK: [IpAddr; 2] = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];

fn server(name: &str) -> (Servers, u16, u16) {
    let servers = Servers::new(name.to_owned());
    let (tcp, udp) = (servers.tcp(0).unwrap(), servers.udp(0).unwrap());
    (servers, tcp, udp)
}

fn control(servers: Servers, places: &[(Protocol, SocketAddr)]) -> Control {
    let senders = Senders::start(places, Duration::from_millis(1), None, Instant::now());
    Control::new(Arc::new(servers), senders)
}

fn ask(control: &Control, request: &Request) -> Answer {
    serde_json::from_str(&control.answer_text(&serde_json::to_string(request).unwrap())).unwrap()
}

#[test]
fn who_answered_is_said_by_both_protocols_and_families_and_any_size() {
    let (_servers, tcp, udp) = server("production/api");
    for address in LOOPBACK {
        for (protocol, port) in [(Protocol::Tcp, tcp), (Protocol::Udp, udp)] {
            for size in [0, 9000] {
                let to = SocketAddr::new(address, port);
                let asked = Probe { times: 3, size, ..Probe::new(protocol, to, 5000) };
                let outcomes = probe::all(&[asked]).remove(0);
                assert_eq!(outcomes.who(), Some("production/api"), "{protocol} {to} {size}: {outcomes}");
                assert_eq!(outcomes.reached["production/api"], 3);
                assert_eq!(outcomes.seen_as, Some(address));
            }
        }
    }
}

#[test]
fn what_is_silent_times_out_and_what_is_closed_refuses() {
    // Connections beyond its queue, and datagrams, get no answer.
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let probes = [
        Probe::new(Protocol::Udp, silent.local_addr().unwrap(), 400),
        Probe::new(Protocol::Tcp, closed, 5000),
    ];
    let start = Instant::now();
    let outcomes = probe::all(&probes);
    assert!(start.elapsed() >= Duration::from_millis(400), "the silent one was waited for");
    assert!(outcomes[0].all_timed_out(), "{}", outcomes[0]);
    assert_eq!((outcomes[1].refused, outcomes[1].all_timed_out()), (1, false), "{}", outcomes[1]);
    assert!(!outcomes[0].all_reached() && !outcomes[1].all_reached());
}

#[test]
fn what_was_heard_is_counted_by_source_and_forgotten_on_demand() {
    let (servers, tcp, udp) = server("a");
    let control = control(servers, &[]);
    let [v4, v6] = LOOPBACK;
    let to = |address, protocol, port| Probe::new(protocol, SocketAddr::new(address, port), 5000);
    let probes = vec![to(v4, Protocol::Tcp, tcp), to(v4, Protocol::Tcp, tcp), to(v6, Protocol::Udp, udp)];
    let Answer::Probed(outcomes) = ask(&control, &Request::Probe(probes)) else { panic!("not probed") };
    assert!(outcomes.iter().all(|one| one.who() == Some("a")), "{outcomes:?}");
    let heard = |forget| match ask(&control, &Request::Heard { forget }) {
        Answer::Heard(heard) => heard,
        other => panic!("{other:?}"),
    };
    let counts: Vec<_> = heard(true).iter().map(|one| (one.protocol, one.source, one.count)).collect();
    assert_eq!(counts, [(Protocol::Tcp, v4, 2), (Protocol::Udp, v6, 1)]);
    assert_eq!(heard(false), []);
}

#[test]
fn what_is_no_prober_is_asked_in_its_own_words() {
    let (servers, tcp, udp) = server("a");
    for (protocol, port) in [(Protocol::Tcp, tcp), (Protocol::Udp, udp)] {
        let to = SocketAddr::new(LOOPBACK[0], port);
        let asked = Probe { raw: Some(b"hello\n".to_vec()), ..Probe::new(protocol, to, 5000) };
        // "a 127.0.0.1 hello"
        let expected = "61203132372e302e302e312068656c6c6f0a";
        assert_eq!(probe::all(&[asked]).remove(0).who(), Some(expected));
    }
    drop(servers);
}

#[test]
fn programs_are_run_and_killed_when_they_take_too_long() {
    let (servers, ..) = server("a");
    let control = control(servers, &[]);
    let program =
        |text: &str, patience| Program { words: text.split(' ').map(str::to_owned).collect(), patience };
    let programs =
        vec![program("echo a b", 10_000), program("sleep 100", 100), program("/nowhere/x", 10_000)];
    let Answer::Ran(ended) = ask(&control, &Request::Run(programs)) else { panic!("not run") };
    assert_eq!((ended[0].code, &*ended[0].output, &*ended[0].errors), (Some(0), "a b\n", ""));
    assert_eq!(ended[1].code, None);
    assert!((100..50_000).contains(&ended[1].took), "{ended:?}");
    assert!(ended[2].code.is_none() && ended[2].errors.starts_with("cannot start /nowhere/x"), "{ended:?}");
}

#[test]
fn a_browser_gets_a_page() {
    let (_servers, tcp, _) = server("a");
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, tcp)).unwrap();
    stream.write_all(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).unwrap();
    assert!(page.starts_with("HTTP/1.1 200 OK\r\n") && page.ends_with("\r\n\r\na\n"), "{page}");
}

#[test]
fn numbered_packets_are_sent_from_the_start_and_the_answered_are_counted() {
    let (servers, tcp, udp) = server("a");
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let [v4, v6] = LOOPBACK;
    let places = [
        (Protocol::Udp, SocketAddr::new(v4, udp)),
        (Protocol::Tcp, SocketAddr::new(v6, tcp)),
        (Protocol::Udp, silent.local_addr().unwrap()),
    ];
    let control = control(servers, &places);
    let end = Instant::now() + Duration::from_secs(10);
    let sent = loop {
        let Answer::Sent(sent) = ask(&control, &Request::Sent) else { panic!("not sent") };
        if sent.iter().all(|place| place.sent >= 20) && sent[..2].iter().all(|place| place.answered >= 5) {
            break sent;
        }
        assert!(Instant::now() < end, "{sent:?}");
        thread::sleep(Duration::from_millis(5));
    };
    let first: Vec<_> = sent.iter().map(|place| place.first_answered).collect();
    assert_eq!(first, [Some(0), Some(0), None], "{sent:?}");
    assert!(sent.iter().all(|Sent { began, .. }| began.is_some_and(|at| at < 1_000_000)), "{sent:?}");
    assert_eq!(sent[2].answered, 0);
}

#[test]
fn held_connections_say_which_of_them_broke() {
    let (servers, tcp, _) = server("a");
    let control = control(servers, &[]);
    // Answers one line and closes.
    let closing = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let broken = closing.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = closing.accept().unwrap();
        let length = stream.read(&mut [0; 64]).unwrap();
        assert!(length > 0);
    });
    let to = vec![SocketAddr::new(LOOPBACK[0], tcp), SocketAddr::new(LOOPBACK[1], tcp), broken];
    let Answer::Holding(held) = ask(&control, &Request::Hold { to, every: 1 }) else { panic!("not held") };
    assert_eq!(held.len(), 3);
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        let Answer::Holding(held) = ask(&control, &Request::Holding) else { panic!("not held") };
        let fine = |one: &netpol_prober::Held| one.broken.is_none() && one.exchanged >= 10;
        if fine(&held[0]) && fine(&held[1]) && held[2].broken.is_some() {
            assert_eq!(held[0].who.as_deref(), Some("a"));
            break;
        }
        assert!(Instant::now() < end, "{held:?}");
        thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(ask(&control, &Request::Release), Answer::Holding(Vec::new()));
    assert_eq!(ask(&control, &Request::Holding), Answer::Holding(Vec::new()));
}

#[test]
fn the_command_line_is_understood_or_refused() {
    let read = |line: &str| arguments::parse(line.split_whitespace().map(str::to_owned));
    let Ok(Mode::Run(serve)) = read("serve --name x/a --tcp 80,81 --udp 80 --control 0") else {
        panic!("not understood")
    };
    assert_eq!((&*serve.name, &*serve.tcp, &*serve.udp), ("x/a", &[80, 81][..], &[80][..]));
    assert!(serve.control == 0 && serve.stays && serve.places.is_empty());
    let Ok(Mode::Run(send)) = read("send --every 2 --for 100 udp/10.0.0.1:53 tcp/[fd00::1]:80") else {
        panic!("not understood")
    };
    assert_eq!(send.limit, Some(Duration::from_millis(100)));
    let places = [(Protocol::Udp, "10.0.0.1:53"), (Protocol::Tcp, "[fd00::1]:80")];
    assert_eq!(send.places, places.map(|(protocol, to)| (protocol, to.parse().unwrap())));
    assert!(!send.stays);
    assert_eq!(read("ask").unwrap(), Mode::Ask(netpol_prober::CONTROL_PORT));
    for wrong in ["", "help", "serve --tcp", "serve --tcp 80000", "serve tcp/1.2.3.4:5", "send 1.2.3.4:5"] {
        assert!(read(wrong).is_err(), "{wrong}");
    }
}
