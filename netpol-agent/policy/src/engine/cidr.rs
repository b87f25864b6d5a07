//! Prefixes of both families in the 16-byte form of [`Addr`], ordered so that what a prefix contains follows it.

use std::{fmt, net::IpAddr};

use ipnet::IpNet;
use netpol_common::{Addr, addr::V4_PREFIX_BITS};

/// A masked prefix. An IPv4 one is written as IPv4-mapped IPv6, with 96 more bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cidr {
    bytes: [u8; 16],
    len: u8,
}

impl Cidr {
    /// Every IPv6 address. An IPv6 prefix never contains an IPv4 one, whatever their bytes say.
    pub const ROOT_V6: Self = Self { bytes: [0; 16], len: 0 };
    /// Every IPv4 address.
    pub const ROOT_V4: Self = Self { bytes: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0], len: 96 };

    /// The prefix of `len` bits (of the 16-byte form) that an address lies in.
    #[must_use]
    pub const fn around(addr: Addr, len: u8) -> Self {
        let len = if len > 128 { 128 } else { len };
        let mask = if len == 0 { 0 } else { u128::MAX << (128 - len) };
        Self { bytes: (u128::from_be_bytes(addr.to_bytes()) & mask).to_be_bytes(), len }
    }

    /// An address as the prefix that holds nothing else.
    #[must_use]
    pub const fn host(addr: Addr) -> Self {
        Self { bytes: addr.to_bytes(), len: 128 }
    }

    /// Its first address.
    #[must_use]
    pub const fn addr(&self) -> Addr {
        Addr::from_bytes(self.bytes)
    }

    /// Its length in bits, as it stands in the trie's key.
    #[must_use]
    pub const fn bits(&self) -> u8 {
        self.len
    }

    /// Whether it is of IPv4.
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        self.len as u32 >= V4_PREFIX_BITS && self.addr().is_v4()
    }

    /// The same with another, shorter length.
    pub(super) const fn shortened(&self, len: u8) -> Self {
        Self::around(self.addr(), len)
    }

    /// Whether all addresses of `other` lie in this one.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        self.len <= other.len
            && self.is_v4() == other.is_v4()
            && other.shortened(self.len).bytes == self.bytes
    }

    /// Its last address as bytes: everything contained lies between `self` and this, in the order of [`Ord`].
    pub(super) const fn last(&self) -> [u8; 16] {
        let rest = if self.len == 0 { u128::MAX } else { !(u128::MAX << (128 - self.len)) };
        (u128::from_be_bytes(self.bytes) | rest).to_be_bytes()
    }

    /// The first and the last of everything that it can contain, for a walk over an ordered map.
    pub(super) const fn range(&self) -> (Self, Self) {
        (*self, Self { bytes: self.last(), len: 128 })
    }
}

impl From<IpNet> for Cidr {
    fn from(net: IpNet) -> Self {
        let more = match net {
            IpNet::V4(_) => V4_PREFIX_BITS as u8,
            IpNet::V6(_) => 0,
        };
        Self::around(net.network().into(), net.prefix_len() + more)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len = if self.is_v4() { self.len - V4_PREFIX_BITS as u8 } else { self.len };
        write!(f, "{}/{len}", IpAddr::from(self.addr()))
    }
}

impl fmt::Debug for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
