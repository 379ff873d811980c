//! Checks: what clients were promised, noted as they see it.

use std::collections::{BTreeMap, BTreeSet};

use couplet_proto::{Kind, Stanza, Type};

/// How long after it was left a session may still be there, in milliseconds.
const GONE_MS: u64 = 60_000;

/// A session as its client knows it: from bind until it is given up, over all its connections.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) client: usize,
    pub(crate) user: usize,
    pub(crate) is_managed: bool,
    /// When its client gave it up.
    pub(crate) ended: Option<u64>,
    /// Messages it has had.
    had: BTreeSet<usize>,
    /// The last message of each session that wrote to it, and its order.
    last: BTreeMap<usize, u64>,
    /// How often it heard that somebody is unavailable; and who is available.
    left: BTreeMap<String, u64>,
    pub(crate) sees: BTreeMap<String, bool>,
    /// Answers it has had.
    answers: BTreeSet<String>,
}

/// A message that was sent.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) life: usize,
    pub(crate) to: usize,
    /// The client whose address it names, if it names one of the user's.
    named: Option<usize>,
    /// Its place among those of this session for this user.
    order: u64,
    pub(crate) at: u64,
    /// Its sender knows that it is handled.
    pub(crate) is_handled: bool,
    pub(crate) was_refused: bool,
    /// Some owner has refused it, whoever hears of that.
    is_refused: bool,
    /// Somebody has had it.
    pub(crate) was_had: bool,
}

/// All there was.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    pub(crate) lives: Vec<Life>,
    pub(crate) messages: Vec<Message>,
    orders: BTreeMap<(usize, usize), u64>,
    /// Messages that came after what was sent later, and what is to be said of that.
    late: Vec<(usize, String)>,
}

// === impl Ledger ===

impl Ledger {
    pub(crate) fn begin(&mut self, client: usize, user: usize, is_managed: bool) -> usize {
        self.lives.push(Life {
            client,
            user,
            is_managed,
            ended: None,
            had: BTreeSet::new(),
            last: BTreeMap::new(),
            left: BTreeMap::new(),
            sees: BTreeMap::new(),
            answers: BTreeSet::new(),
        });
        self.lives.len() - 1
    }

    pub(crate) fn end(&mut self, life: usize, now: u64) {
        self.lives[life].ended.get_or_insert(now);
    }

    /// A session sends a message. Its name.
    pub(crate) fn send(&mut self, life: usize, to: usize, named: Option<usize>, at: u64) -> usize {
        let order = self.orders.entry((life, to)).or_default();
        *order += 1;
        self.messages.push(Message {
            life,
            to,
            named,
            order: *order,
            at,
            is_handled: false,
            was_refused: false,
            is_refused: false,
            was_had: false,
        });
        self.messages.len() - 1
    }

    /// A session has a message, which waited in the log or not.
    pub(crate) fn receive(&mut self, life: usize, name: usize, waited: bool) -> Result<(), String> {
        let Some(message) = self.messages.get_mut(name) else {
            return Err(format!("message {name} was never sent"));
        };
        message.was_had = true;
        let message = &self.messages[name];
        let (from, order, at) = (message.life, message.order, message.at);
        let to = message.to;
        let receiver = &self.lives[life];
        if receiver.user != to {
            return Err(format!("message {name} for user {to} at life {life}"));
        }
        let mut others = self.lives.iter().enumerate();
        let mut of_user = others
            .by_ref()
            .filter(|(other, known)| known.user == to && *other != life);
        // What another session of the account was given too, and ended without, waits for the next:
        // a new owner does not know who else has had it.
        let is_twin = waited && of_user.any(|(_, known)| known.ended.is_some());
        if receiver.had.contains(&name) {
            return match receiver.is_managed && !is_twin {
                true => Err(format!("P2: message {name} twice at life {life}")),
                false => Ok(()),
            };
        }
        let last = receiver.last.get(&from).copied().unwrap_or_default();
        // What another session of the account was given and did not take comes later.
        let mut others = self.lives.iter().enumerate();
        let was_elsewhere = others.any(|(other, known)| {
            let may_have_lived = known.ended.is_some_and(|ended| ended + GONE_MS > at);
            known.user == to && other != life && may_have_lived
        });
        // What waited with others for another session may be handed on with them.
        let client = receiver.client;
        let is_of_other = message.named.is_some_and(|named| named != client);
        if order < last && !was_elsewhere && !is_of_other {
            let what = format!("P3: message {name} ({order} of life {from}) after {last}");
            self.late.push((name, format!("{what} at life {life}")));
        }
        let receiver = &mut self.lives[life];
        receiver.had.insert(name);
        receiver.last.insert(from, order.max(last));
        Ok(())
    }

    /// A session has the answer to a request. It may have it twice when its owner was lost before
    /// the request was known to be handled: the client has no more use for it.
    pub(crate) fn answered(&mut self, life: usize, id: &str) {
        self.lives[life].answers.insert(id.to_owned());
    }

    pub(crate) fn has_answer(&self, life: usize, id: &str) -> bool {
        self.lives[life].answers.contains(id)
    }

    /// A session hears that another address is there, or is not: `ends` is how often a session of
    /// that address may have ended.
    pub(crate) fn presence(
        &mut self,
        life: usize,
        from: &str,
        is_available: bool,
        ends: u64,
    ) -> Result<(), String> {
        let known = &mut self.lives[life];
        known.sees.insert(from.to_owned(), is_available);
        if is_available {
            return Ok(());
        }
        let left = known.left.entry(from.to_owned()).or_default();
        *left += 1;
        match *left > ends {
            true => Err(format!(
                "presence: life {life} hears {left} times that {from} is gone, \
                 which it was {ends} times"
            )),
            false => Ok(()),
        }
    }

    /// How many sessions of a client there were.
    pub(crate) fn lives_of(&self, client: usize) -> u64 {
        let lives = self.lives.iter().filter(|life| life.client == client);
        lives.count() as u64
    }

    /// An owner sends this: perhaps a message back.
    pub(crate) fn refused(&mut self, stanza: &Stanza) {
        let id = stanza.id.as_deref().and_then(|id| id.strip_prefix('m'));
        let is_error = (stanza.kind, stanza.type_) == (Kind::Message, Type::Error);
        let name = id.filter(|_| is_error).and_then(|name| name.parse().ok());
        let known = name.and_then(|name: usize| self.messages.get_mut(name));
        if let Some(message) = known {
            message.is_refused = true;
        }
    }

    /// A message that came late without having been refused. One that was may go on all the same,
    /// when the owner that refused it is lost before the edge knows that it is done.
    pub(crate) fn disordered(&self, was_out: bool) -> Option<&str> {
        let mut late = self.late.iter();
        let is_wrong = |name: usize| {
            let known = &self.messages[name];
            !known.is_refused && !self.may_be_refused(known, was_out)
        };
        let found = late.find(|(name, _)| is_wrong(*name));
        found.map(|(_, what)| &**what)
    }

    /// Whether a message may have been refused and its sender has not heard so: who has left cannot
    /// be told that the store was out of order.
    fn may_be_refused(&self, message: &Message, was_out: bool) -> bool {
        was_out && self.lives[message.life].ended.is_some()
    }

    /// Messages that are handled, and that nobody has had: they are lost.
    pub(crate) fn lost(&self, was_out: bool) -> Vec<usize> {
        let messages = self.messages.iter().enumerate();
        let is_lost = |known: &Message| {
            let was_told = self.may_be_refused(known, was_out);
            known.is_handled && !known.was_had && !known.was_refused && !was_told
        };
        let lost = messages.filter(|(_, known)| is_lost(known));
        lost.map(|(name, _)| name).collect()
    }
}
