use std::collections::BTreeSet;

use clap::{CommandFactory as _, Parser};

use super::*;

#[derive(Parser)]
struct Command {
    #[command(flatten)]
    options: Options,
}

#[test]
fn flags_win_over_the_file_and_the_file_over_the_defaults() {
    let flags = Command::try_parse_from(["x", "--node", "a", "--table-peers", "7"]).unwrap().options;
    let file: Options =
        toml::from_str("node = \"b\"\nmanifests = \"/m\"\nhistory = 3\n[tables]\npeers = 9\nrules = 11\n")
            .unwrap();
    let config = flags.or(file).resolve().unwrap();
    assert_eq!((config.node.as_str(), config.history), ("a", 3));
    assert_eq!((config.sizes.peers, config.sizes.rules), (7, 11));
    assert_eq!(config.socket, Path::new(SOCKET));
}

#[test]
fn a_file_that_says_something_unknown_is_refused() {
    assert!(toml::from_str::<Options>("nodes = \"b\"").is_err());
    assert!(toml::from_str::<Options>("[tables]\npeer = 1").is_err());
}

#[test]
fn the_help_states_the_defaults_that_are_used() {
    let help: String =
        Command::command().render_long_help().to_string().split_whitespace().collect::<Vec<_>>().join(" ");
    let sizes = Sizes::default();
    for default in [
        BPFFS.to_owned(),
        CNI_CACHE.to_owned(),
        SOCKET.to_owned(),
        SANDBOX_FOLDER.to_owned(),
        format!("{}, as containerd names them, and UUIDs, as CRI-O does", SANDBOXES[0]),
        HISTORY.to_string(),
        FRONTEND_GRACE.to_string(),
        HOOK_LINGER.to_string(),
        LOG.to_owned(),
        sizes.peers.to_string(),
        sizes.prefixes.to_string(),
        sizes.policy_sets.to_string(),
        sizes.rules.to_string(),
        sizes.port_chunks.to_string(),
        sizes.frontends.to_string(),
        sizes.flows_per_pod.to_string(),
        sizes.ring_bytes.to_string(),
    ] {
        assert!(help.contains(&format!("[default: {default}]")), "{default} is not in the help");
    }
}

/// The names of all flags of [`Options`].
fn flags() -> BTreeSet<String> {
    let command = Command::command();
    command.get_arguments().filter_map(|argument| argument.get_long().map(str::to_owned)).collect()
}

#[test]
fn every_flag_is_in_the_document_for_operators() {
    let documented: BTreeSet<String> = include_str!("../../../docs/configure.md")
        .lines()
        .filter_map(|line| line.strip_prefix("| `--"))
        .filter_map(|line| line.split_once(['`', ' ']))
        .map(|(name, _)| name.to_owned())
        .collect();
    assert!(documented.len() > 30);
    assert_eq!(documented, flags());
}

#[test]
fn the_chart_takes_every_flag_that_it_does_not_set_itself() {
    let schema: serde_json::Value =
        serde_json::from_str(include_str!("../../../deploy/chart/values.schema.json")).unwrap();
    let taken = schema["properties"]["agent"]["properties"].as_object().unwrap().keys().cloned();
    // Places in the container, which hold what `hostPaths` says; the source of objects; and what has values of its own.
    let set = [
        "bpffs",
        "cni-cache",
        "context",
        "kubeconfig",
        "manifests",
        "metrics",
        "node",
        "sandbox-folder",
        "socket",
        "startup-taint",
    ];
    let all: BTreeSet<String> = taken.chain(set.map(str::to_owned)).collect();
    assert_eq!(all, flags());
}

#[test]
fn without_a_source_of_objects_it_says_what_to_give() {
    let error = Options::default().resolve().unwrap_err().to_string();
    assert!(error.contains("--manifests"));
}
