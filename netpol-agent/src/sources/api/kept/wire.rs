//! Messages of protobuf, field by field, as <https://protobuf.dev/programming-guides/encoding> says. Nothing is copied, and
//! what nobody asks for is passed over by its length.
//!
//! A reader of our own, as it is less than what calls one: generated types would copy every field, and of most we keep none.

use thiserror::Error;

/// The most bytes of a number of 64 bits, seven of which each byte has.
const LONGEST_VARINT: usize = 10;

/// What is wrong with a message.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(in super::super) enum Malformed {
    #[error("a message of protobuf ends in the middle of a number")]
    Half,
    #[error("a message of protobuf says that {said} bytes follow, and {left} do")]
    Short { said: u64, left: usize },
    #[error("a number in a message of protobuf is longer than {LONGEST_VARINT} bytes")]
    Varint,
    #[error("a message of protobuf has a field with the number {0}, which none can have")]
    Number(u64),
    #[error("a message of protobuf has a field of the wire type {0}, which is not known")]
    WireType(u8),
    #[error("a group in a message of protobuf ends without a beginning")]
    GroupEnd,
    #[error("a group in a message of protobuf does not end")]
    Group,
    #[error("field {0} of a message of protobuf has another type than it should have")]
    Type(u32),
}

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Value<'t> {
    /// A number, or yes or no.
    Varint(u64),
    /// A text, bytes or another message.
    Bytes(&'t [u8]),
    /// Of a type that no field that is kept has: a number of fixed length, or a group.
    Other,
}

/// A field of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) struct Entry<'t> {
    pub(in super::super) number: u32,
    pub(in super::super) value: Value<'t>,
}

impl<'t> Entry<'t> {
    pub(in super::super) const fn bytes(self) -> Result<&'t [u8], Malformed> {
        if let Value::Bytes(bytes) = self.value { Ok(bytes) } else { Err(Malformed::Type(self.number)) }
    }

    pub(super) const fn varint(self) -> Result<u64, Malformed> {
        if let Value::Varint(number) = self.value { Ok(number) } else { Err(Malformed::Type(self.number)) }
    }
}

/// The fields of a message, in the order in which they stand. Nothing comes after an error.
#[derive(Clone, Debug)]
pub(in super::super) struct Message<'t>(&'t [u8]);

impl<'t> Message<'t> {
    pub(in super::super) const fn new(bytes: &'t [u8]) -> Self {
        Self(bytes)
    }

    /// The field of this number that is another message or bytes; the last one, if there are several, and nothing without one.
    pub(in super::super) fn last(self, number: u32) -> Result<&'t [u8], Malformed> {
        let mut found = &[][..];
        for entry in self {
            let entry = entry?;
            if entry.number == number {
                found = entry.bytes()?;
            }
        }
        Ok(found)
    }

    // This and what it calls is put where it is called: what it returns would be copied from function to function, and that is most
    // of what a field costs.
    #[inline(always)]
    fn entry(&mut self) -> Result<Entry<'t>, Malformed> {
        let (number, wire_type) = self.tag()?;
        let value = match wire_type {
            3 => {
                self.pass_group()?;
                Value::Other
            }
            4 => return Err(Malformed::GroupEnd),
            other => self.value(other)?,
        };
        Ok(Entry { number, value })
    }

    /// A value that is no group.
    #[inline(always)]
    fn value(&mut self, wire_type: u8) -> Result<Value<'t>, Malformed> {
        match wire_type {
            0 => self.varint().map(Value::Varint),
            1 => self.take(8).map(|_| Value::Other),
            2 => {
                let length = self.varint()?;
                self.take(length).map(Value::Bytes)
            }
            5 => self.take(4).map(|_| Value::Other),
            other => Err(Malformed::WireType(other)),
        }
    }

    /// Passes a group that has begun. Groups may lie in it, as many as there are bytes: they are counted.
    fn pass_group(&mut self) -> Result<(), Malformed> {
        let mut open = 1_usize;
        while open > 0 {
            if self.0.is_empty() {
                return Err(Malformed::Group);
            }
            match self.tag()?.1 {
                3 => open += 1,
                4 => open -= 1,
                other => _ = self.value(other)?,
            }
        }
        Ok(())
    }

    /// The number of a field, and its wire type.
    #[inline(always)]
    fn tag(&mut self) -> Result<(u32, u8), Malformed> {
        let tag = self.varint()?;
        let number = tag >> 3;
        match u32::try_from(number) {
            Ok(small) if (1..1 << 29).contains(&small) => Ok((small, (tag & 7) as u8)),
            _ => Err(Malformed::Number(number)),
        }
    }

    #[inline(always)]
    fn varint(&mut self) -> Result<u64, Malformed> {
        // Most have one byte.
        if let [byte @ ..0x80, rest @ ..] = self.0 {
            self.0 = rest;
            return Ok(u64::from(*byte));
        }
        self.long_varint()
    }

    /// A number of any length.
    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut number = 0;
        for (index, byte) in self.0.iter().enumerate().take(LONGEST_VARINT) {
            // Of the tenth byte the highest bits have no place; what is written has none there.
            number |= u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                self.0 = &self.0[index + 1..];
                return Ok(number);
            }
        }
        Err(if self.0.len() < LONGEST_VARINT { Malformed::Half } else { Malformed::Varint })
    }

    #[inline(always)]
    fn take(&mut self, length: u64) -> Result<&'t [u8], Malformed> {
        let split = usize::try_from(length).ok().and_then(|length| self.0.split_at_checked(length));
        let (taken, rest) = split.ok_or(Malformed::Short { said: length, left: self.0.len() })?;
        self.0 = rest;
        Ok(taken)
    }
}

impl<'t> Iterator for Message<'t> {
    type Item = Result<Entry<'t>, Malformed>;

    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let entry = self.entry();
        if entry.is_err() {
            self.0 = &[];
        }
        Some(entry)
    }
}
