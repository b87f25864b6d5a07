//! Messages of protobuf of which only some fields are kept. What is made of them is what the same object is in JSON.

use std::borrow::Cow;

use netpol_policy::read::{Document, Object};

use super::{
    Field,
    Kept::{All, Always, Each, Keys, Map, Of, One},
    Type,
    wire::{Entry, Malformed, Message},
};

/// What is kept of a message.
///
/// # Errors
/// When it is cut off or no message, or when a field that is kept has another type.
pub(in super::super) fn pick<'t>(
    fields: &'static [Field],
    message: &'t [u8],
) -> Result<Document<'t>, Malformed> {
    object(fields, message).map(Document::Object)
}

fn object<'t>(fields: &'static [Field], message: &'t [u8]) -> Result<Object<'t>, Malformed> {
    let mut kept = Object::with_capacity(fields.len());
    for entry in Message::new(message) {
        let entry = entry?;
        let Some(Field { name, kept: what, .. }) = fields.iter().find(|field| field.number == entry.number)
        else {
            continue;
        };
        match what {
            // No message has a field 0, and only such are kept whole.
            All => return Err(Malformed::Type(entry.number)),
            One(kind) => {
                if let Some(value) = value(*kind, entry)?.filter(|value| !is_zero(value)) {
                    kept.push(*name, value);
                }
            }
            Always(kind) => kept.push(*name, value(*kind, entry)?.unwrap_or(Document::Null)),
            Of(fields) => kept.push(*name, Document::Object(object(fields, entry.bytes()?)?)),
            Each(fields) => {
                let element = Document::Object(object(fields, entry.bytes()?)?);
                match kept.get_mut(name) {
                    Some(Document::Array(list)) => list.push(element),
                    _ => kept.push(*name, Document::Array(vec![element])),
                }
            }
            Map => add(&mut kept, name, pair(entry)?),
            Keys(keys) => {
                let (key, value) = pair(entry)?;
                if keys.iter().any(|one| one.as_bytes() == key) {
                    add(&mut kept, name, (key, value));
                }
            }
        }
    }
    Ok(kept)
}

/// Adds an entry to the map of this name.
fn add<'t>(to: &mut Object<'t>, name: &'static str, (key, value): (&'t [u8], &'t [u8])) {
    if let Some(Document::Object(map)) = to.get_mut(name) {
        map.push(text(key), Document::String(text(value)));
        return;
    }
    let mut map = Object::default();
    map.push(text(key), Document::String(text(value)));
    to.push(name, Document::Object(map));
}

/// An entry of a map is a message of its key and its value.
fn pair<'t>(entry: Entry<'t>) -> Result<(&'t [u8], &'t [u8]), Malformed> {
    let (mut key, mut value) = (&[][..], &[][..]);
    for entry in Message::new(entry.bytes()?) {
        let entry = entry?;
        match entry.number {
            1 => key = entry.bytes()?,
            2 => value = entry.bytes()?,
            _ => {}
        }
    }
    Ok((key, value))
}

/// A value; `None` for a time that is not set.
fn value<'t>(kind: Type, entry: Entry<'t>) -> Result<Option<Document<'t>>, Malformed> {
    Ok(Some(match kind {
        Type::Text => Document::String(text(entry.bytes()?)),
        // Negative ones have the bits of 64 places, also where the type has 32.
        Type::Number => Document::Number(entry.varint()?.cast_signed().into()),
        Type::Flag => Document::Bool(entry.varint()? != 0),
        Type::Time => return time(entry.bytes()?),
    }))
}

/// A text. What is no UTF-8 is replaced, as the server does where it writes JSON: whoever may write an object must not be able
/// to make a list unreadable.
fn text(bytes: &[u8]) -> Cow<'_, str> {
    // What is looked through in one go first is nearly all of it.
    str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// A time, to the second, as the server writes it in JSON; a message without anything stands for none
/// (k8s.io/apimachinery, `pkg/apis/meta/v1/time_proto.go`).
fn time(message: &[u8]) -> Result<Option<Document<'_>>, Malformed> {
    if message.is_empty() {
        return Ok(None);
    }
    let mut seconds = 0;
    for entry in Message::new(message) {
        let entry = entry?;
        if entry.number == 1 {
            seconds = entry.varint()?.cast_signed();
        }
    }
    // One that no calendar has is still one: the reader sees that it is no text.
    Ok(Some(match jiff::Timestamp::from_second(seconds) {
        Ok(time) => Document::String(time.to_string().into()),
        Err(_) => Document::Number(seconds.into()),
    }))
}

fn is_zero(value: &Document<'_>) -> bool {
    match value {
        Document::String(text) => text.is_empty(),
        Document::Number(number) => number.as_i64() == Some(0),
        Document::Bool(value) => !value,
        Document::Null => true,
        Document::Array(_) | Document::Object(_) => false,
    }
}
