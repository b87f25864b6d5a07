//! Who may speak to the API server: a token for each user, the key of service accounts, and kubeconfigs.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::json;

use crate::command;

/// A user of the API server that a token of the file stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct User {
    /// As `kubectl auth whoami` says it.
    pub(super) name: String,
    /// Its groups.
    pub(super) groups: Vec<&'static str>,
}

impl User {
    /// One who may do everything.
    pub(super) fn admin() -> Self {
        Self { name: "admin".to_owned(), groups: vec!["system:masters"] }
    }

    /// A user that the API server's own roles name.
    pub(super) fn component(name: &str) -> Self {
        Self { name: format!("system:{name}"), groups: Vec::new() }
    }

    /// A node's kubelet.
    pub(super) fn node(name: &str) -> Self {
        Self { name: format!("system:node:{name}"), groups: vec!["system:nodes"] }
    }

    /// The agent's ServiceAccount, which has the rights of `deploy/rbac.yaml` and no others.
    pub(super) fn agent() -> Self {
        Self {
            name: "system:serviceaccount:kube-system:netpol-agent".to_owned(),
            groups: vec!["system:serviceaccounts", "system:serviceaccounts:kube-system"],
        }
    }

    /// What it shows to the API server. Whoever reaches a test's API server may know it.
    fn token(&self) -> String {
        format!("token-of-{}", self.name.replace(':', "-"))
    }
}

/// Files that a control plane is made from, in a folder of their own.
#[derive(Debug, Clone)]
pub(super) struct Credentials {
    folder: PathBuf,
}

impl Credentials {
    /// Those of a folder in which they were written.
    pub(super) fn at(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    /// Writes the token file and the key of service accounts.
    pub(super) fn write(folder: &Path, users: &[User]) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let credentials = Self::at(folder);
        let lines: Vec<String> = users
            .iter()
            .map(|user| {
                format!("{},{},{},\"{}\"\n", user.token(), user.name, user.name, user.groups.join(","))
            })
            .collect();
        fs::write(credentials.tokens(), lines.concat()).context("cannot write the token file")?;
        let key = credentials.account_key();
        let arguments = ["ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out"];
        command::read("openssl", &[&arguments[..], &[&key.to_string_lossy()]].concat())?;
        Ok(credentials)
    }

    pub(super) fn tokens(&self) -> PathBuf {
        self.folder.join("tokens.csv")
    }

    pub(super) fn account_key(&self) -> PathBuf {
        self.folder.join("service-account.key")
    }

    /// The certificate that the API server makes for itself when it starts first, and what signed it.
    pub(super) fn certificate(&self) -> PathBuf {
        self.folder.join("apiserver.crt")
    }

    /// The folder, where the API server keeps its certificate.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the kubeconfig of a user is.
    pub(super) fn kubeconfig_file(&self, user: &User) -> PathBuf {
        self.folder.join(format!("{}.kubeconfig", user.name.replace(':', "-")))
    }

    /// Writes the kubeconfig of a user, and returns its path.
    pub(super) fn kubeconfig(&self, user: &User, server: &str) -> Result<PathBuf> {
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{
                "name": "netpol",
                "cluster": {"server": server, "certificate-authority": self.certificate()},
            }],
            "users": [{"name": user.name, "user": {"token": user.token()}}],
            "contexts": [{"name": "netpol", "context": {"cluster": "netpol", "user": user.name}}],
            "current-context": "netpol",
        });
        let path = self.kubeconfig_file(user);
        fs::write(&path, serde_json::to_vec_pretty(&config)?)
            .with_context(|| format!("cannot write {}", path.display()))?;
        Ok(path)
    }
}
