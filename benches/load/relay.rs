//! The floor: a process that copies bytes from one connection to its partner and knows nothing.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child as Process, Stdio};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use crate::args::Args;
use crate::process;
use crate::wire::Connection;

/// The relay process; ends when dropped.
pub(crate) struct Child {
    process: Process,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

// === impl Child ===

impl Child {
    pub(crate) fn start(args: &Args) -> Result<Self> {
        let mut process = process::shell(&args.server_cores)
            .arg(std::env::current_exe()?)
            .arg("--is-relay-child")
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = process.stdout.take().context("no output")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let address = line.trim().parse()?;
        Ok(Self { process, address })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // Already gone is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Connects as number `index`; its partner is the one whose number differs in the last bit.
pub(crate) async fn connect(address: SocketAddr, index: usize) -> Result<Connection> {
    let mut stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    stream.write_u64(index as u64).await?;
    // One byte back: the relay knows us.
    stream.read_u8().await?;
    let full = format!("user{index}@localhost/load");
    Ok(Connection::new(Box::new(stream), full))
}

/// The relay itself: prints its address, then copies until it is killed.
pub(crate) fn serve() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        println!("{}", listener.local_addr()?);
        let waiting = Arc::new(Mutex::new(HashMap::new()));
        loop {
            let (mut stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let number = stream.read_u64().await?;
            stream.write_u8(0).await?;
            let halves = stream.into_split();
            let partner = {
                let mut waiting = waiting.lock().ok().context("poisoned")?;
                match waiting.remove(&(number ^ 1)) {
                    Some(partner) => Some((partner, halves)),
                    None => {
                        waiting.insert(number, halves);
                        None
                    }
                }
            };
            if let Some(((one_in, one_out), (other_in, other_out))) = partner {
                tokio::spawn(copy(one_in, other_out));
                tokio::spawn(copy(other_in, one_out));
            }
        }
    })
}

async fn copy(from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let mut buffer = Vec::new();
    loop {
        // Wait without a buffer, as a server does that must hold many idle connections.
        if from.readable().await.is_err() {
            return;
        }
        buffer.reserve(4096);
        match from.try_read_buf(&mut buffer) {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => continue,
            Err(_) => return,
        }
        if to.write_all(&buffer).await.is_err() {
            return;
        }
        buffer = Vec::new();
    }
}
