//! Messages of protobuf for the tests, written without what reads them.

/// A number of seven bits a byte.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

/// What stands in front of a field's value.
pub(in super::super) fn tag(field: u32, wire_type: u8) -> Vec<u8> {
    varint(u64::from(field) << 3 | u64::from(wire_type))
}

/// A number, or yes or no.
pub(in super::super) fn number(field: u32, value: i64) -> Vec<u8> {
    [tag(field, 0), varint(value.cast_unsigned())].concat()
}

/// Bytes.
pub(in super::super) fn bytes(field: u32, value: &[u8]) -> Vec<u8> {
    [tag(field, 2), varint(value.len() as u64), value.to_vec()].concat()
}

/// A text.
pub(in super::super) fn text(field: u32, value: &str) -> Vec<u8> {
    bytes(field, value.as_bytes())
}

/// Another message.
pub(in super::super) fn packed(field: u32, fields: &[Vec<u8>]) -> Vec<u8> {
    bytes(field, &fields.concat())
}

/// A map of texts.
pub(in super::super) fn map(field: u32, entries: &[(&str, &str)]) -> Vec<u8> {
    entries.iter().flat_map(|(key, value)| packed(field, &[text(1, key), text(2, value)])).collect()
}
