use serde_json::json;

use super::*;

fn values(text: &str) -> Vec<Value> {
    parse(text).unwrap().into_iter().map(|d| d.value).collect()
}

#[test]
fn a_file_holds_several_documents_and_empty_ones_are_nothing() {
    let text = "---\nkind: A\n---\n---\n# only a comment\n---\nkind: B\n";
    assert_eq!(values(text), [json!({"kind": "A"}), json!({"kind": "B"})]);
    assert_eq!(values(""), Vec::<Value>::new());
}

#[test]
fn a_list_is_taken_apart_also_within_a_list() {
    let text = "kind: List\napiVersion: v1\nitems:\n- kind: A\n- kind: List\n  items:\n  - kind: B\n";
    assert_eq!(values(text), [json!({"kind": "A"}), json!({"kind": "B"})]);
    assert_eq!(values("kind: List\nitems: null\n"), Vec::<Value>::new());
}

#[test]
fn items_of_a_typed_list_inherit_its_kind() {
    let text = "apiVersion: v1\nkind: PodList\nitems:\n- metadata: {name: a}\n";
    assert_eq!(values(text), [json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}})]);
}

#[test]
fn json_is_read_too() {
    let text = "{\n\t\"kind\": \"List\",\n\t\"items\": [\n\t\t{\"kind\": \"A\", \"port\": 80, \"name\": \"80\"}\n\t]\n}\n";
    assert_eq!(values(text), [json!({"kind": "A", "port": 80, "name": "80"})]);
}

#[test]
fn quoted_numbers_stay_text() {
    assert_eq!(
        values("a: \"80\"\nb: 80\nc: 'true'\nd: ~\n"),
        [json!({"a": "80", "b": 80, "c": "true", "d": null})]
    );
}

#[test]
fn every_field_knows_its_line() {
    let text = "kind: A\n---\nkind: B\nspec:\n  ingress:\n  - from:\n    - ipBlock:\n        cidr: 1\n";
    let documents = parse(text).unwrap();
    let b = &documents[1];
    assert_eq!(b.line, 3);
    assert_eq!(b.line_of("spec.ingress[0].from[0].ipBlock.cidr"), 8);
    assert_eq!(
        b.line_of("spec.ingress[0].from[0].ipBlock.except[2]"),
        7,
        "what is missing is where it should be"
    );
    assert_eq!(b.line_of("metadata.name"), 3);
}

#[test]
fn objects_of_a_list_know_their_lines() {
    let documents = parse("kind: List\nitems:\n- kind: A\n- kind: B\n  spec: 1\n").unwrap();
    assert_eq!((documents[0].line, documents[1].line), (3, 4));
    assert_eq!(documents[1].line_of("spec"), 5);
}

#[test]
fn what_is_no_yaml_says_the_line() {
    let error = parse("kind: A\n---\nkind: [B\nspec: }\n").unwrap_err();
    assert!(error.line >= 3, "{error:?}");
    assert!(parse("a: &x [*y]\n").is_err());
}

#[test]
fn a_key_that_stands_there_twice_is_an_error_since_one_of_them_would_be_lost() {
    assert!(parse("kind: A\nspec:\n  ports: [1]\n  ports: []\n").is_err());
}
