//! Which fields of an object are kept: one tree says it for both encodings of the API, [`json`] and [`protobuf`], and what is
//! picked out of either is the same document.

#[cfg(test)]
pub(super) mod encoded;
pub(super) mod json;
pub(super) mod protobuf;
pub(super) mod wire;

/// A field that is kept.
#[derive(Debug)]
pub(super) struct Field {
    name: &'static str,
    /// What the field is called in a message of protobuf; 0, which none is, where it is asked for in JSON only.
    number: u32,
    kept: Kept,
}

impl Field {
    /// A field of both encodings. Its number is in the `generated.proto` beside the Go type.
    pub(super) const fn new(name: &'static str, number: u32, kept: Kept) -> Self {
        Self { name, number, kept }
    }

    /// A field of what is asked for in JSON.
    pub(super) const fn json(name: &'static str, kept: Kept) -> Self {
        Self::new(name, 0, kept)
    }
}

/// What is kept of a value. JSON says itself what a value is, so that there one of another type is kept as it is: the reader says
/// what is wrong with it.
#[derive(Debug)]
pub(super) enum Kept {
    /// All of it, whatever it is. In JSON only.
    All,
    /// A value of this type, unless it is zero or empty: JSON leaves it out then (`omitempty` in the Go type), while protobuf
    /// says it.
    One(Type),
    /// The same, also when it is zero or empty: one of the few fields that JSON does not leave out, or one that can be unset.
    Always(Type),
    /// Of an object these fields.
    Of(&'static [Field]),
    /// Of each object of a list these fields.
    Each(&'static [Field]),
    /// A map of texts.
    Map,
    /// Of a map of texts these.
    Keys(&'static [&'static str]),
}

impl Kept {
    /// The fields that are kept, of an object or of each in a list.
    pub(super) const fn fields(&self) -> &'static [Field] {
        match self {
            Self::Of(fields) | Self::Each(fields) => fields,
            Self::All | Self::One(_) | Self::Always(_) | Self::Map | Self::Keys(_) => &[],
        }
    }
}

/// What protobuf has to be told of a value.
#[derive(Clone, Copy, Debug)]
pub(super) enum Type {
    /// A text, also one of a fixed set.
    Text,
    /// A whole number.
    Number,
    /// Yes or no.
    Flag,
    /// A `metav1.Time`: a message here, and in JSON a text as RFC 3339 has it.
    Time,
}

#[cfg(test)]
mod tests;
