//! Objects of an API server, by a watch of each kind.
//!
//! [`kept`] picks the fields that decide while an object is parsed, [`watch`] follows one kind and survives what happens
//! to the server, [`gathered`] keeps what must be known of all kinds together: which objects there are, and what is wrong.
//! Objects themselves are handed on at once and kept by the engine only.

mod connect;
mod gathered;
mod kept;
mod watch;

use std::time::Instant;

use anyhow::Context as _;
use netpol_policy::model::Kind;
use tokio::sync::mpsc;

use self::{
    gathered::Gathered,
    watch::{Heard, follow},
};
use super::{Source, SourceUpdate};

pub use self::connect::Access;
pub(crate) use self::connect::client;

/// What may wait between the watches and the reconciler; the server is heard no faster than that.
const WAITING: usize = 1024;

/// The way by an API server.
#[derive(Debug)]
pub struct Api {
    access: Access,
    node: String,
}

impl Api {
    /// Objects as far as they concern the node of this name: all of them but the other nodes.
    #[must_use]
    pub const fn new(access: Access, node: String) -> Self {
        Self { access, node }
    }
}

impl Source for Api {
    fn name(&self) -> String {
        match &self.access {
            Access::Kubeconfig { file, .. } => format!("the API server of {}", file.display()),
            Access::InCluster => "the API server of this cluster".to_owned(),
        }
    }

    fn run(self: Box<Self>, deliver: &mut dyn FnMut(SourceUpdate) -> bool) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start what talks to the API server")?;
        runtime.block_on(self.follow(deliver))
    }
}

impl Api {
    async fn follow(&self, deliver: &mut dyn FnMut(SourceUpdate) -> bool) -> anyhow::Result<()> {
        let client = client(&self.access).await?;
        let (to, mut from) = mpsc::channel(WAITING);
        let own = Some(format!("metadata.name={}", self.node));
        tokio::spawn(follow::<kept::Namespace>(client.clone(), None, to.clone()));
        tokio::spawn(follow::<kept::Node>(client.clone(), own, to.clone()));
        tokio::spawn(follow::<kept::Pod>(client.clone(), None, to.clone()));
        tokio::spawn(follow::<kept::Service>(client.clone(), None, to.clone()));
        tokio::spawn(follow::<kept::EndpointSlice>(client.clone(), None, to.clone()));
        tokio::spawn(follow::<kept::NetworkPolicy>(client, None, to));
        let mut gathered = Gathered::default();
        let mut heard: Vec<(Kind, Heard)> = Vec::new();
        while from.recv_many(&mut heard, WAITING).await > 0 {
            let arrived = Instant::now();
            for (kind, heard) in heard.drain(..) {
                gathered.take(kind, heard);
            }
            if let Some(update) =
                gathered.update().map(|update| SourceUpdate { heard: Some(arrived), ..update })
                && !deliver(update)
            {
                return Ok(());
            }
        }
        anyhow::bail!("every watch has ended")
    }
}
