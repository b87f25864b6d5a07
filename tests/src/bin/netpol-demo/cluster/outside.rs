//! The world outside of the cluster: what serves at its addresses, which are where the control plane is.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use netpol_tests::cluster::Cluster;
use netpol_tests::{Namespace, command};

/// A web server and HTTPS; they go when this is dropped.
pub(super) struct Outside {
    servers: Vec<Child>,
    folder: PathBuf,
}

impl Outside {
    pub(super) fn build(cluster: &Cluster) -> Result<Self> {
        let folder = folder(std::process::id());
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        let mut outside = Self { servers: Vec::new(), folder };
        let prober = std::env::var_os("NETPOL_PROBER").context(
            "NETPOL_PROBER must name the prober: `cargo xtask demo --cluster` builds it and says so",
        )?;
        let mut web = Command::new(prober);
        web.args(["serve", "--name", "outside", "--tcp", "80", "--control", "0"]);
        outside.start(cluster, web)?;
        let path = |name: &str| outside.folder.join(name).to_string_lossy().into_owned();
        let (key, certificate) = (path("key.pem"), path("certificate.pem"));
        let curve = "ec_paramgen_curve:prime256v1";
        let request = [
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            curve,
            "-nodes",
            "-days",
            "1",
            "-subj",
            "/CN=outside",
        ];
        command::read("openssl", &[request.as_slice(), &["-keyout", &key, "-out", &certificate]].concat())
            .context("cannot make a certificate")?;
        for family in ["-4", "-6"] {
            let mut tls = Command::new("openssl");
            tls.args(["s_server", family, "-accept", "443", "-www", "-quiet"]);
            tls.args(["-key", &key, "-cert", &certificate]);
            outside.start(cluster, tls)?;
        }
        Ok(outside)
    }

    fn start(&mut self, cluster: &Cluster, mut command: Command) -> Result<()> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        cluster.enter(&mut command);
        // However the demo ends.
        Namespace::die_with_thread(&mut command);
        let name = command.get_program().to_string_lossy().into_owned();
        self.servers.push(command.spawn().with_context(|| format!("cannot start {name}"))?);
        Ok(())
    }
}

/// Where the demo of this process keeps its files.
pub(super) fn folder(demo: u32) -> PathBuf {
    std::env::temp_dir().join(format!("netpol-demo-{demo}"))
}

impl Drop for Outside {
    fn drop(&mut self) {
        for server in &mut self.servers {
            // One that has ended is gone already.
            drop(server.kill());
            drop(server.wait());
        }
        drop(fs::remove_dir_all(&self.folder));
    }
}
