//! Addresses of both families in one shape.

use crate::pod::Pod;

/// An IP address as 16 bytes in network order, seen as four words in the machine's order of memory.
///
/// IPv4 is written as IPv4-mapped IPv6 (`::ffff:a.b.c.d`), so that both families share every table and every
/// line of code. A real IPv6 packet never carries such an address ([`Reason::MartianAddress`] drops it), so the
/// two cannot be mixed up.
///
/// [`Reason::MartianAddress`]: crate::verdict::Reason::MartianAddress
#[repr(transparent)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Addr(pub [u32; 4]);

// SAFETY: four words, transparent, no padding.
unsafe impl Pod for Addr {}

/// Bits of an address in its 16-byte form that an IPv4 prefix has in front of it.
pub const V4_PREFIX_BITS: u32 = 96;

/// The third word of an IPv4 address (`00 00 ff ff` in memory).
const V4_MARK: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

impl Addr {
    /// `::`, never a peer; stands for "no address".
    pub const NONE: Self = Self([0; 4]);

    /// From the four bytes of an IPv4 address as they stand in memory (network order).
    #[inline(always)]
    #[must_use]
    pub const fn from_v4_word(word: u32) -> Self {
        Self([0, 0, V4_MARK, word])
    }

    /// From the 16 bytes of an IPv6 address.
    #[inline(always)]
    #[must_use]
    pub const fn from_bytes(b: [u8; 16]) -> Self {
        Self([
            u32::from_ne_bytes([b[0], b[1], b[2], b[3]]),
            u32::from_ne_bytes([b[4], b[5], b[6], b[7]]),
            u32::from_ne_bytes([b[8], b[9], b[10], b[11]]),
            u32::from_ne_bytes([b[12], b[13], b[14], b[15]]),
        ])
    }

    /// The two halves of it, each as a number.
    #[inline(always)]
    #[must_use]
    pub const fn halves(&self) -> [u64; 2] {
        let [a, b, c, d] = self.0;
        [a as u64 | (b as u64) << 32, c as u64 | (d as u64) << 32]
    }

    /// From its two halves.
    #[inline(always)]
    #[must_use]
    pub const fn from_halves(first: u64, second: u64) -> Self {
        Self([first as u32, (first >> 32) as u32, second as u32, (second >> 32) as u32])
    }

    /// The 16 bytes in network order.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        let (a, b, c, d) = (
            self.0[0].to_ne_bytes(),
            self.0[1].to_ne_bytes(),
            self.0[2].to_ne_bytes(),
            self.0[3].to_ne_bytes(),
        );
        [a[0], a[1], a[2], a[3], b[0], b[1], b[2], b[3], c[0], c[1], c[2], c[3], d[0], d[1], d[2], d[3]]
    }

    /// Whether this is an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub const fn is_v4(&self) -> bool {
        self.0[0] == 0 && self.0[1] == 0 && self.0[2] == V4_MARK
    }

    /// Whether both are the same address; compares all words without a branch.
    #[inline(always)]
    #[must_use]
    pub const fn same(&self, other: &Self) -> bool {
        ((self.0[0] ^ other.0[0])
            | (self.0[1] ^ other.0[1])
            | (self.0[2] ^ other.0[2])
            | (self.0[3] ^ other.0[3]))
            == 0
    }

    /// `::` or `0.0.0.0`.
    #[inline(always)]
    #[must_use]
    pub const fn is_unspecified(&self) -> bool {
        self.0[3] == 0 && (self.is_v4() || (self.0[0] | self.0[1] | self.0[2]) == 0)
    }

    /// Link-local unicast: `fe80::/10`, `169.254.0.0/16`.
    #[inline(always)]
    #[must_use]
    pub const fn is_link_local(&self) -> bool {
        if self.is_v4() {
            let [a, b, ..] = self.0[3].to_ne_bytes();
            a == 169 && b == 254
        } else {
            let [a, b, ..] = self.0[0].to_ne_bytes();
            a == 0xfe && b & 0xc0 == 0x80
        }
    }

    /// Multicast (`ff00::/8`, `224.0.0.0/4`) or the limited broadcast.
    #[inline(always)]
    #[must_use]
    pub const fn is_multicast_or_broadcast(&self) -> bool {
        if self.is_v4() {
            let a = self.0[3].to_ne_bytes()[0];
            a & 0xf0 == 0xe0 || self.0[3] == u32::MAX
        } else {
            self.0[0].to_ne_bytes()[0] == 0xff
        }
    }

    /// Loopback: `::1`, `127.0.0.0/8`.
    #[inline(always)]
    #[must_use]
    pub const fn is_loopback(&self) -> bool {
        if self.is_v4() {
            self.0[3].to_ne_bytes()[0] == 127
        } else {
            (self.0[0] | self.0[1] | self.0[2]) == 0 && self.0[3] == 1u32.to_be()
        }
    }

    /// A hash of the address that kernel and user space compute alike; not keyed, so only for choosing the cell
    /// of a table in which a collision costs nothing but a needless second look.
    #[inline(always)]
    #[must_use]
    pub const fn hash(&self) -> u32 {
        let mut h =
            self.0[0] ^ self.0[1].rotate_left(7) ^ self.0[2].rotate_left(14) ^ self.0[3].rotate_left(21);
        h ^= h >> 16;
        h = h.wrapping_mul(0x7feb_352d);
        h ^= h >> 15;
        h = h.wrapping_mul(0x846c_a68b);
        h ^ (h >> 16)
    }
}

#[cfg(any(test, feature = "std"))]
mod with_std {
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use super::Addr;

    impl From<Ipv4Addr> for Addr {
        fn from(a: Ipv4Addr) -> Self {
            Self::from_v4_word(u32::from_ne_bytes(a.octets()))
        }
    }

    impl From<Ipv6Addr> for Addr {
        fn from(a: Ipv6Addr) -> Self {
            Self::from_bytes(a.octets())
        }
    }

    impl From<IpAddr> for Addr {
        fn from(a: IpAddr) -> Self {
            match a {
                IpAddr::V4(a) => a.into(),
                IpAddr::V6(a) => a.into(),
            }
        }
    }

    impl From<Addr> for IpAddr {
        fn from(a: Addr) -> Self {
            if a.is_v4() {
                Self::V4(Ipv4Addr::from(a.0[3].to_ne_bytes()))
            } else {
                Self::V6(Ipv6Addr::from(a.to_bytes()))
            }
        }
    }
}
