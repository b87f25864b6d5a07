//! CIDRs and ipBlocks.

use std::net::IpAddr;

use super::{
    document::Document,
    field::{Notes, Path, get, json_type, quoted, unknown_fields},
    shown,
};
use crate::model::IpBlock;
use ipnet::{IpNet, Ipv4Net};

/// Bits of an IPv4-mapped IPv6 address before the IPv4 address.
const MAPPED_BITS: u8 = 96;

/// A CIDR: masked, and an IPv4-mapped one as its IPv4.
pub(super) fn cidr(text: &str) -> Option<IpNet> {
    // Stricter than the network's own parser: zeros in front mean octal to some and nothing to others.
    let (address, bits) = text.split_once('/')?;
    if !bits.bytes().all(|byte| byte.is_ascii_digit()) || bits.len() > 1 && bits.starts_with('0') {
        return None;
    }
    let net = IpNet::new(address.parse().ok()?, bits.parse().ok()?).ok()?;
    let mapped = match net {
        IpNet::V4(_) => None,
        IpNet::V6(net) => net.addr().to_ipv4_mapped().zip(net.prefix_len().checked_sub(MAPPED_BITS)),
    };
    match mapped {
        Some((address, bits)) => Ipv4Net::new(address, bits).ok().map(|net| IpNet::V4(net.trunc())),
        None => Some(net.trunc()),
    }
}

/// A CIDR, or an address alone.
pub(super) fn cidr_or_address(text: &str) -> Option<IpNet> {
    cidr(text).or_else(|| text.parse::<IpAddr>().ok().map(|address| IpNet::from(address.to_canonical())))
}

/// Why an ipBlock grants nothing; noted already.
pub(super) enum Void {
    /// It is wrong.
    Bad,
    /// It holds a field that is not known and may narrow it.
    UnknownField,
}

/// Reads an ipBlock. An entry of `except` that is wrong voids it: without that entry it would grant more than was
/// written.
pub(super) fn read(value: &Document<'_>, path: &Path<'_>, notes: &mut Notes) -> Result<IpBlock, Void> {
    let Document::Object(block) = value else {
        let message = format!("is {}, not an ipBlock: the peer matches nothing", json_type(value));
        notes.add(path, message, "write cidr, and except where needed");
        return Err(Void::Bad);
    };
    if unknown_fields(
        block,
        &["cidr", "except"],
        path,
        notes,
        "this field of an ipBlock is not known and may narrow it: the whole rule grants nothing",
    ) {
        return Err(Void::UnknownField);
    }

    let at = path.field("cidr");
    let block_cidr = match get(block, "cidr") {
        None => {
            notes.add(&at, "the ipBlock has no cidr: the peer matches nothing", "write one");
            return Err(Void::Bad);
        }
        Some(value) => value.as_str().and_then(cidr).ok_or_else(|| {
            notes.add(&at, format!("{} is no CIDR: the peer matches nothing", shown(value)), remedy(value));
            Void::Bad
        })?,
    };

    let at = path.field("except");
    let mut except = Vec::new();
    let mut bad = false;
    match get(block, "except") {
        None => {}
        Some(Document::Array(entries)) => {
            for (index, entry) in entries.iter().enumerate() {
                match entry.as_str().and_then(cidr) {
                    Some(net) if block_cidr.contains(&net) => except.push(net),
                    Some(net) => {
                        bad = true;
                        let message =
                            format!("{net} is not inside of {block_cidr}: the whole ipBlock matches nothing");
                        notes.add(&at.index(index), message, "an except names a part of its own cidr");
                    }
                    None => {
                        bad = true;
                        let message =
                            format!("{} is no CIDR: the whole ipBlock matches nothing", shown(entry));
                        notes.add(&at.index(index), message, remedy(entry));
                    }
                }
            }
        }
        Some(other) => {
            bad = true;
            let message = format!("is {}, not a list: the whole ipBlock matches nothing", json_type(other));
            notes.add(&at, message, "write a list of CIDRs");
        }
    }
    if bad {
        return Err(Void::Bad);
    }
    except.sort_unstable();
    except.dedup();
    Ok(IpBlock { cidr: block_cidr, except })
}

/// What to do about something that is no CIDR.
fn remedy(value: &Document<'_>) -> String {
    match value.as_str().and_then(cidr_or_address) {
        Some(net) => format!("write {}", quoted(&net.to_string())),
        None => "write an address, a slash and the length of the prefix".into(),
    }
}
