//! JSON of which only some fields are kept, picked out while it is parsed: the others are passed over without a copy, and the
//! texts that are kept stay where they are, but for those with escapes.

use std::{borrow::Cow, fmt};

use netpol_policy::read::{Document, Object};
use serde::{
    Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::Number;

use super::{
    Field,
    Kept::{self, All, Always, Each, Keys, Map, Of, One},
};

/// What is kept of a text of JSON.
///
/// # Errors
/// When it is none, or more than one value.
pub(in super::super) fn pick<'t>(kept: &'static Kept, text: &'t [u8]) -> serde_json::Result<Document<'t>> {
    let mut parser = serde_json::Deserializer::from_slice(text);
    let value = kept.deserialize(&mut parser)?;
    parser.end()?;
    Ok(value)
}

impl<'de> DeserializeSeed<'de> for &'static Kept {
    type Value = Document<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Document<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

/// A value that is neither object nor list is kept as it is, whatever was expected: the reader says what is wrong with it.
impl<'de> Visitor<'de> for &'static Kept {
    type Value = Document<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Document<'de>, A::Error> {
        let mut kept = Object::default();
        match self {
            All | One(_) | Always(_) | Map => {
                while let Some(name) = map.next_key_seed(Name)? {
                    kept.push(name, map.next_value_seed(&All)?);
                }
            }
            Of(fields) | Each(fields) => {
                while let Some(field) = map.next_key_seed(Known(|name: &str| known(fields, name)))? {
                    if let Some(field) = field {
                        kept.push(field.name, map.next_value_seed(&field.kept)?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
            }
            Keys(keys) => {
                while let Some(key) = map.next_key_seed(Known(|name: &str| key(keys, name)))? {
                    if let Some(key) = key {
                        kept.push(key, map.next_value_seed(&All)?);
                    } else {
                        map.next_value::<IgnoredAny>()?;
                    }
                }
            }
        }
        Ok(Document::Object(kept))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Document<'de>, A::Error> {
        let mut kept = Vec::new();
        while let Some(element) = list.next_element_seed(self)? {
            kept.push(element);
        }
        Ok(Document::Array(kept))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Document<'de>, E> {
        Ok(Document::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Document<'de>, E> {
        Ok(Document::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Document<'de>, E> {
        Ok(Document::Number(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Document<'de>, E> {
        Ok(Number::from_f64(value).map_or(Document::Null, Document::Number))
    }

    fn visit_borrowed_str<E>(self, value: &'de str) -> Result<Document<'de>, E> {
        Ok(Document::String(value.into()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Document<'de>, E> {
        Ok(Document::String(value.to_owned().into()))
    }

    fn visit_unit<E>(self) -> Result<Document<'de>, E> {
        Ok(Document::Null)
    }
}

/// The name of a field.
struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Name {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Self::Value, E> {
        Ok(name.into())
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(name.to_owned().into())
    }
}

fn known(fields: &'static [Field], name: &str) -> Option<&'static Field> {
    fields.iter().find(|field| field.name == name)
}

fn key(keys: &'static [&'static str], name: &str) -> Option<&'static str> {
    keys.iter().copied().find(|key| *key == name)
}

/// Finds what is kept under the name of a field, without a copy of the name.
struct Known<F>(F);

impl<'de, T, F: FnOnce(&str) -> Option<T>> DeserializeSeed<'de> for Known<F> {
    type Value = Option<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<T, F: FnOnce(&str) -> Option<T>> Visitor<'_> for Known<F> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0(name))
    }
}
