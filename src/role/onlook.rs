//! Onlook: an operator looks on at an account, as its owner shows it.

use std::time::Duration;

use couplet_origin::Admin;
use couplet_origin::admin::Error;
use couplet_origin::onlook::{Ask, Cursor, Record, Watch, Watched, Way};
use couplet_proto::Jid;
use couplet_proto::xmpp::time;

use crate::admin::{AskTrace, Refusal, Traced, TracedChild, TracedStanza, TracedWay};

/// How long a reading waits for something to pass.
const PATIENCE: Duration = Duration::from_secs(1);

/// Asks the owner of the account, which is in this process; `None` when it is not, or not yet.
pub(super) async fn look(admin: &Admin, ask: &AskTrace) -> Result<Option<Traced>, Refusal> {
    let jid = Jid::parse(&ask.jid);
    let jid = jid.map_err(|_| Refusal::Malformed(format!("{:?} is not an address", ask.jid)))?;
    let watch = Watch {
        jid,
        is_whole: ask.bodies,
        ask: match &ask.cursor {
            None => Ask::Open,
            Some(text) => Ask::Read(cursor(text)?),
        },
    };
    match admin.watch(watch, PATIENCE).await {
        Ok(watched) => Ok(Some(traced(&watched))),
        Err(Error::NotWatched) => Ok(Some(Traced {
            cursor: None,
            skipped: 0,
            stanzas: Vec::new(),
        })),
        Err(Error::Moving) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// As in [`traced`].
fn cursor(text: &str) -> Result<Cursor, Refusal> {
    let parts = text.split_once('-');
    let numbers = parts.and_then(|(watch, next)| {
        let watch = u64::from_str_radix(watch, 16).ok()?;
        let next = next.parse().ok()?;
        Some(Cursor { watch, next })
    });
    numbers.ok_or_else(|| Refusal::Malformed(format!("{text:?} is no cursor")))
}

fn traced(watched: &Watched) -> Traced {
    let Cursor { watch, next } = watched.cursor;
    Traced {
        cursor: Some(format!("{watch:016x}-{next}")),
        skipped: watched.skipped,
        stanzas: watched.records.iter().map(stanza).collect(),
    }
}

fn stanza(record: &Record) -> TracedStanza {
    let jid = |jid: &Option<Jid>| jid.as_ref().map(ToString::to_string);
    let children = record.children.iter().map(|(name, ns)| TracedChild {
        name: name.to_string(),
        ns: ns.to_string(),
    });
    TracedStanza {
        time: time::format(record.at),
        way: match record.way {
            Way::Sent => TracedWay::FromSession,
            Way::Delivered => TracedWay::ToSession,
            Way::Handled => TracedWay::ForAccount,
        },
        session: record.session.to_string(),
        kind: record.kind.name().to_owned(),
        type_: record.type_.name().to_owned(),
        id: record.id.as_deref().map(str::to_owned),
        from: jid(&record.from),
        to: jid(&record.to),
        size: record.bytes,
        children: children.collect(),
        xml: record.whole.as_ref().map(ToString::to_string),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_comes_back_as_it_was() {
        let known = Cursor {
            watch: 0xfedc_ba98_7654_3210,
            next: 17,
        };
        let traced = traced(&Watched {
            cursor: known,
            skipped: 0,
            records: Vec::new(),
        });
        let text = traced.cursor.expect("one");
        assert_eq!(cursor(&text).ok(), Some(known));
        for wrong in ["", "-", "1", "g-1", "1-x", "1-", "-1"] {
            assert!(cursor(wrong).is_err(), "{wrong}");
        }
    }
}
