use std::fs;

use super::*;

fn policy(name: &str) -> String {
    format!(
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: {name}, namespace: n}}\nspec: {{podSelector: {{}}}}\n"
    )
}

struct Given {
    dir: tempfile::TempDir,
    folder: Folder,
}

impl Given {
    fn files(files: &[(&str, &str)]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::new(dir.path());
        let given = Self { dir, folder };
        for (name, text) in files {
            given.write(name, text);
        }
        given
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.dir.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn look(&mut self) -> SourceUpdate {
        self.folder.forget_stamps();
        self.folder.scan(&mut |_| {});
        self.folder.update()
    }
}

fn names(update: &SourceUpdate) -> Vec<String> {
    update
        .events
        .iter()
        .flat_map(|event| match event {
            SourceEvent::Apply(o) => vec![format!("+{}", o.key())],
            SourceEvent::Delete(_, key) => vec![format!("-{key}")],
            SourceEvent::Listing(_) | SourceEvent::Stays(..) | SourceEvent::Listed(_) => Vec::new(),
            SourceEvent::Reset(all) => all.iter().map(|o| format!("={}", o.key())).collect(),
        })
        .collect()
}

#[test]
fn the_first_update_is_everything_and_later_ones_are_differences() {
    let mut given = Given::files(&[
        ("a.yaml", &policy("a")),
        ("sub/b.yml", &policy("b")),
        ("c.txt", "no"),
        (".d.yaml", "["),
    ]);
    let update = given.look();
    assert_eq!((names(&update), update.synced), (vec!["=n/a".to_owned(), "=n/b".to_owned()], true));
    assert!(names(&given.look()).is_empty(), "nothing has changed");
    given.write("sub/b.yml", &policy("c"));
    assert_eq!(names(&given.look()), ["-n/b", "+n/c"]);
    fs::remove_dir_all(given.dir.path().join("sub")).unwrap();
    assert_eq!(names(&given.look()), ["-n/c"]);
}

#[test]
fn a_file_that_is_no_yaml_holds_everything_back_at_the_first_start() {
    let mut given = Given::files(&[("a.yaml", &policy("a")), ("b.yaml", "kind: A\n---\nkind: [\n")]);
    let update = given.look();
    assert!(!update.synced && update.events.is_empty());
    assert_eq!(update.problems[0].file, Some(given.dir.path().join("b.yaml")));
    assert!(update.problems[0].line.unwrap() >= 3);
    given.write("b.yaml", &policy("b"));
    let update = given.look();
    assert!(update.synced && update.problems.is_empty());
    assert_eq!(names(&update), ["=n/a", "=n/b"]);
}

#[test]
fn a_file_that_is_no_yaml_any_more_keeps_its_objects_and_is_reported() {
    let mut given = Given::files(&[("a.yaml", &policy("a"))]);
    given.look();
    given.write("a.yaml", "kind: [");
    let update = given.look();
    assert!(update.events.is_empty() && update.synced);
    assert_eq!(update.problems.len(), 1);
    given.write("a.yaml", &policy("b"));
    let update = given.look();
    assert_eq!(names(&update), ["-n/a", "+n/b"]);
    assert!(update.problems.is_empty());
}

#[test]
fn of_two_files_with_the_same_object_the_first_counts_and_the_second_takes_over() {
    let mut given = Given::files(&[
        ("a.yaml", &policy("x")),
        ("b.yaml", &policy("x").replace("{}", "{matchLabels: {a: b}}")),
    ]);
    let update = given.look();
    assert_eq!(names(&update), ["=n/x"]);
    assert_eq!(update.problems[0].file, Some(given.dir.path().join("b.yaml")));
    fs::remove_file(given.dir.path().join("a.yaml")).unwrap();
    let update = given.look();
    assert_eq!(names(&update), ["+n/x"], "the version of the second file");
    assert!(update.problems.is_empty());
}

#[test]
fn moving_a_file_changes_nothing() {
    let mut given = Given::files(&[("a.yaml", &policy("x"))]);
    given.look();
    fs::rename(given.dir.path().join("a.yaml"), given.dir.path().join("z.yaml")).unwrap();
    assert!(given.look().events.is_empty());
}

#[test]
fn a_policy_whose_selector_cannot_be_read_keeps_its_last_good_version() {
    let mut given = Given::files(&[("a.yaml", &policy("x").replace("{}", "{matchLabels: {a: b}}"))]);
    given.look();
    given.write("a.yaml", &policy("x").replace("{}", "{matchLabels: 7}"));
    let update = given.look();
    assert!(update.events.is_empty(), "{update:?}");
    assert!(!update.problems.is_empty());
}

#[test]
fn a_policy_whose_selector_cannot_be_read_from_the_start_isolates_its_namespace() {
    let mut given = Given::files(&[("a.yaml", &policy("x").replace("{}", "{matchLabels: 7}"))]);
    let update = given.look();
    assert_eq!(names(&update), ["=n/x"]);
    assert!(!update.problems.is_empty());
}

#[test]
fn other_kinds_are_counted_by_name_and_workloads_give_templates() {
    let text = "kind: ConfigMap\napiVersion: v1\nmetadata: {name: a}\n---\nkind: Deployment\napiVersion: apps/v1\nmetadata: {name: d, namespace: n}\nspec: {template: {metadata: {labels: {app: d}}}}\n";
    let mut given = Given::files(&[("a.yaml", text)]);
    let update = given.look();
    assert_eq!(update.skipped, BTreeMap::from([("ConfigMap".to_owned(), 1)]));
    assert_eq!(update.templates[0].key.to_string(), "n/deployment/d");
}

#[test]
fn a_file_that_is_being_written_is_not_read() {
    let mut given = Given::files(&[("a.yaml", &policy("a"))]);
    given.look();
    given.write("a.yaml", "");
    given.folder.hold(BTreeSet::from([given.dir.path().join("a.yaml")]));
    assert!(given.look().events.is_empty());
    given.folder.hold(BTreeSet::new());
    assert_eq!(names(&given.look()), ["-n/a"]);
}

#[test]
fn a_folder_that_vanishes_takes_nothing_with_it() {
    let mut given = Given::files(&[("a.yaml", &policy("a"))]);
    given.look();
    fs::remove_dir_all(given.dir.path()).unwrap();
    let update = given.look();
    assert!(update.events.is_empty());
    assert_eq!(update.problems.len(), 1);
    fs::create_dir(given.dir.path()).unwrap();
}

#[test]
fn an_object_that_loses_its_kind_stays_as_it_was() {
    let mut given = Given::files(&[("a.yaml", &policy("a"))]);
    given.look();
    given.write("a.yaml", &policy("a").replace("kind:", "kinds:"));
    let update = given.look();
    assert!(update.events.is_empty() && !update.problems.is_empty(), "{update:?}");
}
