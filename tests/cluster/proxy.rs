//! A path between two processes that can be cut: a TCP proxy that, while cut, passes nothing and
//! says nothing, as a network that drops packets does.
//!
//! ```text
//! one ──TCP──▶ proxy ──TCP──▶ other        open: copies both ways
//!                                          silent: holds what it has read, reads no more,
//!                                                  takes connections and leads them nowhere
//!                                          refusing: resets what there is, refuses what comes
//! ```

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::harness::process::free_address;

/// What the path does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    Open,
    Silent,
    Refusing,
}

/// A path that can be cut; gone when dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    /// Where to connect instead.
    pub(crate) address: SocketAddr,
    state: watch::Sender<State>,
    passed: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

// === impl Proxy ===

impl Proxy {
    /// An open path to `target`, which need not be there yet.
    pub(crate) async fn to(target: SocketAddr) -> Self {
        let address = free_address();
        let listener = TcpListener::bind(address).await.expect("a free port");
        let (state, watched) = watch::channel(State::Open);
        let passed = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target, watched, passed.clone()));
        Self {
            address,
            state,
            passed,
            _tasks: tasks,
        }
    }

    /// Whether anything has ever gone by it.
    pub(crate) fn was_used(&self) -> bool {
        self.passed.load(Ordering::Relaxed) > 0
    }

    /// Cuts or mends.
    pub(crate) fn set(&self, state: State) {
        self.state.send_replace(state);
    }
}

async fn accept(
    listener: TcpListener,
    target: SocketAddr,
    state: watch::Receiver<State>,
    passed: Arc<AtomicU64>,
) {
    // Dropped with the listener, and with them their sockets.
    let mut passing = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((socket, _)) = accepted else { continue };
                passing.spawn(pass(socket, target, state.clone(), passed.clone()));
            }
            Some(_) = passing.join_next() => {}
        }
    }
}

/// One connection, to its end.
async fn pass(
    near: TcpStream,
    target: SocketAddr,
    mut state: watch::Receiver<State>,
    passed: Arc<AtomicU64>,
) {
    let opened = state.wait_for(|it| *it != State::Silent).await;
    if !opened.is_ok_and(|it| *it == State::Open) {
        reset(&near);
        return;
    }
    let Ok(far) = TcpStream::connect(target).await else {
        reset(&near);
        return;
    };
    passed.fetch_add(1, Ordering::Relaxed);
    // Small writes must not wait: this is a wire.
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let (mut near_read, mut near_write) = near.into_split();
    let (mut far_read, mut far_write) = far.into_split();
    let refusing = state.clone();
    let is_over = tokio::select! {
        both = async {
            let there = copy(&mut near_read, &mut far_write, state.clone());
            let back = copy(&mut far_read, &mut near_write, state.clone());
            tokio::try_join!(there, back)
        } => both.is_ok(),
        () = refused(refusing) => false,
    };
    if !is_over {
        reset(near_read.as_ref());
        reset(far_read.as_ref());
        // Dropped, they would say good-bye first.
        near_write.forget();
        far_write.forget();
    }
}

/// Waits until the path refuses.
async fn refused(mut state: watch::Receiver<State>) {
    // Without a proxy there is no path either.
    let _ = state.wait_for(|it| *it == State::Refusing).await;
}

/// Copies one way until the end, standing still while the path is silent.
async fn copy(
    from: &mut OwnedReadHalf,
    to: &mut OwnedWriteHalf,
    mut state: watch::Receiver<State>,
) -> io::Result<()> {
    let mut buffer = [0; 16 * 1024];
    loop {
        let count = from.read(&mut buffer).await;
        // An end or an error does not get through a cut either.
        if state.wait_for(|it| *it != State::Silent).await.is_err() {
            return Ok(());
        }
        match count? {
            0 => return to.shutdown().await,
            count => to.write_all(&buffer[..count]).await?,
        }
    }
}

/// Makes the socket end with a reset instead of in good order when it is dropped.
fn reset(socket: &TcpStream) {
    let _ = socket2::SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

/// What is checked before any case relies on it.
pub(crate) const CHECKS: &[(&str, fn())] = &[("a_cut_path_holds_and_resets", || {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime
        .expect("a runtime")
        .block_on(a_cut_path_holds_and_resets());
})];

/// How long nothing must come for it to count as held.
const HELD: Duration = Duration::from_millis(100);

async fn a_cut_path_holds_and_resets() {
    let listener = TcpListener::bind(free_address())
        .await
        .expect("a free port");
    let target = listener.local_addr().expect("bound");
    let proxy = Proxy::to(target).await;
    let mut near = TcpStream::connect(proxy.address).await.expect("open");
    let (mut far, _) = listener.accept().await.expect("led there");
    far.write_all(b"1").await.expect("open");
    assert_eq!(near.read_u8().await.expect("open"), b'1');
    assert!(proxy.was_used());

    proxy.set(State::Silent);
    far.write_all(b"2").await.expect("our side stands");
    assert!(timeout(HELD, near.read_u8()).await.is_err(), "it leaks");
    let mut late = TcpStream::connect(proxy.address).await.expect("taken");
    assert!(timeout(HELD, listener.accept()).await.is_err(), "it leads");
    proxy.set(State::Open);
    assert_eq!(near.read_u8().await.expect("mended"), b'2');
    late.write_all(b"3").await.expect("mended");
    let (mut far_late, _) = listener.accept().await.expect("led there at last");
    assert_eq!(far_late.read_u8().await.expect("mended"), b'3');

    proxy.set(State::Refusing);
    for socket in [&mut near, &mut far, &mut late] {
        let error = socket.read_u8().await.expect_err("reset");
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    }
    if let Ok(mut refused) = TcpStream::connect(proxy.address).await {
        refused.read_u8().await.expect_err("reset");
    }
}
