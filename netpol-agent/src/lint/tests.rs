use netpol_policy::lint::CHECKS;
use serde_json::{Value, json};

use super::{
    text::{Colour, render},
    *,
};
use crate::sources::manifests::document::parse;

const POLICIES: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: closed
  namespace: x
  annotations:
    kubernetes.io/description: Nothing in, nothing out.
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: api
  namespace: x
  annotations:
    kubernetes.io/description: The frontend calls the API.
spec:
  podSelector:
    matchLabels:
      app: api
  policyTypes: [Ingress]
  ingress:
    - from:
        - podSelector:
            matchLabels:
              app: fronted
        - ipBlock:
            cidr: 10.0.0.0/33
";

const WORKLOADS: &str = "\
kind: List
apiVersion: v1
items:
  - apiVersion: apps/v1
    kind: Deployment
    metadata: {name: frontend, namespace: x}
    spec:
      template:
        metadata:
          labels: {app: frontend}
  - apiVersion: apps/v1
    kind: Deployment
    metadata: {name: api, namespace: x}
    spec:
      template:
        metadata:
          labels: {app: api}
";

fn file(path: &str, text: &str) -> File {
    File { path: path.into(), documents: parse(text) }
}

fn judged(files: &[(&str, &str)]) -> Linted {
    let files: Vec<File> = files.iter().map(|(path, text)| file(path, text)).collect();
    judge(&files, &[], &BTreeSet::new())
}

#[test]
fn a_finding_stands_at_the_line_of_its_field() {
    let text = render(&judged(&[("p.yaml", POLICIES), ("w.yaml", WORKLOADS)]), Colour::Never);
    assert_eq!(
        text,
        "\
p.yaml:26: warning[selector-matches-nothing]: x/api spec.ingress[0].from[0].podSelector: rule 1: podSelector app=fronted matches no pod of namespace x: did you mean app=frontend? No pod of namespace x has app=fronted
  why: the item allows nobody
  fix: correct the selector or the labels, or remove the item
p.yaml:30: error[invalid-object]: x/api spec.ingress[0].from[1].ipBlock.cidr: \"10.0.0.0/33\" is no CIDR: the peer matches nothing
  why: the API server refuses such an object or drops the field; netpol lets nothing through that it cannot read
  fix: write an address, a slash and the length of the prefix
1 error, 1 warning, 0 infos in 2 policies of 2 files
"
    );
}

#[test]
fn an_object_that_stands_twice_is_reported_where_it_stands_the_second_time() {
    let linted = judged(&[("a.yaml", POLICIES), ("b.yaml", POLICIES)]);
    let twice: Vec<&Placed> =
        linted.findings.iter().filter(|one| one.finding.id == "duplicate-object").collect();
    assert_eq!(twice.len(), 2);
    assert_eq!((twice[0].file.to_str(), twice[0].line), (Some("b.yaml"), 1));
    assert!(twice[1].finding.message.contains("a.yaml:12"), "{}", twice[1].finding.message);
    assert_eq!(linted.summary.policies, 2);
}

#[test]
fn a_file_that_is_no_yaml_is_an_error_and_the_rest_is_judged() {
    let linted = judged(&[("a.yaml", "kind: [A\nb: }\n"), ("b.yaml", POLICIES)]);
    assert_eq!(linted.findings[0].finding.id, "unreadable-file");
    assert!(linted.findings.len() > 1);
}

#[test]
fn a_kind_and_a_name_that_are_hostile_are_escaped() {
    let text = "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: \"a\\e[2Jb\", namespace: x}\nspec: {template: {metadata: {labels: {a: 1}}}}\n";
    let text = render(&judged(&[("a\u{1b}.yaml", text)]), Colour::Never);
    assert!(text.contains("number") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn what_is_allowed_is_counted_and_not_shown() {
    let files = [file("p.yaml", POLICIES), file("w.yaml", WORKLOADS)];
    let linted = judge(&files, &[], &["selector-matches-nothing"].into());
    assert_eq!((linted.findings.len(), linted.summary.suppressed), (1, 1));
}

#[test]
fn colours_are_for_terminals() {
    let linted = judged(&[("p.yaml", POLICIES)]);
    assert!(render(&linted, Colour::Always).contains("\u{1b}[1;31merror[invalid-object]\u{1b}[0m"));
    assert!(!render(&linted, Colour::Never).contains('\u{1b}'));
}

#[test]
fn json_has_a_finding_with_its_place() {
    let linted = judged(&[("p.yaml", POLICIES), ("w.yaml", WORKLOADS)]);
    let value = serde_json::to_value(&linted).unwrap();
    assert_eq!(
        value["findings"][1],
        json!({
            "file": "p.yaml",
            "line": 30,
            "kind": "NetworkPolicy",
            "object": "x/api",
            "id": "invalid-object",
            "severity": "error",
            "field": "spec.ingress[0].from[1].ipBlock.cidr",
            "message": "\"10.0.0.0/33\" is no CIDR: the peer matches nothing",
            "why": "the API server refuses such an object or drops the field; netpol lets nothing through that it cannot read",
            "fix": "write an address, a slash and the length of the prefix",
        })
    );
    let expected =
        json!({"errors": 1, "warnings": 1, "infos": 0, "suppressed": 0, "policies": 2, "files": 2});
    assert_eq!(value["summary"], expected);
}

#[test]
fn sarif_has_what_the_format_requires() {
    let linted = judged(&[("dir/p q.yaml", POLICIES), ("w.yaml", WORKLOADS), ("n.yaml", "a: [\n")]);
    let log = sarif::log(&linted);
    assert_eq!(log["version"], "2.1.0");
    let run = &log["runs"][0];
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    assert_eq!(rules.len(), CHECKS.len());
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), linted.findings.len());
    for result in results {
        let rule = &rules[usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
        assert_eq!(rule["id"], result["ruleId"]);
        assert!(matches!(result["level"].as_str(), Some("error" | "warning" | "note")), "{result}");
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        let place = &result["locations"][0]["physicalLocation"];
        assert!(place["region"]["startLine"].as_u64().unwrap() > 0);
        assert!(!place["artifactLocation"]["uri"].as_str().unwrap().contains(' '));
        assert_eq!(result["partialFingerprints"]["netpolObjectAndField/v1"].as_str().unwrap().len(), 32);
    }
    let found = |id: &str| results.iter().find(|one| one["ruleId"] == id).unwrap();
    let invalid = found("invalid-object");
    assert_eq!(invalid["locations"][0]["physicalLocation"]["artifactLocation"]["uri"], "dir/p%20q.yaml");
    assert_eq!(
        invalid["locations"][0]["logicalLocations"][0]["fullyQualifiedName"],
        "NetworkPolicy/x/api spec.ingress[0].from[1].ipBlock.cidr"
    );
    assert_eq!(found("unreadable-file")["locations"][0].get("logicalLocations"), None);
}

#[test]
fn a_fingerprint_stays_when_lines_move() {
    let fingerprints = |text: &str| -> Vec<Value> {
        let log = sarif::log(&judged(&[("p.yaml", text), ("w.yaml", WORKLOADS)]));
        let results = log["runs"][0]["results"].as_array().unwrap();
        results.iter().map(|one| one["partialFingerprints"].clone()).collect()
    };
    assert_eq!(fingerprints(POLICIES), fingerprints(&format!("# moved\n\n{POLICIES}")));
}

#[test]
fn what_other_programs_keep_beside_the_manifests_is_noted_and_not_judged() {
    let values = "replicas: 3\nimage: a\n";
    let linted =
        judged(&[("p.yaml", POLICIES), ("values.yaml", values), ("w.yaml", WORKLOADS), ("x.yaml", "- 1\n")]);
    let expected = "values.yaml:1 and 1 more: no object of Kubernetes, as it has no kind; it was not judged";
    assert_eq!(linted.notes, [expected]);
    assert_eq!(linted.findings.len(), 2);
    let lost = judged(&[("p.yaml", "metadata: {name: a}\nspec: {}\n")]);
    assert_eq!(lost.findings[0].finding.id, "invalid-object", "an object that has lost its kind");
}
