//! Chains of `iptables-legacy`. Netlink does not tell of them: they are asked for as iptables does, by `getsockopt`, which
//! changes nothing. Only tables are asked for that are there, or the kernel would make them.

use std::{
    ffi::{c_int, c_void},
    fs, io,
    net::UdpSocket,
    os::fd::AsRawFd as _,
};

use super::Chain;

/// `IPT_SO_GET_INFO` and `IPT_SO_GET_ENTRIES`, of the kernel's `ip_tables.h`; those of IPv6 have the same numbers.
const GET_INFO: c_int = 64;
const GET_ENTRIES: c_int = 65;
/// Bytes of a table's name, in both.
const NAME: usize = 32;
/// `struct ipt_getinfo`, whose last word is the size of the table.
const INFO: usize = 84;
/// Where the entries begin in `struct ipt_get_entries`.
const ENTRIES: usize = 40;
/// How often it is asked anew when somebody changes the table meanwhile.
const TRIES: usize = 3;

/// A family: where its tables are named, how they are asked for, and where an entry says how far its target and the next
/// entry are.
struct Family {
    name: &'static str,
    tables: &'static str,
    address: &'static str,
    level: c_int,
    target_offset: usize,
}

const FAMILIES: [Family; 2] = [
    Family {
        name: "ip",
        tables: "/proc/thread-self/net/ip_tables_names",
        address: "0.0.0.0:0",
        level: libc::SOL_IP,
        target_offset: 88,
    },
    Family {
        name: "ip6",
        tables: "/proc/thread-self/net/ip6_tables_names",
        address: "[::]:0",
        level: libc::SOL_IPV6,
        target_offset: 140,
    },
];

/// The chains that somebody has made, of every table of both families.
pub(super) fn chains() -> io::Result<Vec<Chain>> {
    let mut found = Vec::new();
    for family in &FAMILIES {
        let tables = match fs::read_to_string(family.tables) {
            // The kernel has no such tables, or its module for them is not loaded: then there are no chains.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            tables => tables?,
        };
        let mut names = tables.lines().filter(|name| name.len() < NAME).peekable();
        if names.peek().is_none() {
            continue;
        }
        // Any socket of the family will do.
        let socket = UdpSocket::bind(family.address)?;
        for table in names {
            let entries = entries(&socket, family, table)?;
            let chains = names_of(&entries, family.target_offset);
            found.extend(chains.map(|name| Chain { family: family.name, table: table.to_owned(), name }));
        }
    }
    Ok(found)
}

/// The entries of a table.
fn entries(socket: &UdpSocket, family: &Family, table: &str) -> io::Result<Vec<u8>> {
    let asked = |length: usize| {
        let mut buffer = vec![0; length];
        buffer[..table.len()].copy_from_slice(table.as_bytes());
        buffer
    };
    for _ in 0..TRIES {
        let mut info = asked(INFO);
        ask(socket, family.level, GET_INFO, &mut info)?;
        let size = info.last_chunk().map_or(0, |size| u32::from_ne_bytes(*size));
        let mut answer = asked(ENTRIES + size as usize);
        answer[NAME..NAME + 4].copy_from_slice(&size.to_ne_bytes());
        match ask(socket, family.level, GET_ENTRIES, &mut answer) {
            Ok(()) => return Ok(answer.split_off(ENTRIES)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error),
        }
    }
    // Whoever changes it all the time is there the next time too.
    Ok(Vec::new())
}

fn ask(socket: &UdpSocket, level: c_int, what: c_int, buffer: &mut [u8]) -> io::Result<()> {
    let mut length = libc::socklen_t::try_from(buffer.len()).map_err(io::Error::other)?;
    // SAFETY: the kernel writes no more than `length` bytes, which the buffer has.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            level,
            what,
            buffer.as_mut_ptr().cast::<c_void>(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The names of chains among entries: each begins with an entry whose target is `ERROR`, and that carries the name. The last
/// one of all is called `ERROR` itself.
fn names_of(entries: &[u8], target_offset: usize) -> impl Iterator<Item = String> {
    let word = move |at: usize| {
        let bytes = entries.get(at..at + 2)?;
        Some(usize::from(u16::from_ne_bytes([bytes[0], bytes[1]])))
    };
    let text = move |at: usize, most: usize| {
        let bytes = entries.get(at..)?.iter().take(most).take_while(|byte| **byte != 0);
        Some(bytes.map(|byte| char::from(*byte)).collect::<String>())
    };
    let mut next = Some(0);
    std::iter::from_fn(move || {
        loop {
            let at = next?;
            let (target, length) = (word(at + target_offset)?, word(at + target_offset + 2)?);
            next = (length > 0).then_some(at + length);
            let target = at + target;
            // Its size comes first; behind the name stands the revision.
            if text(target + 2, 29)? == "ERROR" {
                let name = text(target + 32, 30)?;
                if name != "ERROR" {
                    return Some(name);
                }
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An entry with this target, and this behind its name.
    fn entry(target_offset: usize, target: &str, data: &str) -> Vec<u8> {
        let at = target_offset + 24;
        let mut entry = vec![0; at + 64];
        let length = u16::try_from(entry.len()).unwrap();
        entry[target_offset..target_offset + 2].copy_from_slice(&u16::try_from(at).unwrap().to_ne_bytes());
        entry[target_offset + 2..target_offset + 4].copy_from_slice(&length.to_ne_bytes());
        entry[at + 2..at + 2 + target.len()].copy_from_slice(target.as_bytes());
        entry[at + 32..at + 32 + data.len()].copy_from_slice(data.as_bytes());
        entry
    }

    #[test]
    fn chains_are_found_among_rules_in_both_families() {
        for Family { target_offset, .. } in FAMILIES {
            let table = [
                entry(target_offset, "", "ERROR"),
                entry(target_offset, "ERROR", "cali-FORWARD"),
                entry(target_offset, "MARK", "cali-no-chain"),
                entry(target_offset, "ERROR", "WEAVE-NPC"),
                entry(target_offset, "ERROR", "ERROR"),
            ]
            .concat();
            let names: Vec<String> = names_of(&table, target_offset).collect();
            assert_eq!(names, ["cali-FORWARD", "WEAVE-NPC"]);
        }
    }

    #[test]
    fn what_is_cut_off_anywhere_ends_the_list() {
        let table = [entry(88, "ERROR", "a"), entry(88, "ERROR", "b")].concat();
        for end in 0..table.len() {
            assert!(names_of(&table[..end], 88).count() <= 2);
        }
        let mut endless = entry(88, "ERROR", "a");
        endless[90..92].fill(0);
        assert_eq!(names_of(&endless, 88).count(), 1);
    }
}
