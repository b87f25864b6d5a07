//! Objects with only the fields that decide, picked out while they are parsed.
//!
//! A Pod of the API server is tens of kilobytes once it is decoded whole; what policies ask of it is a few hundred bytes.
//! What is kept stays plain JSON, so that it is read by the one reader that also reads manifests.

use std::{fmt, marker::PhantomData};

use kube::{
    Resource,
    core::{ClusterResourceScope, NamespaceResourceScope, ObjectMeta},
};
use netpol_policy::model::Kind;
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, IgnoredAny, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Value};

/// Which fields of an object are kept.
#[derive(Debug)]
pub(super) enum Fields {
    /// The whole value.
    All,
    /// Of an object these fields; of a list the same of every element.
    Of(&'static [(&'static str, Self)]),
}

use Fields::{All, Of};

const METADATA: Fields = Of(&[
    ("name", All),
    ("namespace", All),
    ("uid", All),
    ("resourceVersion", All),
    ("labels", All),
    ("annotations", Of(&[("kubernetes.io/config.mirror", All), ("netpol.io/source-prefixes", All)])),
    ("creationTimestamp", All),
    ("deletionTimestamp", All),
]);

const CONTAINERS: Fields = Of(&[
    ("restartPolicy", All),
    (
        "ports",
        Of(&[("name", All), ("containerPort", All), ("protocol", All), ("hostPort", All), ("hostIP", All)]),
    ),
]);

const POD: Fields = Of(&[
    ("metadata", METADATA),
    (
        "spec",
        Of(&[
            ("nodeName", All),
            ("hostNetwork", All),
            ("containers", CONTAINERS),
            ("initContainers", CONTAINERS),
        ]),
    ),
    (
        "status",
        Of(&[
            ("phase", All),
            ("podIP", All),
            ("podIPs", All),
            ("conditions", Of(&[("type", All), ("status", All)])),
        ]),
    ),
]);

const NAMESPACE: Fields = Of(&[("metadata", METADATA)]);
const NODE: Fields = Of(&[("metadata", METADATA), ("status", Of(&[("addresses", All)]))]);
const SERVICE: Fields =
    Of(&[("metadata", METADATA), ("spec", All), ("status", Of(&[("loadBalancer", All)]))]);
const ENDPOINT_SLICE: Fields = Of(&[
    ("metadata", METADATA),
    ("addressType", All),
    ("endpoints", Of(&[("addresses", All), ("conditions", All), ("nodeName", All)])),
    ("ports", All),
]);
// The whole of it: a field that we do not know must be noticed.
const POLICY: Fields = Of(&[("apiVersion", All), ("metadata", METADATA), ("spec", All)]);

/// A kind as the API server serves it.
pub(super) trait Served: fmt::Debug + Clone + Send + Sync + 'static {
    /// Which of its fields are kept.
    const FIELDS: &'static Fields;
    /// The kind.
    const KIND: Kind;
    /// The name in the server's paths.
    const PLURAL: &'static str;
    /// Of the cluster or of a namespace.
    type Scope;
}

macro_rules! served {
    ($($name:ident, $plural:literal, $fields:ident, $scope:ident;)*) => {$(
        #[derive(Clone, Copy, Debug)]
        pub(super) struct $name;

        impl Served for $name {
            const FIELDS: &'static Fields = &$fields;
            const KIND: Kind = Kind::$name;
            const PLURAL: &'static str = $plural;
            type Scope = $scope;
        }
    )*};
}

served! {
    Namespace, "namespaces", NAMESPACE, ClusterResourceScope;
    Node, "nodes", NODE, ClusterResourceScope;
    Pod, "pods", POD, NamespaceResourceScope;
    Service, "services", SERVICE, NamespaceResourceScope;
    EndpointSlice, "endpointslices", ENDPOINT_SLICE, NamespaceResourceScope;
    NetworkPolicy, "networkpolicies", POLICY, NamespaceResourceScope;
}

/// An object of the kind `S` with only the fields that are kept.
#[derive(Clone, Debug)]
pub(super) struct Kept<S> {
    /// Its name and version, as kube asks for them.
    meta: ObjectMeta,
    /// What is kept of it.
    pub(super) value: Value,
    kind: PhantomData<S>,
}

impl<'de, S: Served> Deserialize<'de> for Kept<S> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = S::FIELDS.deserialize(deserializer)?;
        let text = |name: &str| {
            value.get("metadata").and_then(|meta| meta.get(name)).and_then(Value::as_str).map(str::to_owned)
        };
        let meta = ObjectMeta {
            name: text("name"),
            namespace: text("namespace"),
            resource_version: text("resourceVersion"),
            ..ObjectMeta::default()
        };
        Ok(Self { meta, value, kind: PhantomData })
    }
}

impl<S: Served> Resource for Kept<S> {
    type DynamicType = ();
    type Scope = S::Scope;

    fn kind(_: &()) -> std::borrow::Cow<'_, str> {
        S::KIND.name().into()
    }

    fn group(_: &()) -> std::borrow::Cow<'_, str> {
        let version = netpol_policy::read::api_version(S::KIND);
        version.split_once('/').map_or("", |(group, _)| group).into()
    }

    fn version(_: &()) -> std::borrow::Cow<'_, str> {
        let version = netpol_policy::read::api_version(S::KIND);
        version.split_once('/').map_or(version, |(_, version)| version).into()
    }

    fn plural(_: &()) -> std::borrow::Cow<'_, str> {
        S::PLURAL.into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.meta
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.meta
    }
}

impl<'de> DeserializeSeed<'de> for &'static Fields {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        match self {
            All => Value::deserialize(deserializer),
            Of(fields) => deserializer.deserialize_any(Picking(self, fields)),
        }
    }
}

/// Visits a value of which some fields are kept. A value that is neither object nor list is kept as it is: the reader
/// says what is wrong with it.
struct Picking(&'static Fields, &'static [(&'static str, Fields)]);

impl<'de> Visitor<'de> for Picking {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut kept = Map::new();
        while let Some(field) = map.next_key_seed(Name(self.1))? {
            match field {
                Some((name, fields)) => {
                    kept.insert((*name).to_owned(), map.next_value_seed(fields)?);
                }
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(Value::Object(kept))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut kept = Vec::new();
        while let Some(element) = list.next_element_seed(self.0)? {
            kept.push(element);
        }
        Ok(Value::Array(kept))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }
}

/// Finds a field by its name, without a copy of the name.
struct Name(&'static [(&'static str, Fields)]);

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<&'static (&'static str, Fields)>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<&'static (&'static str, Fields)>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a field")
    }

    fn visit_str<E>(self, name: &str) -> Result<Self::Value, E> {
        Ok(self.0.iter().find(|(field, _)| *field == name))
    }
}

#[cfg(test)]
mod tests;
