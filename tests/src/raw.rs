//! Sockets below the transport: send packets that were made by hand, and see what arrives at an interface.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use socket2::{Domain, Protocol, SockAddr, SockAddrStorage, Socket, Type};

use crate::laboratory::Namespace;
use crate::packet;

/// `IPPROTO_RAW`: the sender writes the IP header.
const HEADER_INCLUDED: i32 = 255;
/// No packet is longer.
const LONGEST: usize = 65_536;
/// `ETH_P_ALL` in network byte order, as the socket's protocol wants it.
const EVERYTHING: u16 = 0x0003_u16.to_be();

impl Namespace {
    /// Sends an IP packet as it is, through the namespace's own routing.
    ///
    /// # Errors
    /// When the namespace has no route for it, or the kernel refuses the header.
    pub fn send_packet(&self, bytes: &[u8]) -> Result<()> {
        let (_, destination, ..) = packet::read(bytes).context("this is no IP packet")?;
        let socket = self.packet_sender(destination.is_ipv4())?;
        let to = SocketAddr::new(destination, 0);
        socket
            .send_to(bytes, &to.into())
            .with_context(|| format!("cannot send a packet to {destination}"))?;
        Ok(())
    }

    /// A raw socket for IP packets of one family that are sent as they are.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn packet_sender(&self, v4: bool) -> Result<Socket> {
        let domain = if v4 { Domain::IPV4 } else { Domain::IPV6 };
        self.run(|| Socket::new(domain, Type::RAW, Some(Protocol::from(HEADER_INCLUDED))))?
            .context("cannot make a raw socket")
    }

    /// Sends an Ethernet frame as it is out of an interface.
    ///
    /// # Errors
    /// When there is no such interface, or it is down.
    pub fn send_frame(&self, interface: &str, bytes: &[u8]) -> Result<()> {
        let (socket, address) = self.packet_socket(Type::RAW, interface)?;
        socket.send_to(bytes, &address).context("cannot send a frame")?;
        Ok(())
    }

    /// A raw socket for one IP protocol: it gets what reaches the namespace's IP layer, put together from its fragments.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn protocol_socket(&self, v4: bool, protocol: u8) -> Result<Socket> {
        let domain = if v4 { Domain::IPV4 } else { Domain::IPV6 };
        self.run(|| Socket::new(domain, Type::RAW, Some(Protocol::from(i32::from(protocol)))))?
            .context("cannot make a raw socket")
    }

    /// Begins to watch what arrives at `eth0`.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn watch(&self) -> Result<Watch> {
        self.watch_interface("eth0")
    }

    /// Begins to watch what arrives at an interface.
    ///
    /// # Errors
    /// When there is no such interface.
    pub fn watch_interface(&self, interface: &str) -> Result<Watch> {
        let (socket, address) = self.packet_socket(Type::DGRAM, interface)?;
        socket.bind(&address).with_context(|| format!("cannot watch {interface}"))?;
        Ok(Watch { socket })
    }

    fn packet_socket(&self, kind: Type, interface: &str) -> Result<(Socket, SockAddr)> {
        let name = std::ffi::CString::new(interface)?;
        let (socket, index) = self.run(|| {
            let socket = Socket::new(Domain::PACKET, kind, Some(Protocol::from(0)));
            // SAFETY: the name is a string with its zero that outlives the call.
            (socket, unsafe { libc::if_nametoindex(name.as_ptr()) })
        })?;
        let index = i32::try_from(index).ok().filter(|index| *index != 0);
        let index = index.with_context(|| format!("{} has no interface {interface}", self.name()))?;
        Ok((socket.context("cannot make a packet socket")?, link_address(index)))
    }
}

/// A `sockaddr_ll` that names an interface and nothing else.
fn link_address(index: i32) -> SockAddr {
    let mut storage = SockAddrStorage::zeroed();
    // SAFETY: a `sockaddr_ll` is plain numbers, and the storage is made to hold any socket address.
    let link = unsafe { storage.view_as::<libc::sockaddr_ll>() };
    link.sll_family = libc::AF_PACKET as libc::sa_family_t;
    link.sll_protocol = EVERYTHING;
    link.sll_ifindex = index;
    // SAFETY: the storage holds a `sockaddr_ll` of this length.
    unsafe { SockAddr::new(storage, size_of::<libc::sockaddr_ll>() as libc::socklen_t) }
}

/// What arrives at an interface, from the moment of its making.
#[derive(Debug)]
pub struct Watch {
    socket: Socket,
}

impl Watch {
    /// The next IP packet that arrived and is wanted, or `None` when the deadline passes first.
    pub fn wait(&self, deadline: Duration, wanted: impl Fn(&[u8]) -> bool) -> Option<Vec<u8>> {
        let end = Instant::now() + deadline;
        loop {
            let left = end.checked_duration_since(Instant::now())?;
            if let Some(packet) = self.next(left).filter(|packet| wanted(packet)) {
                return Some(packet);
            }
        }
    }

    /// Whatever arrives within this time, without what is sent from here.
    fn next(&self, patience: Duration) -> Option<Vec<u8>> {
        self.socket.set_read_timeout(Some(patience.max(Duration::from_millis(1)))).ok()?;
        let mut buffer = Vec::with_capacity(LONGEST);
        let (length, from) = self.socket.recv_from(buffer.spare_capacity_mut()).ok()?;
        // SAFETY: the kernel filled in a `sockaddr_ll`, since the socket is of that family.
        let link = unsafe { &*from.as_ptr().cast::<libc::sockaddr_ll>() };
        if link.sll_pkttype == libc::PACKET_OUTGOING {
            return None;
        }
        // SAFETY: the kernel wrote the first `length` bytes.
        unsafe { buffer.set_len(length) };
        Some(buffer)
    }
}

/// Sends a packet made for a raw socket of one protocol, which writes the IP header itself.
///
/// # Errors
/// When there is no route.
pub fn send_payload(socket: &Socket, to: IpAddr, payload: &[u8]) -> Result<()> {
    socket
        .send_to(payload, &SocketAddr::new(to, 0).into())
        .with_context(|| format!("cannot send to {to}"))?;
    Ok(())
}

/// The next payload at a raw socket and who sent it, or `None` when `patience` passes first.
pub fn receive_payload(socket: &Socket, patience: Duration) -> Option<(IpAddr, Vec<u8>)> {
    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let milliseconds = i32::try_from(patience.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one pollfd that outlives the call.
    if unsafe { libc::poll(&raw mut poll, 1, milliseconds) } != 1 {
        return None;
    }
    let mut bytes: Vec<u8> = Vec::with_capacity(LONGEST);
    let (length, from) = socket.recv_from(bytes.spare_capacity_mut()).ok()?;
    // SAFETY: the kernel wrote the first `length` bytes.
    unsafe { bytes.set_len(length) };
    let from = from.as_socket()?.ip();
    // IPv4 raw sockets give the IP header too, IPv6 ones do not.
    let payload = if from.is_ipv4() { packet::read(&bytes)?.3.to_vec() } else { bytes };
    Some((from, payload))
}
