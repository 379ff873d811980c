//! Clerk: changes what operators have ordered, keeps the board up to date, and tells everybody.
//!
//! ```text
//! operator ─▶ change: read, compare-and-swap ─▶ store ◀─ read ── another version is in a beat
//!                        └──────────▶ board ◀──────────────────┘
//!                                       ├─▶ edges: all rules, with their version
//!                                       └─▶ shards: sessions that may have to end
//! ```
//!
//! **Invariant:** a version that is known here is never replaced by an older one. A store that has
//! lost its last writes is given them again.
//!
//! - `desk`: what is read goes up on the board, and everybody is told.

mod desk;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use couplet_proto::Jid;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use self::desk::{Desk, in_time};
use crate::directives::board::{Board, Served};
use crate::directives::{AddedDomain, Ban, Directives, Target};
use crate::shard::actor::Surroundings;
use crate::store;

/// How often a change is tried when others change something at the same time.
const TRIES: usize = 16;

/// How often it is looked whether bans have ended.
const LOOK: Duration = Duration::from_secs(1);

/// The longest reason, in bytes.
const REASON_MAX: usize = 500;

/// See the module.
pub struct Clerk {
    desk: Arc<Desk>,
    board: Arc<Board>,
    bans_max: usize,
    domains_max: usize,
}

/// What an operator wants banned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Who.
    pub target: Target,
    /// Why, in his words; may be empty.
    pub reason: Box<str>,
    /// Who he is.
    pub by: Box<str>,
    /// Whether he may order bans in some domains only.
    pub is_confined: bool,
    /// After how many seconds it ends by itself.
    pub secs: Option<u64>,
}

/// Why nothing is changed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no room for one more.
    #[error("there are {0} bans, as many as limits.bans allows: lift some, or raise it")]
    TooManyBans(usize),
    /// What is left is for those who may ban everywhere.
    #[error(
        "tokens of the scope domain have ordered {0} bans, half of limits.bans and so all that \
         they may: lift some"
    )]
    ShareTaken(usize),
    /// He may order bans in some domains only.
    #[error(
        "{0} is banned for the whole server: to replace or to lift that needs a token with the \
         scope server"
    )]
    OfServer(Target),
    /// There is no room for one more.
    #[error(
        "{0} domains have been added, as many as limits.added_domains allows: remove some, or \
         raise it"
    )]
    TooManyDomains(usize),
    /// Nobody has accounts there.
    #[error("{0} is not a domain of this server, so nobody has an account there")]
    NotServed(Box<str>),
    /// It ends before it begins.
    #[error("a ban lasts a second at least")]
    TooShort,
    /// It would fill the store.
    #[error("a reason has {REASON_MAX} bytes at most")]
    ReasonTooLong,
    /// There is nothing to lift.
    #[error("{0} is not banned")]
    NotBanned(Target),
    /// It cannot be one.
    #[error("{0:?} is not a domain")]
    NotADomain(Box<str>),
    /// There is nothing to add.
    #[error("the domain {0} is served already")]
    Served(Jid),
    /// Rooms are there.
    #[error("{0} is a domain of rooms, which has no accounts")]
    Rooms(Jid),
    /// It is none of those that can be removed.
    #[error(
        "the domain {0} is in the configuration (`domains`), which this cannot change: take it out \
         there, and restart the nodes one by one"
    )]
    Configured(Jid),
    /// There is nothing to remove.
    #[error("the domain {0} was not added")]
    NotAdded(Jid),
    /// Somebody would lose his account.
    #[error(
        "the domain {0} has accounts, {1} for one: remove them first, or force it, which ends \
         their sessions and leaves the accounts in the store"
    )]
    HasAccounts(Jid, Jid),
    /// Others are faster all the time.
    #[error("others change bans or domains at the same time: try again")]
    Busy,
    /// The store did not answer, or did not take it.
    #[error("{0}")]
    Store(String),
}

// === impl Clerk ===

impl Clerk {
    /// Nothing is known yet.
    pub(crate) fn new(surroundings: Surroundings, limits: &crate::config::Limits) -> Self {
        Self {
            board: Arc::clone(&surroundings.board),
            desk: Arc::new(Desk::new(surroundings)),
            bans_max: limits.bans,
            domains_max: limits.added_domains,
        }
    }

    /// What is known now.
    pub fn served(&self) -> Arc<Served> {
        Arc::clone(&self.board.served())
    }

    /// The bans in force, in order of their targets.
    pub fn bans(&self) -> Vec<Ban> {
        let now = self.now();
        let served = self.served();
        let bans = served.directives().bans.iter();
        bans.filter(|ban| ban.is_in_force(now)).cloned().collect()
    }

    /// Whether a domain is in the configuration, and so cannot be removed.
    pub fn is_configured(&self, domain: &Jid) -> bool {
        self.board.configured().domains.contains(domain)
    }

    /// Keeps somebody out, on every node within seconds; here at once. The ban as it stands.
    ///
    /// # Errors
    /// [`Error`], in words for the operator.
    pub async fn ban(&self, wanted: Wanted) -> Result<Ban, Error> {
        if wanted.reason.len() > REASON_MAX {
            return Err(Error::ReasonTooLong);
        }
        if wanted.secs == Some(0) {
            return Err(Error::TooShort);
        }
        if let Target::Account(jid) = &wanted.target
            && !self.board.served().is_local(jid.domain())
        {
            return Err(Error::NotServed(jid.domain().into()));
        }
        let now = self.now();
        let ban = Ban {
            target: wanted.target,
            reason: wanted.reason,
            by: wanted.by,
            is_confined: wanted.is_confined,
            since: now,
            until: wanted
                .secs
                .map(|secs| now.saturating_add(secs.saturating_mul(1000))),
        };
        let most = self.bans_max;
        self.change(|directives| {
            let former = directives.find(&ban.target);
            if former.is_none() && directives.bans.len() >= most {
                return Err(Error::TooManyBans(directives.bans.len()));
            }
            if ban.is_confined {
                may_change(former)?;
                let confined = directives.bans.iter().filter(|ban| ban.is_confined).count();
                if former.is_none() && confined >= most / 2 {
                    return Err(Error::ShareTaken(confined));
                }
            }
            directives.ban(ban.clone());
            Ok(())
        })
        .await?;
        tracing::info!(target = %ban.target, by = ban.by, secs = wanted.secs, "banned");
        Ok(ban)
    }

    /// Lets somebody in again; `is_confined` as in [`Wanted`].
    ///
    /// # Errors
    /// [`Error::NotBanned`], [`Error::OfServer`], or what the store says.
    pub async fn lift(&self, target: &Target, by: &str, is_confined: bool) -> Result<(), Error> {
        self.change(|directives| {
            if is_confined {
                may_change(directives.find(target))?;
            }
            match directives.lift(target) {
                true => Ok(()),
                false => Err(Error::NotBanned(target.clone())),
            }
        })
        .await?;
        tracing::info!(%target, by, "not banned any more");
        Ok(())
    }

    /// Serves one more domain. The domain in the form in which addresses are compared.
    ///
    /// # Errors
    /// [`Error`], in words for the operator.
    pub async fn add_domain(&self, name: &str, by: &str) -> Result<Jid, Error> {
        let domain = parse_domain(name)?;
        let served = self.served();
        if served.is_local(domain.as_str()) {
            return Err(Error::Served(domain));
        }
        if served.is_service(domain.as_str()) {
            return Err(Error::Rooms(domain));
        }
        let (now, most) = (self.now(), self.domains_max);
        self.change(|directives| {
            if directives.domains.len() >= most {
                return Err(Error::TooManyDomains(directives.domains.len()));
            }
            let added = AddedDomain {
                domain: domain.clone(),
                by: by.into(),
                since: now,
            };
            match directives.add(added) {
                true => Ok(()),
                false => Err(Error::Served(domain.clone())),
            }
        })
        .await?;
        tracing::info!(%domain, by, "domain added");
        Ok(domain)
    }

    /// Serves a domain no longer that was added: its sessions end. Its accounts stay in the store,
    /// and are there again when it is added again; unless `is_forced` there must be none.
    ///
    /// # Errors
    /// [`Error`], in words for the operator.
    pub async fn remove_domain(&self, name: &str, is_forced: bool, by: &str) -> Result<(), Error> {
        let domain = parse_domain(name)?;
        self.may_remove(&domain)?;
        if !is_forced && let Some(account) = self.an_account_of(&domain).await? {
            return Err(Error::HasAccounts(domain, account));
        }
        self.change(|directives| match directives.remove(&domain) {
            true => Ok(()),
            false => Err(Error::NotAdded(domain.clone())),
        })
        .await?;
        tracing::info!(%domain, by, "domain removed");
        Ok(())
    }

    /// Whether a domain is one of those that can be removed.
    ///
    /// # Errors
    /// [`Error::Configured`] or [`Error::NotAdded`].
    pub fn may_remove(&self, domain: &Jid) -> Result<(), Error> {
        if self.is_configured(domain) {
            return Err(Error::Configured(domain.clone()));
        }
        match self.served().is_local(domain.as_str()) {
            true => Ok(()),
            false => Err(Error::NotAdded(domain.clone())),
        }
    }

    /// Reads what another origin has changed, which is known by the next beat at the latest.
    ///
    /// # Errors
    /// [`Error::Store`].
    pub async fn follow(&self) -> Result<(), Error> {
        Ok(self.refresh().await?)
    }

    /// The store may have another version than is known here.
    pub(crate) fn heard(&self, version: u64) {
        if version != self.board.served().directives().version {
            self.desk.set_due();
        }
    }

    /// Reads the document unless it is known: nothing is served before.
    ///
    /// # Errors
    /// What the store says.
    pub(crate) async fn ensure_known(&self) -> Result<(), store::Error> {
        match self.board.is_known() {
            true => Ok(()),
            false => self.refresh().await,
        }
    }

    /// Follows the store, and forgets bans that have ended, until told to stop.
    pub(crate) async fn keep(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut look = tokio::time::interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                // An origin that is dropped stops too.
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.desk.due() => {}
                _ = look.tick() => {}
            }
            if self.desk.take_due()
                && let Err(error) = self.refresh().await
            {
                tracing::warn!(%error, "bans and domains could not be read");
                self.desk.set_due_later();
            }
            self.forget_ended().await;
        }
    }

    /// A ban that has ended counts no longer anyway: this keeps the document small.
    async fn forget_ended(&self) {
        let now = self.now();
        let served = self.served();
        let mut bans = served.directives().bans.iter();
        if bans.any(|ban| !ban.is_in_force(now))
            && let Err(error) = self.change(|_| Ok(())).await
        {
            tracing::debug!(%error, "bans that have ended could not be forgotten");
        }
    }

    async fn refresh(&self) -> Result<(), store::Error> {
        let stored = self.desk.read().await?;
        let known = self.board.directives();
        if !self.board.is_known() || stored.version >= known.version {
            self.desk.post(stored).await;
            return Ok(());
        }
        // What operators were told is done must stay so.
        let again = Directives {
            version: known.version + 1,
            ..(*known).clone()
        };
        tracing::warn!(
            stored = stored.version,
            known = known.version,
            "the store has lost bans or domains: it gets them again"
        );
        self.desk.put(stored.version, again).await?;
        Ok(())
    }

    /// Changes the document in the store, as long as it takes while others do too.
    async fn change(
        &self,
        act: impl Fn(&mut Directives) -> Result<(), Error> + Send,
    ) -> Result<(), Error> {
        for _ in 0..TRIES {
            let mut next = self.desk.read().await?;
            let stored = next.version;
            if stored < self.board.directives().version {
                self.refresh().await?;
                continue;
            }
            let before = next.clone();
            next.prune(self.now());
            act(&mut next)?;
            if next == before {
                // Another node was faster, and a version more would make everybody read it again.
                return Ok(());
            }
            next.version = stored + 1;
            if self.desk.put(stored, next).await? {
                return Ok(());
            }
        }
        Err(Error::Busy)
    }

    async fn an_account_of(&self, domain: &Jid) -> Result<Option<Jid>, Error> {
        let store = &self.desk.surroundings.store;
        let first = in_time(store.accounts(domain.as_str().into(), None, 1)).await?;
        Ok(first.into_iter().next())
    }

    fn now(&self) -> u64 {
        self.desk.surroundings.clock.now().unix
    }
}

impl std::fmt::Debug for Clerk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Clerk").finish_non_exhaustive()
    }
}

// === impl Error ===

impl From<store::Error> for Error {
    fn from(error: store::Error) -> Self {
        Self::Store(error.to_string())
    }
}

/// Whether somebody who may order bans in some domains only may put another one in its place, or
/// none.
fn may_change(former: Option<&Ban>) -> Result<(), Error> {
    match former.filter(|ban| !ban.is_confined) {
        Some(ban) => Err(Error::OfServer(ban.target.clone())),
        None => Ok(()),
    }
}

fn parse_domain(name: &str) -> Result<Jid, Error> {
    let jid = Jid::parse(name).ok();
    let domain = jid.filter(|jid| jid.is_bare() && jid.local().is_none());
    domain.ok_or_else(|| Error::NotADomain(name.into()))
}
