//! Admin: what an operator may ask of accounts, answered by their owners.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use couplet_proto::Jid;
use couplet_proto::link::id::EdgeId;
use couplet_proto::slot::Slot;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::auth::Credentials;
use crate::onlook::{Ask, Watch, Watched};
use crate::store::Store;

/// How often is looked whether something has passed.
const WATCH_PAUSE: Duration = Duration::from_millis(100);

/// A request to the owner of an account.
#[derive(Debug)]
pub struct Request {
    /// What to do.
    pub action: Action,
    /// Where the answer goes.
    pub reply: oneshot::Sender<Result<(), Error>>,
}

/// What an operator may do with an account.
#[derive(Debug)]
pub enum Action {
    /// Create it; it must not exist.
    Add(Box<Credentials>),
    /// Give it another password; it must exist. Its sessions stay.
    SetPassword(Box<Credentials>),
    /// Remove it with everything it has; its sessions are closed.
    Remove,
}

/// An answer on its way to the operator, released when it is durable.
#[derive(Debug)]
pub struct Answering {
    /// The waiting operator.
    pub reply: oneshot::Sender<Result<(), Error>>,
    /// What to say.
    pub result: Result<(), Error>,
}

/// Which sessions an operator wants to see.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// Of this account only.
    pub account: Option<Jid>,
    /// Of accounts of this domain only, in the form in which addresses are compared.
    pub domain: Option<Box<str>>,
    /// After this full address.
    pub after: Option<Box<str>>,
    /// At most so many.
    pub max: usize,
}

/// Sessions of an origin, or of one of its shards.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Listed {
    /// Those asked for, in order of their addresses.
    pub sessions: Vec<SessionState>,
    /// How many there are in all.
    pub total: usize,
    /// How many clients are authenticating.
    pub exchanges: usize,
}

/// A session as an operator sees it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct SessionState {
    /// The full address.
    pub jid: Jid,
    /// Its slot.
    pub slot: Slot,
    /// The lane of the edge its connection is on; `None` while it has none.
    pub edge: Option<EdgeId>,
    /// When it was bound, in milliseconds since 1970.
    pub bound: u64,
    /// Whether it has broadcast presence.
    pub is_available: bool,
    /// Whether it can be resumed.
    pub is_resumable: bool,
}

/// Why an operator's request failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The account is there already.
    #[error("the account {0} exists already")]
    Exists(Jid),
    /// There is no such account.
    #[error("there is no account {0}")]
    Missing(Jid),
    /// The address cannot be an account.
    #[error("{0} is not the bare address of an account: use name@domain")]
    NotAnAccount(Jid),
    /// Its domain is not served here.
    #[error("the domain {0} is not served here: see `domains` in the configuration")]
    NotServed(Box<str>),
    /// The password holds characters that SASLprep forbids, or nothing.
    #[error("the password is empty or has characters that are not allowed")]
    BadPassword,
    /// The store did not take it.
    #[error("{0}")]
    Store(String),
    /// Its slot is being taken over or left, for seconds at most.
    #[error("the account is moving to another node, try again")]
    Moving,
    /// The server is stopping.
    #[error("the server is stopping")]
    Stopping,
    /// Nobody has begun to look on, or has not asked for too long, or another node owns the account
    /// now.
    #[error("the account is not watched here, or not any more: begin again")]
    NotWatched,
    /// So many accounts are watched here already.
    #[error("{0} accounts are watched on this origin already")]
    WatchedEnough(usize),
}

/// The operator's entrance to an origin.
#[derive(Clone)]
pub struct Admin {
    inner: Arc<Inner>,
}

struct Inner {
    store: Arc<dyn Store>,
    mailboxes: crate::shard::mailbox::Mailboxes,
    domains: Vec<Jid>,
    iterations: u32,
}

// === impl Admin ===

impl Admin {
    pub(crate) fn new(
        store: Arc<dyn Store>,
        mailboxes: crate::shard::mailbox::Mailboxes,
        domains: Vec<Jid>,
        iterations: u32,
    ) -> Self {
        Self {
            inner: Arc::new(Inner {
                store,
                mailboxes,
                domains,
                iterations,
            }),
        }
    }

    /// Creates an account.
    ///
    /// # Errors
    /// [`Error`]: it exists, the address or the password is not fit, the store did not take it.
    pub async fn account_add(&self, account: Jid, password: String) -> Result<(), Error> {
        self.check(&account)?;
        let credentials = self.derive(password).await?;
        self.ask(account, Action::Add(credentials)).await
    }

    /// Gives an account another password. Its sessions stay.
    ///
    /// # Errors
    /// As [`Admin::account_add`]; [`Error::Missing`] when there is no such account.
    pub async fn account_set_password(&self, account: Jid, password: String) -> Result<(), Error> {
        self.check(&account)?;
        let credentials = self.derive(password).await?;
        self.ask(account, Action::SetPassword(credentials)).await
    }

    /// Removes an account with everything it has and closes its sessions.
    ///
    /// # Errors
    /// [`Error::Missing`] when there is no such account.
    pub async fn account_remove(&self, account: Jid) -> Result<(), Error> {
        self.check(&account)?;
        self.ask(account, Action::Remove).await
    }

    /// Accounts of a domain in order after a local part, at most `max`.
    ///
    /// # Errors
    /// [`Error::NotServed`] or [`Error::Store`].
    pub async fn account_list(
        &self,
        domain: &Jid,
        after: Option<&str>,
        max: usize,
    ) -> Result<Vec<Jid>, Error> {
        self.check_domain(domain)?;
        let page = self
            .inner
            .store
            .accounts(domain.domain().into(), after.map(Into::into), max);
        page.await.map_err(|error| Error::Store(error.to_string()))
    }

    /// Sessions that this origin holds, in order of their addresses. With a `max` of 0 they are
    /// only counted.
    ///
    /// # Errors
    /// [`Error::Stopping`].
    pub async fn sessions(&self, listing: Listing) -> Result<Listed, Error> {
        let mailboxes = &self.inner.mailboxes;
        let shards = match &listing.account {
            Some(account) => {
                let slot = Slot::of(self.inner.store.seed(), account);
                let shard = mailboxes.shard_of(slot);
                shard..shard + 1
            }
            None => 0..mailboxes.len(),
        };
        let mut listed = Listed::default();
        for shard in shards {
            let some = mailboxes.list(shard, listing.clone()).await;
            let some = some.ok_or(Error::Stopping)?;
            listed.total += some.total;
            listed.exchanges += some.exchanges;
            listed.sessions.extend(some.sessions);
            listed.sessions.sort_unstable();
            listed.sessions.truncate(listing.max);
        }
        Ok(listed)
    }

    /// Lets an operator look on at an account, which must be one of ours. A reading that finds
    /// nothing waits for something, about so long.
    ///
    /// # Errors
    /// [`Error::NotWatched`], [`Error::WatchedEnough`], [`Error::Moving`]; and what no account can
    /// be.
    pub async fn watch(&self, watch: Watch, patience: Duration) -> Result<Watched, Error> {
        self.check(&watch.jid.to_bare())?;
        let slot = Slot::of(self.inner.store.seed(), &watch.jid);
        let deadline = Instant::now() + patience;
        loop {
            let watched = self.inner.mailboxes.watch(slot, watch.clone()).await;
            let watched = watched.ok_or(Error::Stopping)??;
            let is_news = !watched.records.is_empty() || watched.skipped > 0;
            if is_news || watch.ask == Ask::Open || Instant::now() >= deadline {
                return Ok(watched);
            }
            tokio::time::sleep(WATCH_PAUSE).await;
        }
    }

    /// Writes a consistent copy of the store into the folder `to` while everything goes on.
    ///
    /// # Errors
    /// [`Error::Store`] with the cause.
    pub async fn backup(&self, to: &Path) -> Result<(), Error> {
        let copied = self.inner.store.backup(to).await;
        copied.map_err(|error| Error::Store(error.to_string()))
    }

    /// The domains served.
    pub fn domains(&self) -> &[Jid] {
        &self.inner.domains
    }

    async fn ask(&self, account: Jid, action: Action) -> Result<(), Error> {
        let (reply, answer) = oneshot::channel();
        let slot = Slot::of(self.inner.store.seed(), &account);
        let request = Box::new(Request { action, reply });
        let sent = self.inner.mailboxes.admin(slot, account, request).await;
        sent.map_err(|()| Error::Stopping)?;
        // A request whose commit failed is dropped with its sender.
        let lost = Error::Store("the store did not take the change in time".to_owned());
        answer.await.unwrap_or(Err(lost))
    }

    async fn derive(&self, password: String) -> Result<Box<Credentials>, Error> {
        let iterations = self.inner.iterations;
        let derived = tokio::task::spawn_blocking(move || {
            let salts = fresh_salts();
            Credentials::derive(&password, iterations, salts.0, salts.1)
        });
        match derived.await {
            Ok(Ok(credentials)) => Ok(Box::new(credentials)),
            Ok(Err(_)) => Err(Error::BadPassword),
            Err(_) => Err(Error::Stopping),
        }
    }

    fn check(&self, account: &Jid) -> Result<(), Error> {
        if account.is_full() || account.local().is_none() {
            return Err(Error::NotAnAccount(account.clone()));
        }
        self.check_domain(account)
    }

    fn check_domain(&self, jid: &Jid) -> Result<(), Error> {
        let mut domains = self.inner.domains.iter();
        match domains.any(|domain| domain.as_str() == jid.domain()) {
            true => Ok(()),
            false => Err(Error::NotServed(jid.domain().into())),
        }
    }
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin").finish_non_exhaustive()
    }
}

/// Salts for the two kinds of keys, from the operating system's randomness.
pub(crate) fn fresh_salts() -> ([u8; 16], [u8; 16]) {
    let mut rng = system_rng();
    let mut salts = [[0; 16]; 2];
    rng.fill_bytes(&mut salts[0]);
    rng.fill_bytes(&mut salts[1]);
    (salts[0], salts[1])
}

/// A generator seeded by the operating system: where randomness enters the process.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that draws on the system"
)]
pub(crate) fn system_rng() -> StdRng {
    StdRng::from_rng(&mut rand::rng())
}
