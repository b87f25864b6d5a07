//! The sockets of a pod, read inside its network namespace: what conntrack does not see.

use std::{
    collections::BTreeSet,
    fs::{File, read_to_string},
    io,
    path::Path,
    thread,
};

use netlink_packet_sock_diag::{
    SockDiagMessage,
    constants::{AF_INET, AF_INET6, IPPROTO_TCP, IPPROTO_UDP},
    inet::{ExtensionFlags, InetRequest, SocketId, StateFlags},
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netpol_common::Addr;
use nix::sched::{CloneFlags, setns};

use super::{
    connection::{Connection, Tuple},
    netlink::dump,
};

/// States of sockets, of the kernel's `tcp_states.h`. A datagram socket that is connected is established, any other one
/// closed.
const SYN_SENT: u8 = 2;
const TIME_WAIT: u8 = 6;
const CLOSE: u8 = 7;
const LAST_ACK: u8 = 9;
const LISTEN: u8 = 10;
const CLOSING: u8 = 11;

/// A socket with its addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) proto: u8,
    pub(super) state: u8,
    pub(super) local: (Addr, u16),
    pub(super) remote: (Addr, u16),
}

/// The connections of the sockets in a network namespace. Entering it needs `CAP_SYS_ADMIN`.
pub(super) fn connections(namespace: &Path) -> io::Result<Vec<Connection>> {
    let file = File::open(namespace)?;
    let inside = || {
        // Per thread; and this one does nothing else.
        setns(&file, CloneFlags::CLONE_NEWNET)?;
        let mut seen = Vec::new();
        let counters = Counters::read();
        for (proto, family) in
            [IPPROTO_TCP, IPPROTO_UDP].into_iter().flat_map(|p| [(p, AF_INET), (p, AF_INET6)])
        {
            if !counters.say_none(proto, family) {
                list(proto, family, &mut seen)?;
            }
        }
        Ok(opened(&seen))
    };
    let ended = thread::scope(|scope| scope.spawn(inside).join());
    ended.unwrap_or_else(|_| Err(io::Error::other("the thread that reads the sockets has failed")))
}

/// What the kernel counts of the sockets in this thread's network namespace. To list those of one namespace it walks those of
/// all, which is milliseconds for each pod beside some ten thousand: not where there are none.
#[derive(Debug, Default)]
pub(super) struct Counters(String);

impl Counters {
    /// Where they cannot be read, nothing is known.
    pub(super) fn read() -> Self {
        let read = |name| read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
        Self::of(read("sockstat") + &read("sockstat6"))
    }

    /// As `/proc/net/sockstat` has them, with those of `sockstat6` behind.
    pub(super) const fn of(text: String) -> Self {
        Self(text)
    }

    /// Whether there is none for certain. Those in TIME_WAIT are counted for themselves, of both families together; one whose
    /// connection is not accepted yet belongs to one that listens. `TCP6` is not believed: kernels before 5.15.203, 6.1.169,
    /// 6.6.135, 6.12.82 and 6.18.23 count MPTCP's sockets elsewhere (CVE-2026-31669); so it is asked for sockets of any kind.
    pub(super) fn say_none(&self, proto: u8, family: u8) -> bool {
        let waiting = || self.number("TCP:", "tw") == Some(0);
        match (proto, family == AF_INET) {
            (IPPROTO_TCP, true) => self.number("TCP:", "inuse") == Some(0) && waiting(),
            (IPPROTO_TCP, false) => self.number("sockets:", "used") == Some(0) && waiting(),
            (_, true) => self.number("UDP:", "inuse") == Some(0),
            (_, false) => self.number("UDP6:", "inuse") == Some(0),
        }
    }

    fn number(&self, name: &str, field: &str) -> Option<u64> {
        let line = self.0.lines().find_map(|line| line.strip_prefix(name))?;
        let mut words = line.split_whitespace();
        words.find(|word| *word == field)?;
        words.next()?.parse().ok()
    }
}

fn list(proto: u8, family: u8, seen: &mut Vec<Seen>) -> io::Result<()> {
    let socket_id = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
    let request = SockDiagMessage::InetRequest(InetRequest {
        family,
        protocol: proto,
        extensions: ExtensionFlags::empty(),
        states: StateFlags::all(),
        socket_id,
    });
    dump(NETLINK_SOCK_DIAG, request, &mut |message| {
        if let SockDiagMessage::InetResponse(response) = message {
            let id = response.header.socket_id;
            seen.push(Seen {
                proto,
                state: response.header.state,
                local: (id.source_address.into(), id.source_port),
                remote: (id.destination_address.into(), id.destination_port),
            });
        }
    })
}

/// Which of them are connections, and from which end: those of a port that is served were opened by the peer.
pub(super) fn opened(sockets: &[Seen]) -> Vec<Connection> {
    let serves = |socket: &&Seen| {
        if socket.proto == IPPROTO_TCP { socket.state == LISTEN } else { socket.remote.1 == 0 }
    };
    let served: BTreeSet<(u8, u16)> = sockets.iter().filter(serves).map(|s| (s.proto, s.local.1)).collect();
    let connection = |socket: &Seen| {
        let Seen { proto, state, local, remote } = *socket;
        let sends = Tuple { src: local.0, dst: remote.0, src_port: local.1, dst_port: remote.1 };
        let gets = Tuple { src: remote.0, dst: local.0, src_port: remote.1, dst_port: local.1 };
        let by_peer = served.contains(&(proto, local.1));
        let (original, reply) = if by_peer { (gets, sends) } else { (sends, gets) };
        let answered = state != SYN_SENT;
        let closing = matches!(state, TIME_WAIT | CLOSE | LAST_ACK | CLOSING);
        Connection { proto, original, reply, answered, closing }
    };
    sockets.iter().filter(|socket| socket.remote.1 != 0).map(connection).collect()
}
