//! Items of `ports` in a rule.

use super::{
    document::Document,
    field::{Notes, Path, get, json_type, unknown_fields},
    shown,
};
use crate::model::{PolicyPort, Protocol};

/// Reads an item. The flag says that it holds a field that is not known, so that the whole rule grants nothing.
pub(super) fn read(value: &Document<'_>, path: &Path<'_>, notes: &mut Notes) -> (PolicyPort, bool) {
    const NOTHING: &str = "this item allows no port";
    let Document::Object(item) = value else {
        let message = format!("is {}, not a port: {NOTHING}", json_type(value));
        notes.add(path, message, "write protocol and port");
        return (PolicyPort::Nothing, false);
    };
    if unknown_fields(
        item,
        &["protocol", "port", "endPort"],
        path,
        notes,
        "this field is not known and may narrow the item: the whole rule grants nothing",
    ) {
        return (PolicyPort::Nothing, true);
    }

    let at = path.field("protocol");
    let protocol = match get(item, "protocol") {
        None => Some(Protocol::Tcp),
        Some(value) => {
            let known = value.as_str().and_then(protocol);
            if known.is_none() {
                notes.add(&at, format!("{} is no protocol: {NOTHING}", shown(value)), "use TCP, UDP or SCTP");
            }
            known
        }
    };

    let at = path.field("port");
    let low = match get(item, "port") {
        None => Port::Missing,
        Some(Document::String(name)) if is_port_name(name) => Port::Name(name),
        Some(value @ Document::Number(number)) => {
            if let Some(port) = number.as_i64().and_then(number_of_port) {
                Port::Number(port)
            } else {
                notes.add(
                    &at,
                    format!("{} is no port: {NOTHING}", shown(value)),
                    "use a port from 1 to 65535",
                );
                Port::Bad
            }
        }
        Some(value) => {
            let remedy = match value.as_str() {
                Some(text) if text.parse::<u16>().is_ok() => "write the number without quotes",
                _ => {
                    "write a number, or the name of a container's port: lower case, digits and dashes, at most 15"
                }
            };
            notes.add(&at, format!("{} is no port: {NOTHING}", shown(value)), remedy);
            Port::Bad
        }
    };

    let at = path.field("endPort");
    let high = match get(item, "endPort") {
        None => Ok(None),
        Some(value) => match (value.as_i64().and_then(number_of_port), &low) {
            (_, Port::Missing) => {
                Err((format!("endPort without port: {NOTHING}"), "add the first port of the range"))
            }
            (_, Port::Name(_)) => Err((
                format!("endPort with the name of a port: {NOTHING}"),
                "give the first port of the range by number",
            )),
            (None, _) => {
                Err((format!("{} is no port: {NOTHING}", shown(value)), "use a port from 1 to 65535"))
            }
            (Some(high), Port::Number(low)) if high < *low => {
                Err((format!("{high} is below port {low}: {NOTHING}"), "exchange the two"))
            }
            (high, _) => Ok(high),
        },
    };
    let high = match high {
        Ok(high) => high,
        Err((message, remedy)) => {
            notes.add(&at, message, remedy);
            return (PolicyPort::Nothing, false);
        }
    };

    let port = match (protocol, low) {
        (None, _) | (_, Port::Bad) => PolicyPort::Nothing,
        (Some(protocol), Port::Missing) => PolicyPort::All(protocol),
        (Some(protocol), Port::Name(name)) => PolicyPort::Named(protocol, name.into()),
        (Some(protocol), Port::Number(low)) => PolicyPort::Range(protocol, low, high.unwrap_or(low)),
    };
    (port, false)
}

enum Port<'v> {
    Missing,
    Number(u16),
    Name(&'v str),
    Bad,
}

/// A protocol as the API spells it.
pub(super) fn protocol(name: &str) -> Option<Protocol> {
    Protocol::ALL.into_iter().find(|protocol| protocol.name() == name)
}

/// A port from 1 to 65535.
pub(super) fn number_of_port(number: i64) -> Option<u16> {
    u16::try_from(number).ok().filter(|port| *port != 0)
}

/// What the API accepts as the name of a port: the service names of RFC 6335.
fn is_port_name(name: &str) -> bool {
    name.len() <= 15
        && name.bytes().any(|byte| byte.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !name.starts_with('-')
        && !name.ends_with('-')
        && !name.contains("--")
}
