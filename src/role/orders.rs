//! Orders: bans, domains and kicks, as the port for operators asks for them.

use std::time::Duration;

use couplet_origin::Clerk;
use couplet_origin::clerk::{self, Wanted};
use couplet_origin::directives::{Ban, Target};
use couplet_proto::Jid;
use tokio::time::Instant;

use crate::admin::{Accounts, Kicked, Orders, PAGE_MAX, Refusal, Removal};

/// How long one request may take for what concerns a whole domain; then it is to be asked again.
const LONGEST: Duration = Duration::from_secs(20);

/// Sessions of a domain that one origin ends at once, and how long until the next: a thousand a
/// second, so that what they cause does not hold up the others.
const KICKED_AT_ONCE: usize = 100;
const PAUSE: Duration = Duration::from_millis(100);

/// A node on which a clerk keeps what operators order.
pub(super) trait Ordered: Accounts {
    /// The clerk.
    fn clerk(&self) -> &Clerk;

    /// Ends a session, or all of an account; how many those were.
    fn end(&self, jid: Jid) -> impl Future<Output = Result<u64, Refusal>> + Send;

    /// Has each origin end some sessions of a domain, at most so many.
    fn end_some(
        &self,
        domain: &Jid,
        max: usize,
    ) -> impl Future<Output = Result<Kicked, Refusal>> + Send;

    /// Lets the others know that something was ordered. They find out by themselves too: this is
    /// so that what is done next finds it done.
    fn spread(&self) -> impl Future<Output = ()> + Send;
}

// === impl Refusal ===

impl From<clerk::Error> for Refusal {
    fn from(error: clerk::Error) -> Self {
        use clerk::Error;

        let text = error.to_string();
        match error {
            Error::TooShort | Error::ReasonTooLong | Error::NotADomain(_) => Self::Malformed(text),
            Error::NotServed(_) | Error::NotBanned(_) | Error::NotAdded(_) => Self::Unknown(text),
            Error::OfServer(_) => Self::Forbidden(text),
            Error::TooManyBans(_)
            | Error::ShareTaken(_)
            | Error::TooManyDomains(_)
            | Error::Served(_)
            | Error::Rooms(_)
            | Error::Configured(_)
            | Error::HasAccounts(..) => Self::Conflict(text),
            Error::Busy | Error::Store(_) => Self::Unavailable(text),
        }
    }
}

impl<T: Ordered> Orders for T {
    fn is_configured(&self, domain: &Jid) -> bool {
        self.clerk().is_configured(domain)
    }

    async fn add_domain(&self, domain: Jid, by: &str) -> Result<(), Refusal> {
        self.clerk().add_domain(domain.as_str(), by).await?;
        self.spread().await;
        Ok(())
    }

    async fn remove_domain(&self, domain: Jid, removal: Removal, by: &str) -> Result<(), Refusal> {
        // Before any account is touched.
        self.clerk().may_remove(&domain)?;
        if removal == Removal::WithAccounts {
            remove_accounts(self, &domain).await?;
        }
        let is_forced = removal == Removal::Forced;
        let removed = self.clerk().remove_domain(domain.as_str(), is_forced, by);
        removed.await?;
        self.spread().await;
        Ok(())
    }

    fn bans(&self) -> Vec<Ban> {
        self.clerk().bans()
    }

    async fn ban(&self, wanted: Wanted) -> Result<Ban, Refusal> {
        let ban = self.clerk().ban(wanted).await?;
        self.spread().await;
        Ok(ban)
    }

    async fn lift(&self, target: Target, by: &str, is_confined: bool) -> Result<(), Refusal> {
        self.clerk().lift(&target, by, is_confined).await?;
        self.spread().await;
        Ok(())
    }

    async fn kick(&self, jid: Jid) -> Result<Kicked, Refusal> {
        if jid.local().is_some() {
            let ended = self.end(jid).await?;
            let are_left = false;
            return Ok(Kicked { ended, are_left });
        }
        let deadline = Instant::now() + LONGEST;
        let mut all = Kicked::default();
        loop {
            let kicked = self.end_some(&jid, KICKED_AT_ONCE).await?;
            all.ended += kicked.ended;
            all.are_left = kicked.are_left;
            if !all.are_left || Instant::now() > deadline {
                return Ok(all);
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
}

async fn remove_accounts(accounts: &impl Accounts, domain: &Jid) -> Result<(), Refusal> {
    let deadline = Instant::now() + LONGEST;
    let mut removed = 0;
    loop {
        let page = accounts.list(domain.clone(), None, PAGE_MAX).await?;
        if page.is_empty() {
            return Ok(());
        }
        for account in page {
            if Instant::now() > deadline {
                let text = format!(
                    "{removed} accounts of {domain} are removed, and there are more: ask again"
                );
                return Err(Refusal::Unavailable(text));
            }
            match accounts.remove(account).await {
                // Somebody else was faster.
                Ok(()) | Err(Refusal::Unknown(_)) => removed += 1,
                Err(refusal) => return Err(refusal),
            }
        }
    }
}
