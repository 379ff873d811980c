//! Jobs: what a shard asks for that takes time, each in a task of its own; its end comes back as
//! an event.

use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use couplet_proto::Jid;
use couplet_proto::slot::Slot;
use futures_util::future::join_all;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::actor::{Actor, Surroundings};
use super::event::{Answered, Event, Verified};
use super::output::Output;
use crate::admin::fresh_salts;
use crate::auth::Credentials;
use crate::hooks::{Answer, Ask};
use crate::store::{self, Batch, Log, LogId, Span, Store};

/// First pause before a failed commit is tried again; it doubles up to a second.
const RETRY: Duration = Duration::from_millis(50);

impl Actor {
    pub(super) fn commit(&self, batches: Vec<Batch>) {
        let surroundings = self.surroundings.clone();
        let back = self.back();
        let latency = self.hot.commit.clone();
        let writes: usize = batches.iter().map(|batch| batch.writes.len()).sum();
        self.hot.writes.record(writes as f64);
        let shard = usize::from(self.shard.id());
        let now = surroundings.clock.now().mono;
        surroundings.overload.commit_begins(shard, now);
        tokio::spawn(async move {
            let started = Instant::now();
            let failed = commit_all(&surroundings, batches).await;
            latency.record(started.elapsed().as_secs_f64());
            surroundings.overload.commit_ends(shard);
            let is_fence = |error: &store::Error| matches!(error, store::Error::Fenced { .. });
            let is_storing = failed.iter().all(|(_, error)| is_fence(error));
            surroundings.is_storing.store(is_storing, Ordering::Relaxed);
            let _ = back.send(Event::Committed(failed)).await;
        });
    }

    /// Starts what takes time; its end comes back as an event. How many run at once is bounded by
    /// the accounts in memory: each has one question under way for each stanza that asked.
    pub(super) fn start(&self, output: Output) {
        let back = self.back();
        let surroundings = self.surroundings.clone();
        match output {
            Output::Sleepers(slot) => {
                tokio::spawn(async move {
                    let owners = surroundings.store.sleepers(slot).await;
                    let _ = back.send(Event::Sleepers(slot, owners)).await;
                });
            }
            Output::Load(slot, jid) => {
                tokio::spawn(async move {
                    let loaded = surroundings.store.load(slot, jid.clone()).await;
                    let _ = back.send(Event::Loaded(jid, loaded)).await;
                });
            }
            Output::Ask(slot, jid, ask, asked, then, debt) => {
                tokio::spawn(async move {
                    let store = &surroundings.store;
                    let answer = match ask {
                        Ask::Value(table, key) => {
                            let value = store.get(slot, jid.clone(), table, key).await;
                            value.map(Answer::Value)
                        }
                        Ask::Log(log, span, max) => {
                            let page = store.read_log(slot, jid.clone(), log, span, max).await;
                            page.map(Answer::Log)
                        }
                        Ask::Entries(log, ids) => {
                            let entries = entries(&**store, slot, &jid, log, ids).await;
                            entries.map(Answer::Log)
                        }
                        Ask::Derive(password) => {
                            let derived = derive(&surroundings, password.0).await;
                            Ok(Answer::Derived(derived.map(Box::new)))
                        }
                    };
                    let answered = Box::new(Answered {
                        answer,
                        asked,
                        then,
                        debt,
                    });
                    let _ = back.send(Event::Answered(jid, answered)).await;
                });
            }
            Output::Verify(jid, edge, connection, check) => {
                tokio::spawn(async move {
                    let Some(step) = work(&surroundings, move || check.run()).await else {
                        surroundings.under_way.fetch_sub(1, Ordering::SeqCst);
                        return;
                    };
                    let verified = Box::new(Verified {
                        edge,
                        connection,
                        step,
                    });
                    let _ = back.send(Event::Verified(jid, verified)).await;
                });
            }
            other => tracing::error!(?other, "carried out elsewhere"),
        }
    }

    /// The way back for what has been started: one event.
    fn back(&self) -> mpsc::Sender<Event> {
        self.surroundings.under_way.fetch_add(1, Ordering::SeqCst);
        let own = usize::from(self.shard.id());
        self.surroundings.mailboxes.of(own).inner.clone()
    }
}

/// Single entries of a log, in their order.
async fn entries(
    store: &dyn Store,
    slot: Slot,
    owner: &Jid,
    log: Log,
    mut ids: Box<[LogId]>,
) -> Result<Vec<(LogId, Bytes)>, store::Error> {
    ids.sort_unstable();
    let mut entries = Vec::new();
    for id in ids {
        let found = store.read_log(slot, owner.clone(), log, Span::only(id), 1);
        entries.extend(found.await?);
    }
    entries.dedup_by_key(|(id, _)| *id);
    Ok(entries)
}

/// Commits the batches of a group, each until it is stored or the time is up.
///
/// The slots whose batches were not stored, and why.
async fn commit_all(surroundings: &Surroundings, batches: Vec<Batch>) -> Vec<(Slot, store::Error)> {
    let deadline = Instant::now() + surroundings.commit_timeout;
    let commits = batches.into_iter().map(|batch| async move {
        let slot = batch.slot;
        let failed = commit_one(surroundings, batch, deadline).await.err();
        failed.map(|error| (slot, error))
    });
    let failed = join_all(commits).await;
    failed.into_iter().flatten().collect()
}

async fn commit_one(
    surroundings: &Surroundings,
    batch: Batch,
    deadline: Instant,
) -> Result<(), store::Error> {
    let mut pause = RETRY;
    loop {
        let commit = surroundings
            .store
            .commit_until(batch.clone(), deadline.into_std());
        let error = match tokio::time::timeout_at(deadline, commit).await {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error @ store::Error::Fenced { .. })) => return Err(error),
            Ok(Err(error)) => error,
            Err(_) => store::Error::Unavailable("it does not answer".to_owned()),
        };
        surroundings.is_storing.store(false, Ordering::Relaxed);
        if Instant::now() + pause >= deadline {
            return Err(error);
        }
        tracing::warn!(slot = %batch.slot, %error, "commit failed, trying again");
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(Duration::from_secs(1));
    }
}

async fn derive(surroundings: &Surroundings, password: Box<str>) -> Option<Credentials> {
    let iterations = surroundings.iterations;
    let derived = work(surroundings, move || {
        let (salt_sha_1, salt_sha_256) = fresh_salts();
        Credentials::derive(&password, iterations, salt_sha_1, salt_sha_256)
    });
    derived.await?.ok()
}

/// Runs password work on a thread of its own, as many at once as there are permits.
async fn work<T: Send + 'static>(
    surroundings: &Surroundings,
    job: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    let permit = surroundings
        .password_work
        .clone()
        .acquire_owned()
        .await
        .ok()?;
    let done = tokio::task::spawn_blocking(move || {
        let result = job();
        drop(permit);
        result
    });
    done.await.ok()
}
