//! Reads: each is one command, but for the list of accounts, which is one for each slot.

use ::redis::cmd;
use bytes::Bytes;
use couplet_proto::Jid;
use couplet_proto::slot::{SLOTS, Slot};
use futures_util::future;

use super::commit::KEY_BYTES_MAX;
use super::key::Field;
use super::{Redis, SLOTS_AT_ONCE, key, read};
use crate::store::{Error, Log, LogId, Snapshot, Span, Table};

/// What is known of a domain's accounts in one slot.
struct Page {
    slot: Slot,
    locals: Vec<String>,
    /// Whether there may be more after the last.
    is_cut: bool,
}

// === impl Redis ===

impl Redis {
    pub(super) async fn read_sleepers(&self, slot: Slot) -> Result<Vec<Jid>, Error> {
        let mut command = cmd("ZRANGE");
        command.arg(self.keys.sleepers(slot)).arg(0).arg(-1);
        let sleepers: Vec<String> = read(self.command(command).await?)?;
        let jids = sleepers.iter().map(|bare| {
            let damaged = |_| Error::Corrupt(format!("a sleeper is `{}`", bare.escape_debug()));
            Jid::parse(bare).map_err(damaged)
        });
        jids.collect()
    }

    pub(super) async fn read_rows(&self, slot: Slot, owner: Jid) -> Result<Snapshot, Error> {
        let mut command = cmd("HGETALL");
        command.arg(self.keys.rows(slot, &owner));
        let fields: Vec<(String, Vec<u8>)> = read(self.command(command).await?)?;
        let mut snapshot = Snapshot::default();
        for (field, value) in fields {
            let damaged = || {
                let field = field.escape_debug();
                Error::Corrupt(format!("the field {field} of {owner} in {slot}"))
            };
            match key::read_field(&field).ok_or_else(damaged)? {
                Field::Row(table, key) => snapshot.rows.push((table, key.into(), value.into())),
                Field::Length(log) => {
                    let length = str::from_utf8(&value).ok();
                    let length = length.and_then(|length| length.parse().ok());
                    snapshot.logs.push((log, length.ok_or_else(damaged)?));
                }
                Field::Count => {}
            }
        }
        Ok(snapshot)
    }

    pub(super) async fn read_row(
        &self,
        slot: Slot,
        owner: Jid,
        table: Table,
        name: Box<str>,
    ) -> Result<Option<Bytes>, Error> {
        if name.len() > KEY_BYTES_MAX {
            return Ok(None);
        }
        let hash = match table.is_resident {
            true => self.keys.rows(slot, &owner),
            false => self.keys.asked(slot, &owner),
        };
        let mut command = cmd("HGET");
        command.arg(hash).arg(key::field(table, &name));
        let value: Option<Vec<u8>> = read(self.command(command).await?)?;
        Ok(value.map(Bytes::from))
    }

    pub(super) async fn read_entries(
        &self,
        slot: Slot,
        owner: Jid,
        log: Log,
        span: Span,
        max: usize,
    ) -> Result<Vec<(LogId, Bytes)>, Error> {
        let from = match span.after {
            None => Some(key::first(log)),
            Some(id) => key::from_after(log, id),
        };
        let Some(from) = from.filter(|_| max > 0) else {
            return Ok(Vec::new());
        };
        let to = span
            .before
            .map_or_else(|| key::beyond(log), |id| key::before(log, id));
        let (name, first, second) = match span.is_backwards {
            true => ("ZREVRANGEBYLEX", to, from),
            false => ("ZRANGEBYLEX", from, to),
        };
        let mut command = cmd(name);
        command.arg(self.keys.logs(slot, &owner)).arg(first);
        command.arg(second).arg("LIMIT").arg(0);
        command.arg(i64::try_from(max).unwrap_or(i64::MAX));
        let entries: Vec<Vec<u8>> = read(self.command(command).await?)?;
        let entries = entries.into_iter().map(|entry| {
            let damaged = || Error::Corrupt(format!("an entry of {} of {owner}", log.name));
            let (id, value) = key::read_entry(&entry).ok_or_else(damaged)?;
            let head = entry.len() - value.len();
            Ok((id, Bytes::from(entry).slice(head..)))
        });
        entries.collect()
    }

    /// Every slot has its own list, which its commits keep; so a page is made of all of them.
    /// Of each slot only as many are read as its share may be, and more where they run out.
    pub(super) async fn read_accounts(
        &self,
        domain: Box<str>,
        after: Option<Box<str>>,
        max: usize,
    ) -> Result<Vec<Jid>, Error> {
        if max == 0 {
            return Ok(Vec::new());
        }
        let share = max / usize::from(SLOTS) * 2 + 4;
        let begin = |slot| Page {
            slot,
            locals: Vec::new(),
            is_cut: true,
        };
        let mut pages: Vec<Page> = Slot::all().map(begin).collect();
        loop {
            let last = last_wanted(&pages, max);
            let wanted = pages
                .iter_mut()
                .filter(|page| page.may_come_before(last.as_deref()));
            let mut wanted: Vec<&mut Page> = wanted.collect();
            if wanted.is_empty() {
                break;
            }
            for some in wanted.chunks_mut(SLOTS_AT_ONCE) {
                let reads = some.iter_mut().map(|page| {
                    let after = page.locals.last().map(String::as_str).or(after.as_deref());
                    self.read_locals(page.slot, &domain, after, share)
                });
                let locals = future::try_join_all(reads).await?;
                for (page, more) in some.iter_mut().zip(locals) {
                    page.is_cut = more.len() == share;
                    page.locals.extend(more);
                }
            }
        }
        let mut locals: Vec<String> = pages.into_iter().flat_map(|page| page.locals).collect();
        locals.sort_unstable();
        locals.truncate(max);
        let jids = locals.iter().map(|local| {
            let damaged = |_| Error::Corrupt(format!("an account is `{}`", local.escape_debug()));
            Jid::from_parts(Some(local), &domain, None).map_err(damaged)
        });
        jids.collect()
    }

    async fn read_locals(
        &self,
        slot: Slot,
        domain: &str,
        after: Option<&str>,
        max: usize,
    ) -> Result<Vec<String>, Error> {
        let (from, to) = key::accounts_after(domain, after);
        let mut command = cmd("ZRANGEBYLEX");
        command.arg(self.keys.accounts(slot)).arg(from).arg(to);
        command.arg("LIMIT").arg(0).arg(max);
        let members: Vec<String> = read(self.command(command).await?)?;
        let locals = members.iter().map(|member| {
            let damaged = || Error::Corrupt(format!("an account is `{}`", member.escape_debug()));
            Ok(key::read_account(domain, member)
                .ok_or_else(damaged)?
                .to_owned())
        });
        locals.collect()
    }
}

// === impl Page ===

impl Page {
    /// Whether an account that was not read yet can come before `last`.
    fn may_come_before(&self, last: Option<&str>) -> bool {
        let is_before = match (self.locals.last(), last) {
            (Some(read), Some(last)) => read.as_str() < last,
            (None, _) | (_, None) => true,
        };
        self.is_cut && is_before
    }
}

/// The last of the first `max` accounts that were read; `None` while there are fewer.
fn last_wanted(pages: &[Page], max: usize) -> Option<String> {
    let mut locals: Vec<&str> = pages
        .iter()
        .flat_map(|page| page.locals.iter().map(String::as_str))
        .collect();
    locals.sort_unstable();
    locals.get(max - 1).map(|last| (*last).to_owned())
}
