//! `netpol lint` as it is typed: what it exits with, and what it writes where.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Output, Stdio},
};

const POLICY: &str = "\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: p, namespace: x, annotations: {description: closes everything}}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
";

fn lint(dir: &Path, arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_netpol")).arg("lint").args(arguments).current_dir(dir).output().unwrap()
}

fn code(dir: &Path, arguments: &[&str]) -> i32 {
    lint(dir, arguments).status.code().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_exit_code_says_whether_what_is_denied_was_found() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    for (name, text) in [
        ("fine", POLICY.to_owned()),
        ("info", POLICY.replace("description", "other")),
        ("warning", POLICY.replace("[Ingress, Egress]", "[Ingress]")),
        ("error", POLICY.replace("[Ingress, Egress]", "[Ingress, Egres]")),
    ] {
        fs::create_dir(dir.join(name)).unwrap();
        fs::write(dir.join(name).join("p.yaml"), text).unwrap();
    }
    for (arguments, expected) in [
        (&["fine", "--deny", "info"][..], 0),
        (&["info"], 0),
        (&["info", "--deny", "warning"], 0),
        (&["info", "--deny", "info"], 1),
        (&["info", "--deny", "undocumented-policy"], 1),
        (&["info", "--deny", "info", "--allow", "undocumented-policy"], 0),
        (&["warning"], 0),
        (&["warning", "--deny", "warning"], 1),
        (&["warning", "--deny", "rule-covered"], 0),
        (&["fine", "warning", "--deny", "warning"], 1),
        (&["error"], 1),
        (&["error/p.yaml"], 1),
        (&["error", "--deny", "warning", "-o", "sarif"], 1),
        (&["nowhere"], 2),
        (&[], 2),
        (&["fine", "--deny", "no-such-id"], 2),
        (&["fine", "--allow", "warning"], 2),
        (&["--list"], 0),
        (&["--explain", "rule-covered"], 0),
        (&["--explain", "no-such-id"], 2),
    ] {
        assert_eq!(code(dir, arguments), expected, "{arguments:?}");
    }
    fs::create_dir(dir.join("empty")).unwrap();
    assert_eq!(code(dir, &["empty"]), 2, "a folder without manifests is a slip of the pen, not a clean one");
}

#[test]
fn places_are_relative_to_where_it_is_typed_and_there_are_no_colours_in_a_pipe() {
    let dir = tempfile::tempdir().unwrap();
    let dir = fs::canonicalize(dir.path()).unwrap();
    fs::create_dir(dir.join("a")).unwrap();
    fs::write(dir.join("a/p.yaml"), POLICY.replace("description", "other")).unwrap();
    let whole = dir.join("a");
    for root in ["a", "./a", whole.to_str().unwrap()] {
        let text = stdout(&lint(&dir, &[root]));
        assert!(text.starts_with("a/p.yaml:3: info[undocumented-policy]: x/p "), "{text}");
        assert!(text.ends_with("0 errors, 0 warnings, 1 info in 1 policy of 1 file\n"), "{text}");
        assert!(!text.contains('\u{1b}'), "{text}");
    }
    let sarif: serde_json::Value = serde_json::from_str(&stdout(&lint(&dir, &["a", "-o", "sarif"]))).unwrap();
    let location = &sarif["runs"][0]["results"][0]["locations"][0]["physicalLocation"];
    assert_eq!(location["artifactLocation"]["uri"], "a/p.yaml");
}

#[test]
fn a_folder_whose_hidden_files_are_wrong_is_fine() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("p.yaml"), POLICY).unwrap();
    fs::write(dir.path().join(".p.yaml"), "a: [").unwrap();
    assert_eq!(code(dir.path(), &["."]), 0);
}

#[test]
fn the_examples_have_no_error() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let output = lint(&root, &["examples"]);
    assert_eq!(output.status.code(), Some(0));
    assert!(stdout(&output).contains("0 errors, "), "{}", stdout(&output));
}

#[test]
fn what_another_program_puts_out_is_read_from_the_standard_input() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_netpol"))
        .args(["lint", "-", "--deny", "info"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(POLICY.replace("description", "other").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stdout(&output).starts_with("stdin:3: info[undocumented-policy]: "), "{}", stdout(&output));
}
