//! What `deploy/` holds: the Kustomize base and the chart make the same objects, a real API server takes every field of them,
//! and no value of the chart goes without a word about it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use netpol_tests::cluster::{ControlPlane, KUBERNETES, program};
use netpol_tests::{command, deploy, yaml};
use serde_json::{Value, json};

/// Everything that the chart can do beyond its defaults.
const EVERYTHING: &str = "\
image: {repository: registry.example.org/netpol, digest: 'sha256:0000000000000000000000000000000000000000000000000000000000000000'}
imagePullSecrets: [registry]
metrics: {host: '::', port: 9912}
startupTaint: netpol.io/agent-not-ready
agent:
  service-cidr: [10.96.0.0/16, 'fd00:10:96::/112']
  log-format: json
  table-peers: 1048576
hostPaths: {cni: /var/lib/other}
hostPID: false
extraCapabilities: [SYS_RESOURCE]
seLinuxOptions: null
resources: {limits: {cpu: 2, memory: 1Gi}}
maxUnavailable: 3
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{matchExpressions: [{key: a, operator: Exists}]}]}}}
podLabels: {team: network}
podAnnotations: {note: text}
";

/// What the base makes, with these components.
fn with_components(folder: &Path, components: &[&str]) -> Result<String> {
    // Kustomize knows folders by relative paths only.
    let up = "../".repeat(folder.components().count() - 1);
    let root = deploy::folder().canonicalize()?;
    let place = |name: &str| format!("{up}{}", root.join(name).display()).replace("//", "/");
    let components: Vec<String> = components.iter().map(|name| place(name)).collect();
    let overlay = json!({"resources": [place("")], "components": components});
    fs::create_dir_all(folder)?;
    fs::write(folder.join("kustomization.yaml"), overlay.to_string())?;
    deploy::kustomized(folder)
}

/// Objects by kind and name.
fn objects(text: &str) -> Result<BTreeMap<String, Value>> {
    let documents = yaml::documents(text)?.into_iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let named =
        documents.map(|one| (format!("{}/{}", text(&one["kind"]), text(&one["metadata"]["name"])), one));
    Ok(named.collect())
}

#[test]
#[ignore = "needs Kubernetes' programs"]
fn the_chart_with_its_defaults_makes_what_the_base_makes() -> Result<()> {
    let base = objects(&deploy::kustomized(&deploy::folder())?)?;
    ensure!(base.len() == 4, "{:?}", base.keys());
    assert_eq!(objects(&deploy::rendered(&[])?)?, base);
    Ok(())
}

#[test]
#[ignore = "needs Kubernetes' programs"]
fn helm_finds_nothing_in_the_chart() -> Result<()> {
    let chart = deploy::chart();
    let lint = ["lint", "--strict", "--kube-version", KUBERNETES, &chart.to_string_lossy()];
    let said = command::read(&program("helm")?.to_string_lossy(), &lint)?;
    ensure!(said.contains("1 chart(s) linted, 0 chart(s) failed"), "{said}");
    Ok(())
}

#[test]
#[ignore = "needs root and Kubernetes' programs"]
fn the_api_server_takes_every_field_of_every_object() -> Result<()> {
    let plane = ControlPlane::start()?;
    let folder = plane.folder()?;
    let values = folder.join("values.yaml");
    fs::write(&values, EVERYTHING)?;
    let dry_run = |text: &str| -> Result<String> {
        let file = folder.join("objects.yaml");
        fs::write(&file, text)?;
        let file = file.to_string_lossy();
        plane.kubectl(&["apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", &file])
    };
    let base = with_components(&folder.join("base"), &[])?;
    let tainted = with_components(&folder.join("tainted"), &["startup-taint"])?;
    let everything = deploy::rendered(&["--values", &values.to_string_lossy()])?;
    let (usual, uninstall) = (deploy::rendered(&[])?, deploy::uninstall()?);
    for (text, count) in [(&base, 4), (&tainted, 6), (&usual, 4), (&everything, 6), (&uninstall, 1)] {
        let taken = dry_run(text)?;
        assert_eq!(taken.lines().filter(|line| line.ends_with("(server dry run)")).count(), count, "{taken}");
    }
    for (right, wrong) in
        [("hostNetwork:", "hostNetwerk:"), ("path: /healthz", "path: 7"), ("- patch", "- [patch]")]
    {
        ensure!(base.contains(right), "there is no {right:?}");
        let error = dry_run(&base.replace(right, wrong)).expect_err(wrong);
        println!("{wrong}: {}", format!("{error:#}").lines().next().unwrap_or_default());
    }
    Ok(())
}

#[test]
fn what_takes_it_down_has_the_rights_of_what_put_it_there() -> Result<()> {
    let agent = objects(&fs::read_to_string(deploy::folder().join("daemonset.yaml"))?)?;
    let uninstall = objects(&deploy::uninstall()?)?;
    let agent = &agent["DaemonSet/netpol-agent"]["spec"]["template"]["spec"];
    let uninstall = &uninstall["DaemonSet/netpol-uninstall"]["spec"]["template"]["spec"];
    let rights = &uninstall["initContainers"][0]["securityContext"];
    assert_eq!(rights, &agent["containers"][0]["securityContext"]);
    for field in ["hostNetwork", "nodeSelector", "tolerations", "priorityClassName"] {
        ensure!(!agent[field].is_null() && agent[field] == uninstall[field], "{field}");
    }
    Ok(())
}

#[test]
#[ignore = "needs Kubernetes' programs"]
fn values_become_flags_and_fields_and_unknown_ones_are_refused() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let values = folder.path().join("values.yaml");
    fs::write(&values, EVERYTHING)?;
    let made = objects(&deploy::rendered(&["--values", &values.to_string_lossy()])?)?;
    let spec = &made["DaemonSet/netpol-agent"]["spec"]["template"]["spec"];
    let agent = &spec["containers"][0];
    let arguments: BTreeSet<&str> =
        agent["args"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for wanted in [
        "--metrics=[::]:9912",
        "--startup-taint=netpol.io/agent-not-ready",
        "--service-cidr=10.96.0.0/16",
        "--service-cidr=fd00:10:96::/112",
        "--log-format=json",
        "--table-peers=1048576",
    ] {
        ensure!(arguments.contains(wanted), "no {wanted} in {arguments:?}");
    }
    assert_eq!(agent["livenessProbe"]["httpGet"]["host"], "127.0.0.1");
    assert_eq!(agent["securityContext"]["capabilities"]["add"][3], "SYS_RESOURCE");
    assert!(agent["securityContext"]["seLinuxOptions"].is_null() && spec["hostPID"].is_null());
    for wrong in
        ["agent.table-peer=1", "hostPid=true", "metrics.port=0", "agent.trust-tag=always", "image.digest=x"]
    {
        let error = deploy::rendered(&["--set", wrong]).expect_err(wrong);
        ensure!(format!("{error:#}").contains("schema"), "{error:#}");
    }
    Ok(())
}

/// Paths of values: `image.tag`, but not below what is a list, or a map of the reader's own. `inside` is where a field holds
/// those that are in it.
fn paths(fields: &Value, inside: fn(&Value) -> &Value) -> BTreeSet<String> {
    let mut paths = BTreeSet::new();
    for (name, field) in fields.as_object().into_iter().flatten() {
        match inside(field).as_object().filter(|_| ["image", "metrics", "hostPaths"].contains(&&**name)) {
            Some(inner) => paths.extend(inner.keys().map(|one| format!("{name}.{one}"))),
            None => drop(paths.insert(name.clone())),
        }
    }
    paths
}

#[test]
fn every_value_of_the_chart_is_in_its_schema_and_in_the_document() -> Result<()> {
    let chart = deploy::chart();
    let values = yaml::documents(&fs::read_to_string(chart.join("values.yaml"))?)?;
    let values = paths(values.first().context("values.yaml is empty")?, |value| value);
    let schema: Value = serde_json::from_str(&fs::read_to_string(chart.join("values.schema.json"))?)?;
    let mut known = paths(&schema["properties"], |field| &field["properties"]);
    // What Helm gives every chart.
    known.remove("global");
    assert_eq!(known, values);
    let document = fs::read_to_string(deploy::folder().join("../docs/configure.md"))?;
    let documented: BTreeSet<String> = document
        .lines()
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split_once('`'))
        .map(|(name, _)| name.to_owned())
        .filter(|name| !name.starts_with('-'))
        .collect();
    assert_eq!(documented, values);
    Ok(())
}

#[test]
fn chart_and_manifests_name_this_version() -> Result<()> {
    let version = env!("CARGO_PKG_VERSION");
    let chart = fs::read_to_string(deploy::folder().join("chart/Chart.yaml"))?;
    for field in ["version", "appVersion"] {
        ensure!(chart.contains(&format!("\n{field}: {version}\n")), "{chart}");
    }
    for (file, containers) in [("daemonset.yaml", 1), ("uninstall.yaml", 2)] {
        let text = fs::read_to_string(deploy::folder().join(file))?;
        let named = text.matches("image: ").count();
        let ours = text.matches(&format!("image: localhost/netpol:{version}\n")).count();
        ensure!((named, ours) == (containers, containers), "{file}: {text}");
    }
    Ok(())
}
