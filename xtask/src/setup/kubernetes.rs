//! The programs of a real cluster, built from Go modules whose versions `xtask/kubernetes` pins.
//!
//! Each is built once and kept in the cache folder. What `KUBEBUILDER_ASSETS` holds is taken from there as it is.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::report::Report;
use crate::{process, project};

/// The version in `xtask/kubernetes/go.mod`.
const VERSION: &str = "1.34.4";
/// The oldest Go that these modules accept.
const OLDEST_GO: (u32, u32) = (1, 24);

/// A program, and what it is built from.
struct Program {
    name: &'static str,
    package: &'static str,
    /// The module's folder below `xtask`.
    module: &'static str,
    hint: &'static str,
}

const fn kubernetes(name: &'static str, package: &'static str, hint: &'static str) -> Program {
    Program { name, package, module: "kubernetes", hint }
}

/// What an API server alone takes, and what is checked with it.
const CONTROL_PLANE: &[Program] = &[
    kubernetes("etcd", "go.etcd.io/etcd/server/v3", "a minute"),
    kubernetes("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", "four minutes"),
    kubernetes("kubectl", "k8s.io/kubernetes/cmd/kubectl", "a minute"),
    Program {
        name: "helm",
        package: "helm.sh/helm/v3/cmd/helm",
        module: "kubernetes/helm",
        hint: "a minute or two",
    },
];

/// What a cluster takes beyond that.
const NODES: &[Program] = &[
    kubernetes("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager", "a minute or two"),
    kubernetes("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler", "seconds"),
    kubernetes("kubelet", "k8s.io/kubernetes/cmd/kubelet", "half a minute"),
    kubernetes("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy", "seconds"),
    kubernetes("agnhost", "k8s.io/kubernetes/test/images/agnhost", "seconds"),
    Program {
        name: "coredns",
        package: "github.com/coredns/coredns",
        module: "kubernetes/coredns",
        hint: "a minute or two",
    },
];

/// How much of Kubernetes a command needs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    /// etcd, the API server, kubectl and Helm.
    ControlPlane,
    /// Everything that a cluster of nodes takes.
    Cluster,
}

/// Finds or builds the programs, and returns the folder of those that were built.
pub(crate) fn ensure(extent: Extent, cache: &Path, report: &mut Report) -> Result<PathBuf> {
    let folder = cache.join(format!("kubernetes-{VERSION}")).join("bin");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let assets = std::env::var_os("KUBEBUILDER_ASSETS").map(PathBuf::from);
    let nodes = if extent == Extent::Cluster { NODES } else { &[] };
    let mut go = None;
    for program in CONTROL_PLANE.iter().chain(nodes) {
        let given = assets.iter().map(|assets| assets.join(program.name)).find(|file| file.is_file());
        let built = folder.join(program.name);
        if let Some(path) = given.or_else(|| built.is_file().then_some(built.clone())) {
            report.found(program.name, &path.display().to_string());
            continue;
        }
        let go = match &mut go {
            Some(go) => go,
            none => none.insert(compiler()?),
        };
        report.install(program.name, &format!("compiles {}", program.hint), || {
            build(go, program, &built)?;
            Ok(((), format!("{VERSION} in {}", built.display())))
        })?;
    }
    Ok(folder)
}

/// The Go compiler, when it is new enough.
fn compiler() -> Result<PathBuf> {
    let (major, minor) = OLDEST_GO;
    let remedy = format!(
        "install Go {major}.{minor} or newer and put `go` on the PATH, or set KUBEBUILDER_ASSETS to a folder with the programs of Kubernetes {VERSION}"
    );
    let usual = PathBuf::from("/usr/local/go/bin/go");
    let Some(go) = process::find_on_path("go").or_else(|| usual.is_file().then_some(usual)) else {
        bail!("a cluster's programs are built with Go, which is not here: {remedy}");
    };
    let version = process::read(Command::new(&go).args(["env", "GOVERSION"]))?;
    let number = version.trim().trim_start_matches("go");
    let mut parts = number.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < OLDEST_GO {
        bail!("Go {number} in {} is too old for Kubernetes {VERSION}: {remedy}", go.display());
    }
    Ok(go)
}

fn build(go: &Path, program: &Program, target: &Path) -> Result<()> {
    let (major, rest) = VERSION.split_once('.').unwrap_or((VERSION, ""));
    let minor = rest.split('.').next().unwrap_or_default();
    let version = "k8s.io/component-base/version";
    let flags = format!(
        "-s -w -X {version}.gitVersion=v{VERSION} -X {version}.gitMajor={major} -X {version}.gitMinor={minor}"
    );
    // Under its name only once it is whole.
    let draft = target.with_extension("part");
    let mut command = Command::new(go);
    command
        .args(["build", "-mod=readonly", "-trimpath", "-buildvcs=false", "-ldflags", &flags, "-o"])
        .arg(&draft)
        .arg(program.package)
        .current_dir(project::root().join("xtask").join(program.module))
        .env("CGO_ENABLED", "0");
    process::run(&mut command).with_context(|| {
        format!(
            "cannot build {} of Kubernetes {VERSION}; Go says why above (are Go's modules in reach?)",
            program.name
        )
    })?;
    std::fs::rename(&draft, target).with_context(|| format!("cannot write {}", target.display()))
}
