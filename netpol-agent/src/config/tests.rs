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

#[test]
fn without_a_source_of_objects_it_says_what_to_give() {
    let error = Options::default().resolve().unwrap_err().to_string();
    assert!(error.contains("--manifests"));
}
