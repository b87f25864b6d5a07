//! Objects of an API server, by a watch of each kind.
//!
//! [`connect`] makes the way to the server, [`served`] says where a kind is found and which of its fields are kept while an
//! answer is parsed, by [`kept`]; [`form`] knows the encodings and [`answer`] what is said in them. [`watch`] follows one kind and survives what happens to the server, [`gathered`] keeps what must be known
//! of all kinds together: what is wrong with objects, and how far each watch has got. Objects themselves are handed on at once
//! and kept by the engine only, which also finds out what a list has not named.

mod answer;
mod connect;
mod failure;
mod form;
mod gathered;
mod kept;
mod pause;
mod served;
mod shared;
mod watch;

use std::time::Duration;

use anyhow::Context as _;
use kube::Client;
use netpol_policy::model::Kind;
use tokio::{runtime::Runtime, sync::mpsc, time::sleep};

use self::{
    gathered::Gathered,
    watch::{Heard, Watch},
};
use super::{Source, SourceUpdate};

pub use self::connect::Access;
pub(crate) use self::{connect::client, pause::before_the_first_list};

/// What may wait between the watches and the reconciler; the server is heard no faster than that.
const WAITING: usize = 1024;
/// How long what is heard is gathered while something is listed for the first time. Each update wakes the reconciler, which may
/// not write yet: a list comes in pieces of some eight pods each.
const GATHERS: Duration = Duration::from_millis(10);

/// The source that asks an API server.
pub struct Api {
    name: String,
    node: String,
    client: Client,
    /// Of one thread, which is the source's: the work is parsing, and the reconciler has a thread of its own.
    runtime: Runtime,
}

impl Api {
    /// A source of the objects as far as they concern the node of this name: all of them but the other nodes.
    ///
    /// # Errors
    /// When nothing says where the server is and who asks. The server itself is not asked yet: it may be away.
    pub fn new(access: &Access, node: &str) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start what talks to the API server")?;
        let (name, client) = runtime.block_on(async {
            let config = connect::config(access).await?;
            anyhow::Ok((format!("API server {}", config.cluster_url), connect::to(&config)?))
        })?;
        Ok(Self { name, node: node.to_owned(), client, runtime })
    }
}

impl Source for Api {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn run(self: Box<Self>, deliver: &mut dyn FnMut(SourceUpdate) -> bool) -> anyhow::Result<()> {
        let Self { node, client, runtime, .. } = *self;
        runtime.block_on(async {
            let (to, mut from) = mpsc::channel(WAITING);
            for kind in Kind::ALL {
                // Others' nodes decide nothing: only ours has NodePorts here.
                let selector = (kind == Kind::Node).then(|| format!("metadata.name={node}"));
                tokio::spawn(Watch::new(client.clone(), kind, selector, to.clone()).run());
            }
            drop(to);
            let mut gathered = Gathered::new(&node);
            let mut heard: Vec<(Kind, Heard)> = Vec::new();
            // What has come meanwhile is one update.
            while from.recv_many(&mut heard, WAITING).await > 0 {
                for (kind, heard) in heard.drain(..) {
                    gathered.take(kind, heard);
                }
                if gathered.lists_first() {
                    sleep(GATHERS).await;
                    while let Ok((kind, heard)) = from.try_recv() {
                        gathered.take(kind, heard);
                    }
                }
                if let Some(update) = gathered.update()
                    && !deliver(update)
                {
                    return Ok(());
                }
            }
            anyhow::bail!("every watch has ended")
        })
    }
}
