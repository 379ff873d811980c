//! Who is there, and who owns which slot.
//!
//! The key of a slot is the truth, and each change of it is a compare-and-swap there. All owners
//! in one hash are a view of it, quick to read: whoever learns the truth of a slot shows it there.
//! A node that ends between the two leaves the view behind; so it is held against the truth now
//! and then, and where it has gaps.

use std::sync::PoisonError;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ::redis::{Value, cmd};
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::id::NodeId;
use couplet_proto::slot::{SLOTS, Slot};
use futures_util::future;
use tracing::warn;

use super::key::Shared;
use super::meter::Act;
use super::script::{self, Call};
use super::{Redis, SLOTS_AT_ONCE, failure, read, value};
use crate::store::{Answer, Error, Member, Owner, Pin, Registry, View};

/// A member that was silent for so long is forgotten.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// How long the view of owners is believed.
const BELIEVED_FOR: Duration = Duration::from_secs(10);

/// Slots whose owners one script changes in the view.
const SHOWN_AT_ONCE: usize = 1024;

/// How often a claim is tried again when others claim the same.
const CLAIMS_MAX: usize = 16;

impl Registry for Redis {
    fn beat<'a>(&'a self, me: &'a Member, lease_ms: u64) -> Answer<'a, View> {
        Box::pin(self.meter.of(Act::Registry, self.renew(me, lease_ms)))
    }

    fn leave<'a>(&'a self, node: &'a NodeId) -> Answer<'a, ()> {
        let keys = [Shared::Leases, Shared::Members].map(|key| self.keys.shared(key));
        let call = Call::new(keys).with(node.0.as_bytes().to_vec());
        Box::pin(self.meter.of(Act::Registry, async {
            self.run(&script::LEAVE, call).await.map(drop)
        }))
    }

    fn owners(&self) -> Answer<'_, Vec<Option<Owner>>> {
        Box::pin(self.meter.of(Act::Registry, self.read_owners()))
    }

    fn take<'a>(
        &'a self,
        node: &'a NodeId,
        slots: Vec<(Slot, Option<Owner>)>,
    ) -> Answer<'a, Vec<(Slot, Owner)>> {
        Box::pin(self.meter.of(Act::Registry, async move {
            let taken = self.take_all(node, &slots).await?;
            let owned = taken
                .into_iter()
                .filter_map(|(slot, owner)| Some((slot, owner?)));
            Ok(owned.collect())
        }))
    }

    fn heard(&self, slot: Slot, epoch: Epoch) {
        self.seen[slot.index()].fetch_max(epoch.0, Ordering::Relaxed);
    }

    fn pins(&self) -> Answer<'_, Vec<Pin>> {
        let mut command = cmd("GET");
        command.arg(self.keys.shared(Shared::Pins));
        Box::pin(self.meter.of(Act::Registry, async {
            let stored: Option<Vec<u8>> = read(self.command(command).await?)?;
            stored.map_or_else(|| Ok(Vec::new()), value::read_pins)
        }))
    }

    fn set_pins(&self, pins: Vec<Pin>) -> Answer<'_, ()> {
        let keys = [Shared::Pins, Shared::Version].map(|key| self.keys.shared(key));
        let call = Call::new(keys).with(value::pins(&pins));
        Box::pin(self.meter.of(Act::Registry, async {
            self.run(&script::PIN, call).await.map(drop)
        }))
    }
}

// === impl Redis ===

impl Redis {
    /// Makes `node` the owner of these slots, whoever it is now.
    pub(super) async fn claim_all(
        &self,
        node: &str,
        slots: Vec<Slot>,
    ) -> Result<Vec<(Slot, Epoch)>, Error> {
        let claimer = NodeId(node.into());
        let mut epochs = vec![None; usize::from(SLOTS)];
        let mut left = slots.clone();
        left.sort_unstable();
        left.dedup();
        for _ in 0..CLAIMS_MAX {
            let expected = self.read_truth(&left).await?;
            let taken = self.take_all(&claimer, &expected).await?;
            left.clear();
            for ((slot, expected), (_, now)) in expected.into_iter().zip(taken) {
                match now.filter(|now| now.node == claimer && Some(now) != expected.as_ref()) {
                    Some(now) => epochs[slot.index()] = Some(now.epoch),
                    None => left.push(slot),
                }
            }
            if left.is_empty() {
                break;
            }
        }
        if !left.is_empty() {
            let text = "has others claiming the same slots all the time";
            return Err(failure::unavailable(self.link.host(), text));
        }
        *self.node() = node.into();
        let claimed = slots.into_iter();
        Ok(claimed
            .filter_map(|slot| Some((slot, epochs[slot.index()]?)))
            .collect())
    }

    async fn renew(&self, me: &Member, lease_ms: u64) -> Result<View, Error> {
        let keys = [
            Shared::Leases,
            Shared::Members,
            Shared::Version,
            Shared::Seed,
            Shared::Directives,
        ];
        let call = Call::new(keys.map(|key| self.keys.shared(key)))
            .with(me.node.0.as_bytes().to_vec())
            .with(lease_ms.to_string())
            .with(value::description(me))
            .with(FORGOTTEN_AFTER.as_millis().to_string());
        let answer: Vec<Value> = read(self.run(&script::BEAT, call).await?)?;
        let mut answer = answer.into_iter();
        let mut next = || answer.next().unwrap_or(Value::Nil);
        let seed: Option<Vec<u8>> = read(next())?;
        if seed.as_deref() != Some(&self.seed.0[..]) {
            let host = self.link.host();
            let text = format!(
                "Redis at {host} has lost its data, or it is another one: the seed is not ours. \
                 Restore it, then start every origin again"
            );
            return Err(Error::Corrupt(text));
        }
        let mut view = View {
            members: Vec::new(),
            version: read(next())?,
            directives: read(next())?,
        };
        while let Some(node) = answer.next() {
            let mut next = || answer.next().unwrap_or(Value::Nil);
            let node = NodeId(read::<String>(node)?.into());
            let left: i64 = read(next())?;
            match value::read_member(node, read(next())?) {
                Ok(member) => view.members.push((member, left)),
                // One that cannot be read must not keep the others from seeing each other.
                Err(error) => warn!(%error, "the description of a member"),
            }
        }
        view.members.sort_by(|(a, _), (b, _)| a.node.cmp(&b.node));
        Ok(view)
    }

    async fn read_owners(&self) -> Result<Vec<Option<Owner>>, Error> {
        let mut command = cmd("HGETALL");
        command.arg(self.keys.shared(Shared::Owners));
        let shown: Vec<(String, Vec<u8>)> = read(self.command(command).await?)?;
        let mut owners = vec![None; usize::from(SLOTS)];
        for (slot, owner) in shown {
            let number = slot.parse().ok().and_then(Slot::new);
            let damaged = || Error::Corrupt(format!("the owner of `{}`", slot.escape_debug()));
            owners[number.ok_or_else(damaged)?.index()] = value::read_owner(&owner)?;
        }
        self.see(owners.iter().enumerate());
        let is_believed = self.checked().is_some_and(|at| at.elapsed() < BELIEVED_FOR);
        if is_believed && owners.iter().all(Option::is_some) {
            return Ok(owners);
        }
        let slots: Vec<Slot> = Slot::all().collect();
        let truth = self.read_truth(&slots).await?;
        let truth: Vec<Option<Owner>> = truth.into_iter().map(|(_, owner)| owner).collect();
        self.mend(&owners, &truth).await?;
        *self.checked() = Some(Instant::now());
        Ok(truth)
    }

    /// The owners in the keys of slots.
    async fn read_truth(&self, slots: &[Slot]) -> Result<Vec<(Slot, Option<Owner>)>, Error> {
        let mut owners = Vec::with_capacity(slots.len());
        for some in slots.chunks(SLOTS_AT_ONCE) {
            let reads = some.iter().map(|slot| async {
                let mut command = cmd("GET");
                command.arg(self.keys.own(*slot));
                let own: Option<Vec<u8>> = read(self.command(command).await?)?;
                let owner = value::read_owner(&own.unwrap_or_default())?;
                Ok::<_, Error>((*slot, owner))
            });
            owners.extend(future::try_join_all(reads).await?);
        }
        self.see(owners.iter().map(|(slot, owner)| (slot.index(), owner)));
        Ok(owners)
    }

    /// Shows the truth where the view was found to differ from it.
    async fn mend(&self, shown: &[Option<Owner>], truth: &[Option<Owner>]) -> Result<(), Error> {
        let text = |owner: &Option<Owner>| owner.as_ref().map_or_else(String::new, value::owner);
        let both = shown.iter().zip(truth).enumerate();
        let wrong: Vec<_> = both.filter(|(_, (shown, truth))| shown != truth).collect();
        for some in wrong.chunks(SHOWN_AT_ONCE) {
            let mut call = self.of_view();
            for (slot, (shown, truth)) in some {
                call.push(slot.to_string());
                call.push(text(shown));
                call.push(text(truth));
            }
            self.run(&script::MEND, call).await?;
        }
        Ok(())
    }

    /// Takes slots from the owners expected; answers who owns each now.
    async fn take_all(
        &self,
        node: &NodeId,
        slots: &[(Slot, Option<Owner>)],
    ) -> Result<Vec<(Slot, Option<Owner>)>, Error> {
        let mut taken = Vec::with_capacity(slots.len());
        for some in slots.chunks(SLOTS_AT_ONCE) {
            let takes = some
                .iter()
                .map(|(slot, expected)| self.take_one(node, *slot, expected));
            taken.extend(future::try_join_all(takes).await?);
        }
        self.see(taken.iter().map(|(slot, owner)| (slot.index(), owner)));
        for some in taken.chunks(SHOWN_AT_ONCE) {
            let mut call = self.of_view();
            for (slot, owner) in some {
                if let Some(owner) = owner {
                    call.push(slot.number().to_string());
                    call.push(value::owner(owner));
                }
            }
            self.run(&script::PUBLISH, call).await?;
        }
        Ok(taken)
    }

    async fn take_one(
        &self,
        node: &NodeId,
        slot: Slot,
        expected: &Option<Owner>,
    ) -> Result<(Slot, Option<Owner>), Error> {
        // Above every epoch that was ever told, even if Redis has lost the last ones.
        let stored = expected.as_ref().map_or(0, |owner| owner.epoch.0);
        let seen = self.seen[slot.index()].load(Ordering::Relaxed);
        let wanted = Owner {
            node: node.clone(),
            epoch: Epoch(stored.max(seen)).next(),
        };
        let expected = expected.as_ref().map_or_else(String::new, value::owner);
        let call = Call::new([self.keys.own(slot)])
            .with(expected)
            .with(value::owner(&wanted));
        let own: Vec<u8> = read(self.run(&script::TAKE, call).await?)?;
        Ok((slot, value::read_owner(&own)?))
    }

    fn of_view(&self) -> Call {
        Call::new([Shared::Owners, Shared::Version].map(|key| self.keys.shared(key)))
    }

    fn see<'a>(&self, owners: impl Iterator<Item = (usize, &'a Option<Owner>)>) {
        for (slot, owner) in owners {
            if let Some(owner) = owner {
                self.seen[slot].fetch_max(owner.epoch.0, Ordering::Relaxed);
            }
        }
    }

    fn checked(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.checked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
