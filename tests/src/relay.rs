//! A relay of TCP connections that can cut them in the middle, or hold them still.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::laboratory::Namespace;
use crate::serve;

/// How long the other end may take to be connected.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often what is held looks whether it may go on.
const LOOK: Duration = Duration::from_millis(20);

/// A running relay; dropping it cuts every connection.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    _server: serve::Server,
}

#[derive(Debug)]
struct Shared {
    /// Bytes towards the client after which a connection is cut.
    limit: AtomicU64,
    /// Bytes that have gone to clients, and after how many of them every connection is held.
    carried: AtomicU64,
    pause: AtomicU64,
    taken: AtomicU64,
    cut: AtomicU64,
    /// When how much went to the client, while somebody wants to know.
    traced: Mutex<Option<Vec<(Instant, usize)>>>,
    connections: Mutex<Vec<Arc<Connection>>>,
}

#[derive(Debug)]
struct Connection {
    client: TcpStream,
    server: TcpStream,
    held: AtomicBool,
    ended: AtomicBool,
}

impl Connection {
    fn end(&self) {
        self.ended.store(true, Ordering::Relaxed);
        // One that is closed already needs no closing.
        drop(self.client.shutdown(Shutdown::Both));
        drop(self.server.shutdown(Shutdown::Both));
    }
}

impl Relay {
    /// Relays what connects to `port` there to `target`, as seen from there.
    ///
    /// # Errors
    /// When the port is taken.
    pub fn start(namespace: &Namespace, port: u16, target: SocketAddr) -> Result<Self> {
        let shared = Arc::new(Shared {
            limit: AtomicU64::new(u64::MAX),
            carried: AtomicU64::new(0),
            pause: AtomicU64::new(u64::MAX),
            taken: AtomicU64::new(0),
            cut: AtomicU64::new(0),
            traced: Mutex::default(),
            connections: Mutex::default(),
        });
        let (seen, there) = (Arc::clone(&shared), namespace.clone());
        let take = move |client: TcpStream| {
            seen.taken.fetch_add(1, Ordering::Relaxed);
            // A target that cannot be reached is a connection that ends at once.
            let Ok(server) = there.connect(target, PATIENCE) else { return };
            drop(seen.carry(client, server));
        };
        let server = serve::connections(namespace, port, take).context("cannot relay")?;
        Ok(Self { shared, _server: server })
    }

    /// Cuts every connection, from now on, once so many bytes of it have gone to the client; `None`: none is.
    pub fn cut_after(&self, bytes: Option<u64>) {
        self.shared.limit.store(bytes.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Cuts all connections that there are.
    pub fn cut_all(&self) {
        for connection in self.shared.all().drain(..) {
            connection.end();
        }
    }

    /// Carries nothing more over the connections that there are, and closes none; new ones are carried.
    pub fn hold_all(&self) {
        for connection in self.shared.all().iter() {
            connection.held.store(true, Ordering::Relaxed);
        }
    }

    /// Holds every connection, from now on, once so many bytes have gone to clients over all of them; `None`: none is, and
    /// those that were go on. Whoever asks again and again may use several in turn.
    pub fn hold_after(&self, bytes: Option<u64>) {
        self.shared.pause.store(bytes.unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Whether they are held by that.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.shared.is_full()
    }

    /// When how many bytes went to a client since this was asked last; from the first time on it is noted.
    #[must_use]
    pub fn traced(&self) -> Vec<(Instant, usize)> {
        let mut traced = self.shared.traced.lock().unwrap_or_else(PoisonError::into_inner);
        traced.replace(Vec::new()).unwrap_or_default()
    }

    /// How many connections were made.
    #[must_use]
    pub fn taken(&self) -> u64 {
        self.shared.taken.load(Ordering::Relaxed)
    }

    /// How many connections were cut in the middle.
    #[must_use]
    pub fn cut(&self) -> u64 {
        self.shared.cut.load(Ordering::Relaxed)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.cut_all();
    }
}

impl Shared {
    fn all(&self) -> MutexGuard<'_, Vec<Arc<Connection>>> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_full(&self) -> bool {
        self.carried.load(Ordering::Relaxed) > self.pause.load(Ordering::Relaxed)
    }

    /// Carries bytes both ways until one end closes, or it is cut.
    fn carry(self: &Arc<Self>, client: TcpStream, server: TcpStream) -> std::io::Result<()> {
        let (mut from_client, mut to_server) = (client.try_clone()?, server.try_clone()?);
        let (mut from_server, mut to_client) = (server.try_clone()?, client.try_clone()?);
        let (held, ended) = (AtomicBool::new(false), AtomicBool::new(false));
        let connection = Arc::new(Connection { client, server, held, ended });
        self.all().push(Arc::clone(&connection));
        let (shared, forth) = (Arc::clone(self), Arc::clone(&connection));
        thread::spawn(move || {
            drop(shared.pump(&forth, &mut from_client, &mut to_server, |_| false));
            forth.end();
        });
        let mut carried = 0;
        let result = self.pump(&connection, &mut from_server, &mut to_client, |bytes| {
            self.carried.fetch_add(bytes as u64, Ordering::Relaxed);
            carried += bytes as u64;
            let cut = carried > self.limit.load(Ordering::Relaxed);
            self.cut.fetch_add(cut.into(), Ordering::Relaxed);
            if let Some(traced) = self.traced.lock().unwrap_or_else(PoisonError::into_inner).as_mut() {
                traced.push((Instant::now(), bytes));
            }
            cut
        });
        connection.end();
        self.all().retain(|other| !Arc::ptr_eq(other, &connection));
        result
    }

    /// Carries one way until the end, or until `cut` says so of what comes next, which is not carried then.
    fn pump(
        &self,
        connection: &Connection,
        from: &mut TcpStream,
        to: &mut TcpStream,
        mut cut: impl FnMut(usize) -> bool,
    ) -> std::io::Result<()> {
        let mut buffer = [0; 4096];
        let is_held = || connection.held.load(Ordering::Relaxed) || self.is_full();
        loop {
            let length = from.read(&mut buffer)?;
            while is_held() && !connection.ended.load(Ordering::Relaxed) {
                thread::sleep(LOOK);
            }
            if length == 0 || cut(length) {
                return Ok(());
            }
            to.write_all(&buffer[..length])?;
        }
    }
}
