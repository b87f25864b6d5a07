//! Requests over one connection, and connections with one request each; one byte there and one back.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use netpol_tests::probe::{ARRIVAL_PATIENCE, DROP_PATIENCE};
use netpol_tests::{Namespace, Outcome, Pod};

/// Where requests over one connection go.
pub(crate) const EXCHANGE_PORT: u16 = 7000;
/// Where connections go.
pub(crate) const CONNECT_PORT: u16 = 7001;
/// Where no policy lets anything go.
pub(crate) const OTHER_PORT: u16 = 7002;

/// A client with its server.
pub(crate) struct Traffic {
    client: Pod,
    server: Pod,
    /// By family.
    streams: [TcpStream; 2],
}

impl Traffic {
    pub(crate) fn start(client: Pod, server: &Pod) -> Result<Self> {
        for port in [EXCHANGE_PORT, CONNECT_PORT, OTHER_PORT] {
            serve(server, port)?;
        }
        // A client's port may be used again after a second; else thousands of connections a second would use up all.
        client.sysctl("net/ipv4/tcp_tw_reuse", "1")?;
        client.sysctl("net/ipv4/ip_local_port_range", "10000 65000")?;
        let streams = connect(&client, server)?;
        Ok(Self { client, server: server.clone(), streams })
    }

    /// New connections: those that were open before the engine came are no ordinary ones.
    pub(crate) fn reconnect(&mut self) -> Result<()> {
        self.streams = connect(&self.client, &self.server)?;
        Ok(())
    }

    /// Whether a port is reached that no policy allows.
    pub(crate) fn passes_elsewhere(&self) -> bool {
        self.server.sockets(OTHER_PORT).into_iter().any(|to| self.client.connect(to, DROP_PATIENCE).is_ok())
    }

    /// Requests (kind 0) or connections (kind 1) a second.
    pub(crate) fn rate(&mut self, family: usize, kind: usize, time: Duration) -> Result<f64> {
        if kind == 0 {
            let stream = &mut self.streams[family];
            return rate(time, || exchange(stream));
        }
        let to = self.server.sockets(CONNECT_PORT)[family];
        self.client.run(|| {
            rate(time, || {
                let mut stream = TcpStream::connect_timeout(&to, ARRIVAL_PATIENCE)?;
                exchange(&mut stream)
            })
        })?
    }
}

/// How often something can be done in a second.
pub(crate) fn rate(time: Duration, mut once: impl FnMut() -> std::io::Result<()>) -> Result<f64> {
    let start = Instant::now();
    let mut times = 0_u32;
    while start.elapsed() < time {
        once().context("the traffic between the pods broke")?;
        times += 1;
    }
    Ok(f64::from(times) / start.elapsed().as_secs_f64())
}

pub(crate) fn exchange(stream: &mut TcpStream) -> std::io::Result<()> {
    stream.write_all(b"?")?;
    stream.read_exact(&mut [0])
}

fn connect(client: &Namespace, server: &Pod) -> Result<[TcpStream; 2]> {
    let open = |to: SocketAddr| -> Result<TcpStream> {
        let failed = |outcome: Outcome| anyhow!("cannot connect to {to}: {outcome:?}");
        let stream = client.connect(to, ARRIVAL_PATIENCE).map_err(failed)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ARRIVAL_PATIENCE))?;
        Ok(stream)
    };
    let [v4, v6] = server.sockets(EXCHANGE_PORT);
    Ok([open(v4)?, open(v6)?])
}

/// Serves a port for as long as the process lives: one thread for those that are short, and one for each that stays.
pub(crate) fn serve(server: &Pod, port: u16) -> Result<()> {
    let listener = netpol_tests::serve::listener(server, port)?;
    let stays = port == EXCHANGE_PORT;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // What ails a connection is the client's to tell.
            let mut answer = move || -> std::io::Result<()> {
                stream.set_nodelay(true)?;
                let mut byte = [0];
                while stream.read(&mut byte)? == 1 {
                    stream.write_all(&byte)?;
                }
                Ok(())
            };
            if stays {
                thread::spawn(answer);
            } else {
                drop(answer());
            }
        }
    });
    Ok(())
}
