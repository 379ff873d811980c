//! Many users at once, and how they are told what to do.
//!
//! Users with stream management come first, then those without, then those who are offline until
//! the end. Each sends to neighbours of all three sorts, and sees the presence of one or two.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use couplet_proto::slot::SLOTS;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::admin;
use crate::cluster::Cluster;
use crate::deadline::{PATIENCE, comes_true, until};
use crate::harness::tree::Tree;
use crate::history::{History, Kind, Records, Target, User};
use crate::inbound;
use crate::ownership;
use crate::rooms::{self, Room};
use crate::session::{Phase, Profile, Session, Surroundings, address};
use crate::stream::{Cause, DOMAIN, PASSWORD, Stream};

/// How many of each sort, and how fast.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Size {
    pub(crate) managed: usize,
    pub(crate) plain: usize,
    pub(crate) offline: usize,
    /// From one message of a user to its next.
    pub(crate) interval: Duration,
    /// For each room the origin that is to own it; everybody online is in one.
    pub(crate) rooms: &'static [usize],
    /// Whether those without stream management log in again after their connection broke.
    pub(crate) plain_come_back: bool,
}

/// The users of a case.
#[derive(Debug)]
pub(crate) struct Crowd {
    pub(crate) history: Arc<History>,
    size: Size,
    edges: Arc<[SocketAddr]>,
    /// As asked for.
    pub(crate) rooms: Vec<Room>,
    phase: watch::Sender<Phase>,
    sessions: JoinSet<()>,
}

// === impl Size ===

impl Default for Size {
    fn default() -> Self {
        Self {
            managed: 16,
            plain: 4,
            offline: 4,
            interval: Duration::from_millis(100),
            rooms: &[],
            plain_come_back: true,
        }
    }
}

impl Size {
    /// Everybody who is online.
    fn online(&self) -> usize {
        self.managed + self.plain
    }

    /// What user `index` of those online does.
    fn profile(&self, index: usize, rooms: &[Room]) -> Profile {
        let next_managed = (index + 1) % self.managed;
        let plain = |by: usize| self.managed + (index + by) % self.plain.max(1);
        let offline = self.online() + index % self.offline.max(1);
        let mut receivers = vec![next_managed, (index + 2) % self.managed];
        let mut contacts = vec![next_managed];
        if self.plain > 0 {
            receivers.push(plain(1));
            contacts.push(plain(1));
        }
        if self.offline > 0 {
            receivers.push(offline);
        }
        // Nobody writes to or watches itself.
        receivers.retain(|it| *it != index);
        contacts.retain(|it| *it != index);
        let is_managed = index < self.managed;
        let room = rooms.get(index % rooms.len().max(1)).copied();
        let mut receivers: Vec<Target> = receivers.into_iter().map(Target::User).collect();
        if let Some(room) = room {
            // Mostly it talks there.
            receivers.truncate(1);
            receivers.extend([Target::Room(room); 2]);
        }
        Profile {
            user: index,
            kind: if is_managed {
                Kind::Managed
            } else {
                Kind::Plain
            },
            receivers,
            room,
            contacts,
            interval: self.interval,
            comes_back: is_managed || self.plain_come_back,
        }
    }
}

// === impl Crowd ===

impl Crowd {
    /// Makes the accounts, logs everybody in and waits until all have seen their contacts.
    pub(crate) async fn gather(cluster: &Cluster, size: Size) -> Self {
        let history = Arc::new(History::default());
        let admin = cluster.origins[0].admin;
        for user in 0..size.online() + size.offline {
            admin::add_account(admin, &address(user), PASSWORD).await;
        }
        let edges: Arc<[SocketAddr]> = cluster.doors().into();
        let rooms = match size.rooms {
            [] => Vec::new(),
            origins => {
                all_own_slots(cluster).await;
                rooms::choose(cluster, origins)
            }
        };
        let founder = found(&edges, admin, &rooms).await;
        let (phase, watched) = watch::channel(Phase::Quiet);
        let mut sessions = JoinSet::new();
        let mut expected = Vec::new();
        for index in 0..size.online() {
            let profile = size.profile(index, &rooms);
            expected.extend(profile.contacts.iter().map(|contact| (index, *contact)));
            let around = Surroundings {
                edges: edges.clone(),
                history: history.clone(),
                phase: watched.clone(),
            };
            sessions.spawn(Session::new(profile, around).live());
        }
        for user in size.online()..size.online() + size.offline {
            history.lock().enroll(user, Kind::Offline);
        }
        let crowd = Self {
            history,
            size,
            edges,
            rooms,
            phase,
            sessions,
        };
        let all_there = comes_true(PATIENCE, async || {
            let records = crowd.history.lock();
            expected.iter().all(|it| has_seen(&records, *it))
                && records.unseen_occupants().is_empty()
        });
        let all_there = all_there.await;
        assert!(
            all_there,
            "not everybody is there: {}",
            crowd.absent(&expected)
        );
        if let Some(founder) = founder {
            founder.close().await.expect("its edge is there");
        }
        crowd
    }

    /// In words, who has not seen whom, and why not.
    fn absent(&self, expected: &[(User, User)]) -> String {
        let records = self.history.lock();
        let missing = expected.iter().filter(|it| !has_seen(&records, **it));
        let causes = records.lives.iter().flat_map(|(user, life)| {
            let failed = life
                .failed_attempts
                .iter()
                .map(move |it| format!("user{user}: {it}"));
            let lost = life
                .disconnects
                .iter()
                .map(move |it| format!("user{user}: {it:?}"));
            // The latest say most.
            let count = life.failed_attempts.len();
            let course = format!(
                "user{user}: {} bound, {} resumed, {} not, {count} attempts failed",
                life.binds, life.resumes, life.failed_resumes
            );
            failed
                .rev()
                .take(2)
                .chain(lost)
                .chain(std::iter::once(course))
        });
        let causes: Vec<_> = causes.take(80).collect();
        let strange = &records.strange;
        let unseen = records.unseen_occupants();
        let missing: Vec<_> = missing.collect();
        let removed = records.rooms.values().flat_map(|room| &room.removals);
        let removed: Vec<_> = removed.collect();
        format!("{missing:?}; in rooms {unseen:?}; {removed:?}; {causes:?}; {strange:?}")
    }

    /// Everybody begins to send.
    pub(crate) fn talk(&self) {
        self.phase.send_replace(Phase::Talking);
    }

    /// Waits until everybody has heard from everybody who writes to it something that was written
    /// after now.
    pub(crate) async fn everyone_is_heard(&self) {
        let marks = self.history.lock().live_flows();
        let room_marks = self.history.lock().room_marks();
        let is_done = comes_true(PATIENCE * 2, async || {
            let records = self.history.lock();
            marks
                .iter()
                .all(|&(flow, number)| records.has_heard(flow, number))
                && room_marks.iter().all(|mark| records.has_heard_in(*mark))
        });
        if !is_done.await {
            let records = self.history.lock();
            let silent = marks.iter().filter(|it| !records.has_heard(it.0, it.1));
            let silent: Vec<_> = silent.map(|it| it.0).collect();
            let in_rooms = room_marks.iter().filter(|it| !records.has_heard_in(**it));
            let in_rooms: Vec<_> = in_rooms.collect();
            drop(records);
            let causes = self.absent(&[]);
            panic!(
                "not heard (sender, receiver): {silent:?}; \
                 (room, sender, receiver, number): {in_rooms:?}; {causes}"
            );
        }
    }

    /// Waits until so many more messages have arrived.
    pub(crate) async fn arrivals(&self, count: usize) {
        let wanted = self.history.lock().received_count() + count;
        until(
            &format!("{count} more messages arrive"),
            PATIENCE,
            async || self.history.lock().received_count() >= wanted,
        )
        .await;
    }

    /// Nobody sends any more; waits until nothing is under way.
    pub(crate) async fn quiet(&mut self) {
        self.phase.send_replace(Phase::Quiet);
        // What is not settled by then is for the judge.
        let _ = comes_true(PATIENCE, async || {
            let records = self.history.lock();
            let is_settled = records.is_settled() && records.are_rooms_settled();
            is_settled && records.are_endings_seen() && records.are_leavings_seen()
        })
        .await;
        self.check_clients().await;
    }

    /// A client that has panicked has seen something it could not understand.
    async fn check_clients(&mut self) {
        while let Some(done) = self.sessions.try_join_next() {
            if let Err(error) = done {
                panic!("a client gave up: {error}");
            }
        }
    }

    /// Logs in those who were offline and records what waits for them.
    pub(crate) async fn read_stored(&self) {
        for user in self.size.online()..self.size.online() + self.size.offline {
            let read = self.read_mailbox(user).await;
            if let Err(cause) = read {
                let mut records = self.history.lock();
                records
                    .strange
                    .push(format!("reading for user{user}: {cause}"));
            }
        }
    }

    async fn read_mailbox(&self, user: User) -> Result<(), Cause> {
        let mut stream = self.log_in(user).await?;
        stream.bind("later").await?;
        stream.send("<presence/>").await?;
        let deadline = Instant::now() + PATIENCE;
        // What is stored comes in order, so nothing is missed once all that is known has come;
        // what came twice would come before the answer to what is asked after it.
        while !self.history.lock().has_all_acknowledged(user) && Instant::now() < deadline {
            let stanza = stream.next_step().await?;
            let _ = inbound::take(&mut self.history.lock(), user, &stanza);
        }
        let own = address(user);
        stream
            .send(&format!(
                "<iq type='get' id='last' to='{own}'><ping xmlns='urn:xmpp:ping'/></iq>"
            ))
            .await?;
        loop {
            let stanza = stream.next_step().await?;
            if is_answer(&stanza, "last") {
                return stream.close().await;
            }
            let _ = inbound::take(&mut self.history.lock(), user, &stanza);
        }
    }

    /// Logs in at the first edge that has it.
    async fn log_in(&self, user: User) -> Result<Stream, Cause> {
        let mut last = Err("no edge".to_owned());
        for edge in self.edges.iter() {
            last = Stream::log_in(*edge, &format!("user{user}")).await;
            if last.is_ok() {
                break;
            }
        }
        last
    }

    /// Everything recorded. What users without stream management sent over connections that still
    /// stand counts as acknowledged.
    pub(crate) fn records(&self) -> Records {
        let mut records = self.history.lock().clone();
        records.trust_standing_connections();
        records
    }

    /// Everybody goes.
    pub(crate) async fn leave(mut self) {
        self.phase.send_replace(Phase::Over);
        while self.sessions.join_next().await.is_some() {}
    }
}

/// Waits until every origin owns a good part of the slots, so that none moves for that any more.
async fn all_own_slots(cluster: &Cluster) {
    let origins: Vec<&str> = cluster.origins.iter().map(|it| it.name.as_str()).collect();
    let least = usize::from(SLOTS) / origins.len() / 2;
    until("every origin owns its share", PATIENCE, async || {
        let owned = origins
            .iter()
            .map(|name| ownership::count(&cluster.redis, name));
        owned.into_iter().all(|count| count >= least)
    })
    .await;
}

/// Opens the rooms; the one who did stays until others are there.
async fn found(edges: &[SocketAddr], admin: SocketAddr, rooms: &[Room]) -> Option<Stream> {
    if rooms.is_empty() {
        return None;
    }
    admin::add_account(admin, &format!("founder@{DOMAIN}"), PASSWORD).await;
    let founded = async {
        let mut stream = Stream::log_in(edges[0], "founder").await?;
        stream.bind("here").await?;
        stream.send("<presence/>").await?;
        for &room in rooms {
            stream.send(&rooms::create(room, "founder")).await?;
            while !is_answer(&stream.next_step().await?, "open") {}
        }
        Ok::<_, Cause>(stream)
    };
    match founded.await {
        Ok(stream) => Some(stream),
        Err(cause) => panic!("the rooms do not open: {cause}"),
    }
}

/// Whether a user has seen its contact come.
fn has_seen(records: &Records, pair: (User, User)) -> bool {
    records
        .seen
        .get(&pair)
        .is_some_and(|seen| seen.available > 0)
}

/// Whether a stanza answers the request of this id.
pub(crate) fn is_answer(stanza: &Tree, id: &str) -> bool {
    let is_end = matches!(stanza.get("type"), Some("result" | "error"));
    stanza.name == "iq" && is_end && stanza.get("id") == Some(id)
}
