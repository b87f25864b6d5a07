//! Something for each of many addresses, in the order of the addresses: what lies in a CIDR stands together.

use std::collections::BTreeMap;

use netpol_common::Addr;

use super::{addresses::Bytes, cidr::Cidr};

/// Values by address. Most are IPv4's, whose keys are four bytes.
#[derive(Clone, Debug)]
pub(super) struct ByAddr<V> {
    v4: BTreeMap<u32, V>,
    v6: BTreeMap<Bytes, V>,
}

impl<V> Default for ByAddr<V> {
    fn default() -> Self {
        Self { v4: BTreeMap::new(), v6: BTreeMap::new() }
    }
}

const V4_MAPPED: Bytes = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0];

/// The number of an IPv4 address, in the order of addresses.
const fn number(addr: &Addr) -> u32 {
    u32::from_be(addr.0[3])
}

/// The address of a number.
const fn addr(number: u32) -> Addr {
    let mut addr = Addr::from_bytes(V4_MAPPED);
    addr.0[3] = number.to_be();
    addr
}

impl<V> ByAddr<V> {
    pub(super) fn len(&self) -> usize {
        self.v4.len() + self.v6.len()
    }

    pub(super) fn get(&self, at: &Addr) -> Option<&V> {
        if at.is_v4() { self.v4.get(&number(at)) } else { self.v6.get(&at.to_bytes()) }
    }

    pub(super) fn get_mut(&mut self, at: &Addr) -> Option<&mut V> {
        if at.is_v4() { self.v4.get_mut(&number(at)) } else { self.v6.get_mut(&at.to_bytes()) }
    }

    pub(super) fn insert(&mut self, at: &Addr, value: V) -> Option<V> {
        if at.is_v4() { self.v4.insert(number(at), value) } else { self.v6.insert(at.to_bytes(), value) }
    }

    pub(super) fn remove(&mut self, at: &Addr) -> Option<V> {
        if at.is_v4() { self.v4.remove(&number(at)) } else { self.v6.remove(&at.to_bytes()) }
    }

    /// The value of an address, a new one if it has none.
    pub(super) fn or_default(&mut self, at: &Addr) -> &mut V
    where
        V: Default,
    {
        if at.is_v4() {
            self.v4.entry(number(at)).or_default()
        } else {
            self.v6.entry(at.to_bytes()).or_default()
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Addr, &V)> {
        let v6 = self.v6.iter().map(|(bytes, value)| (Addr::from_bytes(*bytes), value));
        self.v4.iter().map(|(number, value)| (addr(*number), value)).chain(v6)
    }

    /// The addresses in a CIDR that have a value.
    pub(super) fn within(&self, cidr: &Cidr) -> impl Iterator<Item = Addr> {
        let (first, last) = (cidr.addr(), Addr::from_bytes(cidr.last()));
        let v4 = cidr.is_v4().then(|| self.v4.range(number(&first)..=number(&last)));
        let v6 = (!cidr.is_v4()).then(|| self.v6.range(first.to_bytes()..=last.to_bytes()));
        let v4 = v4.into_iter().flatten().map(|(number, _)| addr(*number));
        v4.chain(v6.into_iter().flatten().map(|(bytes, _)| Addr::from_bytes(*bytes)))
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::{Addr, ByAddr, Cidr};

    fn addr(text: &str) -> Addr {
        text.parse::<IpAddr>().unwrap().into()
    }

    #[test]
    fn both_families_are_held_and_neither_is_within_the_other() {
        let all = ["10.0.0.1", "10.0.1.0", "255.255.255.255", "0.0.0.0", "::1", "2001:db8::1", "ffff::"];
        let mut map = ByAddr::default();
        for (value, text) in all.iter().enumerate() {
            assert_eq!(map.insert(&addr(text), value), None);
        }
        for (value, text) in all.iter().enumerate() {
            assert_eq!(map.get(&addr(text)), Some(&value), "{text}");
        }
        assert_eq!(map.iter().count(), all.len());
        let within = |text: &str| {
            let cidr = Cidr::from(text.parse::<ipnet::IpNet>().unwrap());
            map.within(&cidr).map(|addr| IpAddr::from(addr).to_string()).collect::<Vec<_>>()
        };
        assert_eq!(within("10.0.0.0/24"), ["10.0.0.1"]);
        assert_eq!(within("0.0.0.0/0"), ["0.0.0.0", "10.0.0.1", "10.0.1.0", "255.255.255.255"]);
        assert_eq!(within("::/0"), ["::1", "2001:db8::1", "ffff::"]);
        assert_eq!(map.remove(&addr("10.0.0.1")), Some(0));
        assert_eq!((map.get(&addr("10.0.0.1")), map.len()), (None, all.len() - 1));
    }
}
