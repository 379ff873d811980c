//! The load: senders who write to people that are offline and change their own rosters, each as
//! fast as the server answers, while the server is killed and started.

use std::sync::RwLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::harness::client::{Client, PATIENCE};
use crate::harness::reading::Incoming;
use crate::harness::server::{PASSWORD, Server};

/// How many write.
const SENDERS: usize = 8;
/// How many are written to.
const RECIPIENTS: usize = 6;
/// The most messages one acknowledgement covers.
const BATCH_MAX: u64 = 16;

/// What one sender did.
#[derive(Debug, Default)]
pub(crate) struct Work {
    /// Its account.
    pub(crate) jid: String,
    /// To whom each message went and whether it was acknowledged; the index is its number.
    pub(crate) messages: Vec<Message>,
    /// The last roster change sent, and the last acknowledged; 0 for none.
    pub(crate) roster_sent: u64,
    pub(crate) roster_acknowledged: u64,
}

/// One message.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) to: String,
    pub(crate) is_acknowledged: bool,
}

/// Senders, recipients and the server they share.
#[derive(Debug)]
pub(crate) struct Load<'a> {
    /// Logins happen under the read lock, so that the server is up; sending does not.
    server: &'a RwLock<Server>,
    seed: u64,
    senders: Vec<String>,
    recipients: Vec<String>,
    acknowledged: AtomicU64,
    is_over: AtomicBool,
}

/// The contact whose name every sender changes.
pub(crate) const CONTACT: &str = "friend@verona.lit";

// === impl Work ===

impl Work {
    pub(crate) fn acknowledged(&self) -> u64 {
        let acknowledged = self
            .messages
            .iter()
            .filter(|message| message.is_acknowledged);
        acknowledged.count() as u64
    }
}

// === impl Load ===

impl<'a> Load<'a> {
    pub(crate) fn new(server: &'a RwLock<Server>, seed: u64) -> Self {
        let running = server.read().expect("nobody has panicked");
        let accounts = |count, name| (0..count).map(|_| running.new_account(name)).collect();
        Self {
            server,
            seed,
            senders: accounts(SENDERS, "sender"),
            recipients: accounts(RECIPIENTS, "recipient"),
            acknowledged: AtomicU64::new(0),
            is_over: AtomicBool::new(false),
        }
    }

    /// Runs the senders and kills the server that often; it is up again at the end.
    pub(crate) fn run(&self, kills: u64, messages_per_kill: u64) -> Vec<Work> {
        thread::scope(|scope| {
            let senders: Vec<_> = (0..SENDERS)
                .map(|index| scope.spawn(move || self.send(index)))
                .collect();
            let mut random = Random(self.seed);
            for kill in 1..=kills {
                // Somewhere in the middle of whatever is under way then.
                let jitter = random.below(messages_per_kill / 4);
                self.await_acknowledged(kill * messages_per_kill + jitter);
                let mut server = self.server.write().expect("nobody has panicked");
                server.kill();
                if kill == kills {
                    self.is_over.store(true, Ordering::Relaxed);
                }
                server.run();
            }
            let done = senders.into_iter().map(|sender| sender.join());
            done.map(|work| work.expect("a sender does not panic"))
                .collect()
        })
    }

    fn await_acknowledged(&self, count: u64) {
        let mut last = (0, Instant::now());
        loop {
            let now = self.acknowledged.load(Ordering::Relaxed);
            if now >= count {
                return;
            }
            if now > last.0 {
                last = (now, Instant::now());
            }
            let seed = self.seed;
            assert!(
                last.1.elapsed() < PATIENCE,
                "seed {seed}: no progress at {now} messages"
            );
            thread::park_timeout(Duration::from_micros(200));
        }
    }

    /// One sender, from the first login to the last crash.
    fn send(&self, index: usize) -> Work {
        let jid = self.senders[index].clone();
        let mut random = Random(self.seed.wrapping_mul(1000) + index as u64);
        let mut work = Work {
            jid,
            ..Work::default()
        };
        while !self.is_over.load(Ordering::Relaxed) {
            let mut client = {
                let server = self.server.read().expect("nobody has panicked");
                if self.is_over.load(Ordering::Relaxed) {
                    break;
                }
                Client::login(server.c2s, &work.jid, PASSWORD)
            };
            while self
                .send_batch(&mut client, &mut work, &mut random)
                .is_some()
            {}
        }
        work
    }

    /// Some messages to one recipient and a roster change, and the answers to both; nothing when
    /// the connection broke.
    fn send_batch(&self, client: &mut Client, work: &mut Work, random: &mut Random) -> Option<()> {
        let to = &self.recipients[usize::try_from(random.below(RECIPIENTS as u64)).ok()?];
        let first = work.messages.len();
        let mut text = String::new();
        for _ in 0..=random.below(BATCH_MAX) {
            let number = work.messages.len();
            text.push_str(&format!(
                "<message to='{to}' type='chat' id='m{number}'><body>{number}</body></message>"
            ));
            work.messages.push(Message {
                to: to.clone(),
                is_acknowledged: false,
            });
        }
        work.roster_sent += 1;
        let change = work.roster_sent;
        text.push_str(&format!(
            "<iq type='get' to='{to}' id='barrier{first}'>\
             <query xmlns='http://jabber.org/protocol/disco#info'/></iq>\
             <iq type='set' id='roster{change}'><query xmlns='jabber:iq:roster'>\
             <item jid='{CONTACT}' name='{change}'/></query></iq>"
        ));
        client.send_bytes(text.as_bytes()).ok()?;
        let (barrier, roster) = (format!("barrier{first}"), format!("roster{change}"));
        // Two accounts answer, so either answer may be the first.
        for _ in 0..2 {
            let id = next_answer(client)?;
            if id == roster {
                work.roster_acknowledged = change;
                continue;
            }
            // A stranger's request is refused, but by the account that got what came before it.
            assert_eq!(id, barrier, "nothing else was asked");
            for message in &mut work.messages[first..] {
                message.is_acknowledged = true;
            }
            let count = work.messages.len() - first;
            self.acknowledged.fetch_add(count as u64, Ordering::Relaxed);
        }
        Some(())
    }
}

/// Reads until an answer and returns its id; nothing when the connection ends first.
fn next_answer(client: &mut Client) -> Option<String> {
    loop {
        match client.incoming() {
            Incoming::Element(tree) if tree.name == "iq" => {
                return tree.get("id").map(ToOwned::to_owned);
            }
            Incoming::Element(tree) => {
                let is_refusal = tree.name == "message" && tree.get("type") == Some("error");
                assert!(!is_refusal, "a message was refused: {tree:?}");
            }
            Incoming::Header(_) => {}
            Incoming::End | Incoming::Eof => return None,
        }
    }
}

/// A small generator (SplitMix64): the same numbers from the same seed.
#[derive(Debug)]
struct Random(u64);

// === impl Random ===

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound
    }
}
