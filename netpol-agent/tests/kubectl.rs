//! `kubectl netpol` and what it runs at the agents, as they are typed.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{net::UnixListener, process::CommandExt as _},
    path::Path,
    process::{Command, Output, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

/// Longer than anything here may take.
const LATE: Duration = Duration::from_secs(30);

fn plugin(arguments: &[&str]) -> Output {
    let nowhere = tempfile::tempdir().unwrap();
    Command::new(env!("CARGO_BIN_EXE_netpol"))
        .arg0("/usr/local/bin/kubectl-netpol")
        .args(arguments)
        .env_remove("KUBECONFIG")
        .env_remove("KUBERNETES_SERVICE_HOST")
        .env("HOME", nowhere.path())
        .output()
        .unwrap()
}

fn relay(socket: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_netpol"));
    command.args(["relay", "--socket"]).arg(socket);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn by_its_name_it_is_a_plugin_of_kubectl() {
    let help = plugin(&["--help"]);
    assert!(help.status.success());
    let help = text(&help.stdout);
    assert!(help.contains("Usage: kubectl netpol <COMMAND>") && !help.contains("lint"), "{help}");
    let completed = plugin(&["__complete", "ex"]);
    assert!(text(&completed.stdout).starts_with("explain\t"), "{completed:?}");
}

#[test]
fn without_a_cluster_it_fails_and_says_how_to_name_one() {
    for arguments in [&["status"][..], &["observe", "-n", "production"], &["policy", "list"]] {
        let output = plugin(arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        assert!(text(&output.stderr).contains("--kubeconfig"), "{output:?}");
    }
    let output = plugin(&["status", "--kubeconfig", "/nowhere/config"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(text(&output.stderr).contains("/nowhere/config"), "{output:?}");
}

#[test]
fn a_relay_carries_both_ways_and_ends_with_the_agent() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let agent = thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        let mut asked = String::new();
        BufReader::new(&stream).read_line(&mut asked).unwrap();
        (&stream).write_all(b"an answer\n").unwrap();
        asked
    });
    let mut relay = relay(&socket).spawn().unwrap();
    // It stays open: the agent ends it.
    let mut stdin = relay.stdin.take().unwrap();
    stdin.write_all(b"a question\n").unwrap();
    let mut answer = String::new();
    relay.stdout.take().unwrap().read_to_string(&mut answer).unwrap();
    assert_eq!((agent.join().unwrap().as_str(), answer.as_str()), ("a question\n", "an answer\n"));
    assert!(relay.wait().unwrap().success());
    drop(stdin);
}

#[test]
fn a_relay_whose_client_has_gone_ends_though_the_agent_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("sock");
    let listener = UnixListener::bind(&socket).unwrap();
    let (ended, ends) = mpsc::channel();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut all = String::new();
        // The agent hears of it, and does not care.
        stream.read_to_string(&mut all).unwrap();
        ended.send(()).unwrap();
        thread::sleep(LATE);
    });
    let begun = Instant::now();
    let mut relay = relay(&socket).spawn().unwrap();
    drop(relay.stdin.take());
    ends.recv_timeout(LATE).unwrap();
    assert_eq!(relay.wait().unwrap().code(), Some(2));
    assert!(begun.elapsed() < LATE);
}

#[test]
fn a_relay_without_an_agent_says_so() {
    let output = relay(Path::new("/nowhere/sock")).stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text(&output.stderr).contains("no agent is running"), "{output:?}");
}
