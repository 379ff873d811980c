//! Rooms: many enter, then some of them write as fast as a window lets them, and everybody gets
//! what they write.
//!
//! A writer has a few messages under way and sends the next when one of its own has come back. How
//! long a message took is read from its id, by one occupant in sixteen.

use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use memchr::memmem;
use tokio::io::{AsyncReadExt, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::args::Args;
use crate::cluster::Cluster;
use crate::process::Watched;
use crate::report::percentile;
use crate::server::Server;
use crate::wire::{Connection, Socket, Target};
use crate::{Cost, log_in, per_second};

/// Joins under way at once.
const JOINS_AT_ONCE: u64 = 32;

/// One occupant in so many looks at how long a message took.
const SAMPLED: usize = 16;

/// How long everybody's joining may take.
const JOINS_MAX: Duration = Duration::from_secs(300);

/// Stands around what an id says; nothing else in a message has it.
const MARK: char = '~';

/// The end of a message.
const END: &[u8] = b"</message>";

/// What a run may write in a second as far as it goes by the server's limits, which are not what is
/// measured.
const UNBOUNDED: u32 = 1_000_000;

/// How many rooms, and how many occupants of each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    rooms: usize,
    occupants: usize,
}

/// What the occupants share with the one who measures.
#[derive(Debug)]
struct Shared {
    start: Instant,
    /// Who has the subject of the room, which comes last of all that one is told at first.
    joined: AtomicU64,
    /// Messages, each as often as somebody got it.
    delivered: AtomicU64,
    /// Messages, once each.
    sent: AtomicU64,
    is_measured: AtomicBool,
    is_over: AtomicBool,
}

/// The reading side of an occupant.
struct Reader {
    number: usize,
    socket: ReadHalf<Box<dyn Socket>>,
    buffer: Vec<u8>,
    has_joined: bool,
    /// A place for each message it may have under way; nothing for those who only read.
    window: Option<Arc<Semaphore>>,
    latencies: Vec<u32>,
    shared: Arc<Shared>,
}

/// The writing side.
struct Writer {
    number: usize,
    room: String,
    socket: WriteHalf<Box<dyn Socket>>,
    window: Option<Arc<Semaphore>>,
}

/// Everybody.
struct Crowd {
    shape: Shape,
    shared: Arc<Shared>,
    writers: Vec<Writer>,
    readers: JoinSet<Result<Vec<u32>>>,
}

/// What the talk gave.
struct Talk {
    cost: Cost,
    messages: u64,
    deliveries: u64,
    /// In microseconds, sorted.
    latencies: Vec<u32>,
    /// From origins to edges meanwhile.
    bytes: f64,
}

/// Measures `couplet serve`, or an origin and an edge.
pub(crate) async fn run(args: &Args, shape: Shape) -> Result<()> {
    let mut args = args.clone();
    args.sessions = shape.sessions().max(2);
    // The defaults of origins and `couplet serve`; an edge does not know them.
    let limits = ["joins", "messages"].map(|what| format!("muc.{what}_per_second={UNBOUNDED}"));
    let one = format!("muc.messages_per_occupant={UNBOUNDED}");
    let limits: Vec<String> = limits.into_iter().chain([one]).collect();
    if args.cluster {
        let mut cluster = Cluster::start_with(&args, 1, 1, &limits).await?;
        cluster.add_accounts(args.sessions()).await?;
        cluster.restart().await?;
        let target = Arc::new(cluster.target.clone());
        let watched = cluster.watched();
        measure(&args, shape, target, &watched, Some(&cluster)).await?;
        return cluster.stop().await;
    }
    args.set.extend(limits);
    let mut server = Server::start(&args, false).await?;
    server.add_accounts(&args, args.sessions()).await?;
    let target = Arc::new(server.target.clone());
    measure(&args, shape, target, &server.watched(), None).await?;
    server.stop().await
}

/// Lets everybody enter and some of them write, and prints what it cost.
async fn measure(
    args: &Args,
    shape: Shape,
    target: Arc<Target>,
    watched: &Watched,
    cluster: Option<&Cluster>,
) -> Result<()> {
    let sessions = log_in(&target, 0..shape.sessions()).await?;
    let mut crowd = Crowd::new(args, shape, &target, sessions);
    let joins = crowd.join(watched).await?;
    let Shape { rooms, occupants } = shape;
    println!(
        "{rooms} x {occupants}: joins {:.2} s of processor time, {:.0} µs each, {:.1} s in all",
        joins.usage.cpu_micros / 1e6,
        joins.usage.cpu_micros / shape.sessions() as f64,
        joins.elapsed.as_secs_f64()
    );
    crowd.talk(args, watched, cluster).await?.print(shape);
    Ok(())
}

// === impl Shape ===

impl Shape {
    fn sessions(self) -> usize {
        self.rooms * self.occupants
    }
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = |text: &str| text.parse::<usize>().ok().filter(|number| *number > 0);
        let (rooms, occupants) = text.split_once('x').unwrap_or((text, ""));
        let shape = number(rooms).zip(number(occupants));
        let (rooms, occupants) = shape.ok_or("give it as ROOMSxOCCUPANTS")?;
        Ok(Self { rooms, occupants })
    }
}

// === impl Crowd ===

impl Crowd {
    /// Those who are logged in, the occupants of one room one after the other; the first of each
    /// write.
    fn new(args: &Args, shape: Shape, target: &Target, sessions: Vec<Connection>) -> Self {
        let shared = Arc::new(Shared {
            start: Instant::now(),
            joined: AtomicU64::new(0),
            delivered: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            is_measured: AtomicBool::new(false),
            is_over: AtomicBool::new(false),
        });
        let mut readers = JoinSet::new();
        let mut writers = Vec::new();
        for (number, session) in sessions.into_iter().enumerate() {
            let (reading, writing) = tokio::io::split(session.into_socket());
            let is_writer = number % shape.occupants < args.writers;
            let window = is_writer.then(|| Arc::new(Semaphore::new(args.window)));
            let reader = Reader {
                number,
                socket: reading,
                buffer: Vec::new(),
                has_joined: false,
                window: window.clone(),
                latencies: Vec::new(),
                shared: shared.clone(),
            };
            readers.spawn(reader.read());
            let domain = &target.domain;
            writers.push(Writer {
                number,
                room: format!("room{}@conference.{domain}", number / shape.occupants),
                socket: writing,
                window,
            });
        }
        Self {
            shape,
            shared,
            writers,
            readers,
        }
    }

    /// Everybody enters; what that cost, until the last has been told everything.
    async fn join(&mut self, watched: &Watched) -> Result<Cost> {
        // Rooms are opened by their first occupant, before the clock runs.
        let occupants = self.shape.occupants;
        let all = 0..self.writers.len();
        let (first, others): (Vec<_>, Vec<_>) = all.partition(|number| number % occupants == 0);
        let join = "<x xmlns='http://jabber.org/protocol/muc'/>";
        self.join_these(&first, join, 0).await?;
        self.open_these(&first).await?;
        let before = watched.usage()?;
        let started = Instant::now();
        self.join_these(&others, join, first.len() as u64).await?;
        Ok(Cost {
            usage: watched.usage()?.since(before),
            elapsed: started.elapsed(),
        })
    }

    async fn join_these(&mut self, numbers: &[usize], child: &str, before: u64) -> Result<()> {
        for (sent, &number) in (before..).zip(numbers) {
            self.joined(sent.saturating_sub(JOINS_AT_ONCE)).await?;
            let writer = &mut self.writers[number];
            let (room, nick) = (&writer.room, format!("nick{number}"));
            let text = format!("<presence to='{room}/{nick}'>{child}</presence>");
            writer.socket.write_all(text.as_bytes()).await?;
            writer.socket.flush().await?;
        }
        self.joined(before + numbers.len() as u64).await
    }

    /// Opens the new rooms of these occupants for others.
    async fn open_these(&mut self, numbers: &[usize]) -> Result<()> {
        for &number in numbers {
            let writer = &mut self.writers[number];
            let room = &writer.room;
            // The message comes back when the request before it has been handled.
            let text = format!(
                "<iq type='set' id='open' to='{room}'>\
                 <query xmlns='http://jabber.org/protocol/muc#owner'>\
                 <x xmlns='jabber:x:data' type='submit'/></query></iq>\
                 <message to='{room}' type='groupchat'><body>open</body></message>"
            );
            writer.socket.write_all(text.as_bytes()).await?;
            writer.socket.flush().await?;
        }
        while self.shared.delivered.load(Ordering::Relaxed) < numbers.len() as u64 {
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Waits until so many are in.
    async fn joined(&mut self, count: u64) -> Result<()> {
        let deadline = Instant::now() + JOINS_MAX;
        while self.shared.joined.load(Ordering::Relaxed) < count {
            if let Some(ended) = self.readers.try_join_next() {
                ended??;
                bail!("an occupant was disconnected");
            }
            ensure!(Instant::now() < deadline, "not everybody could enter");
            sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// The writers write for the time asked.
    async fn talk(
        mut self,
        args: &Args,
        watched: &Watched,
        cluster: Option<&Cluster>,
    ) -> Result<Talk> {
        let body: Arc<str> = "x".repeat(args.body).into();
        let mut writing = JoinSet::new();
        for writer in self.writers {
            writing.spawn(writer.write(body.clone(), self.shared.clone()));
        }
        let bytes = async || match cluster {
            Some(cluster) => cluster.bytes_to_edges().await,
            None => Ok(0.0),
        };
        let shared = self.shared;
        let counts = || {
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            (count(&shared.sent), count(&shared.delivered))
        };
        sleep(Duration::from_secs(args.warm_up_seconds)).await;
        let bytes_before = bytes().await?;
        let (usage, started, before) = (watched.usage()?, Instant::now(), counts());
        shared.is_measured.store(true, Ordering::Relaxed);
        sleep(Duration::from_secs(args.seconds)).await;
        shared.is_measured.store(false, Ordering::Relaxed);
        let (usage, elapsed) = (watched.usage()?.since(usage), started.elapsed());
        let (sent, delivered) = counts();
        let bytes = bytes().await? - bytes_before;
        shared.is_over.store(true, Ordering::Relaxed);
        let mut kept = Vec::new();
        while let Some(done) = writing.join_next().await {
            // The connections stay until everybody has stopped.
            kept.push(done?.context("a writer stopped early")?);
        }
        let mut latencies = Vec::new();
        drop(kept);
        while let Some(done) = self.readers.join_next().await {
            latencies.extend(done?.context("an occupant was disconnected")?);
        }
        latencies.sort_unstable();
        Ok(Talk {
            cost: Cost { usage, elapsed },
            messages: sent - before.0,
            deliveries: delivered - before.1,
            latencies,
            bytes,
        })
    }
}

// === impl Writer ===

impl Writer {
    /// Writes until it is over, if it writes; then ends the stream, so that its reader ends.
    async fn write(mut self, body: Arc<str>, shared: Arc<Shared>) -> Result<Self> {
        let (number, room) = (self.number, self.room.clone());
        while !shared.is_over.load(Ordering::Relaxed) {
            let Some(window) = &self.window else {
                sleep(Duration::from_millis(100)).await;
                continue;
            };
            // Given back by the reader when the message has come back.
            window.acquire().await?.forget();
            let at = shared.start.elapsed().as_micros();
            let text = format!(
                "<message to='{room}' type='groupchat' id='{MARK}{number}.{at}{MARK}'>\
                 <body>{body}</body></message>"
            );
            self.socket.write_all(text.as_bytes()).await?;
            self.socket.flush().await?;
        }
        self.socket.write_all(b"</stream:stream>").await?;
        self.socket.flush().await?;
        Ok(self)
    }
}

// === impl Reader ===

impl Reader {
    /// Reads until the stream ends; how long the messages took, if it looks at that.
    async fn read(mut self) -> Result<Vec<u32>> {
        loop {
            self.buffer.reserve(4096);
            let count = self.socket.read_buf(&mut self.buffer).await?;
            let is_over = self.shared.is_over.load(Ordering::Relaxed);
            if count == 0 {
                ensure!(is_over, "user {}: the connection ended", self.number);
                return Ok(self.latencies);
            }
            // Whole messages; the rest of the last one waits for more.
            if let Some(end) = memmem::rfind(&self.buffer, END) {
                self.take(end + END.len())?;
            } else if !self.has_joined {
                // The presence of the others, of which there is much.
                let keep = self.buffer.len().min(1024);
                self.buffer.drain(..self.buffer.len() - keep);
            }
        }
    }

    /// Takes what stands before `end`.
    fn take(&mut self, end: usize) -> Result<()> {
        let taken = &self.buffer[..end];
        let now = self.shared.start.elapsed().as_micros();
        let mut count = memmem::find_iter(taken, END).count() as u64;
        if !self.has_joined && memmem::find(taken, b"<subject").is_some() {
            self.has_joined = true;
            self.shared.joined.fetch_add(1, Ordering::Relaxed);
            count -= 1;
        }
        if let Some(at) = memmem::find(taken, b"type='error'") {
            let text = String::from_utf8_lossy(&taken[at.saturating_sub(100)..]);
            bail!("user {}: {text}", self.number);
        }
        self.shared.delivered.fetch_add(count, Ordering::Relaxed);
        if self.window.is_some() || self.number.is_multiple_of(SAMPLED) {
            self.look_at_ids(end, now);
        }
        self.buffer.drain(..end);
        Ok(())
    }

    fn look_at_ids(&mut self, end: usize, now: u128) {
        let text = String::from_utf8_lossy(&self.buffer[..end]);
        let is_measured = self.shared.is_measured.load(Ordering::Relaxed);
        for id in text.split(MARK).skip(1).step_by(2) {
            let Some((number, at)) = id.split_once('.') else {
                continue;
            };
            if let Some(window) = &self.window
                && number.parse() == Ok(self.number)
            {
                window.add_permits(1);
                self.shared.sent.fetch_add(1, Ordering::Relaxed);
            }
            if is_measured && let Ok(at) = at.parse::<u128>() {
                let micros = u32::try_from(now.saturating_sub(at)).unwrap_or(u32::MAX);
                self.latencies.push(micros);
            }
        }
    }
}

// === impl Talk ===

impl Talk {
    fn print(&self, shape: Shape) {
        let Shape { rooms, occupants } = shape;
        let micros = self.cost.usage.cpu_micros;
        let elapsed = self.cost.elapsed;
        println!(
            "{rooms} x {occupants}: {:.0} messages/s, {:.0} deliveries/s, {:.2} µs cpu/delivery, \
             {:.2} cores, p50 {} µs, p99 {} µs",
            per_second(self.messages, elapsed),
            per_second(self.deliveries, elapsed),
            micros / self.deliveries.max(1) as f64,
            micros / 1e6 / elapsed.as_secs_f64(),
            percentile(&self.latencies, 50),
            percentile(&self.latencies, 99)
        );
        if self.bytes > 0.0 {
            let each = self.bytes / self.messages.max(1) as f64;
            println!("{rooms} x {occupants}: {each:.0} bytes from origin to edge for a message");
        }
    }
}
