//! YAML documents as JSON values, as far as manifests need it.

use anyhow::{Context as _, Result, bail};
use saphyr::{LoadableYamlNode as _, Scalar, Yaml};
use serde_json::{Map, Value};

/// Every document of a text that is not empty.
///
/// # Errors
/// When it is no YAML, or holds what JSON cannot express.
pub fn documents(text: &str) -> Result<Vec<Value>> {
    let documents = Yaml::load_from_str(text).context("this is no YAML")?;
    documents.iter().map(value).filter(|value| !matches!(value, Ok(Value::Null))).collect()
}

fn value(node: &Yaml<'_>) -> Result<Value> {
    Ok(match node {
        Yaml::Value(scalar) => match scalar {
            Scalar::Null => Value::Null,
            Scalar::Boolean(value) => Value::Bool(*value),
            Scalar::Integer(value) => Value::from(*value),
            Scalar::FloatingPoint(value) => Value::from(value.into_inner()),
            Scalar::String(value) => Value::from(value.as_ref()),
        },
        Yaml::Sequence(items) => Value::Array(items.iter().map(value).collect::<Result<_>>()?),
        Yaml::Mapping(entries) => {
            let mut map = Map::new();
            for (key, entry) in entries {
                let Value::String(key) = value(key)? else { bail!("a key is no string") };
                map.insert(key, value(entry)?);
            }
            Value::Object(map)
        }
        other => bail!("this cannot stand in a manifest: {other:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::documents;
    use serde_json::json;

    #[test]
    fn documents_become_values() {
        let read = documents("a: 1\nb: [x, {c: true}]\n---\n# nothing\n---\nd: \"2\"\n").expect("it is YAML");
        assert_eq!(read, [json!({"a": 1, "b": ["x", {"c": true}]}), json!({"d": "2"})]);
    }
}
