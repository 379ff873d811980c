//! Workload: what clients do, and what they make of what they hear.

use couplet_proto::{Kind, Stanza, Type};

use crate::client::{Heard, Manner, Stage};
use crate::world::{RESUME_SECS, USERS, World};

/// How long a client may find its session after it lost its connection, with room for the time
/// until the loss was noticed the other way round.
const RESUMABLE_MS: u64 = RESUME_SECS as u64 * 1000 - 2_000;

// === impl World ===

impl World {
    /// A client reads what there is.
    pub(crate) fn read(&mut self, client: usize) {
        if self.clients[client].is_slow && self.has_faults {
            return;
        }
        let mut heard = Vec::new();
        self.clients[client].read(&mut heard);
        for heard in heard {
            self.trace(format_args!("client {client}: {}", words(&heard)));
            self.hear(client, heard);
        }
        if self.clients[client].owes() && (!self.has_faults || self.random.percent(60)) {
            self.clients[client].acknowledge();
        }
    }

    fn hear(&mut self, client: usize, heard: Heard) {
        match heard {
            Heard::Stanza(stanza) => self.hear_stanza(client, &stanza),
            Heard::Bound => {
                self.give_up(client);
                let known = &self.clients[client];
                let is_managed = known.manner != Manner::Plain;
                let life = self.ledger.begin(client, known.user, is_managed);
                self.lives[client] = Some(life);
                self.trace(format_args!("client {client} lives {life}"));
            }
            Heard::Resumed => {}
            Heard::ResumeFailed => {
                let away = self.now - self.lost_at[client];
                if away < RESUMABLE_MS && self.store.failovers == 0 {
                    self.fail(format!("client {client} cannot resume after {away} ms"));
                }
                self.give_up(client);
            }
            Heard::Handled(messages) => {
                for name in messages {
                    self.ledger.messages[name].is_handled = true;
                }
            }
            Heard::Error(text) => self.stream_error(client, &text),
            Heard::Gone => self.lose(client),
        }
    }

    fn stream_error(&mut self, client: usize, text: &str) {
        let is_expected = [
            "conflict",
            "closed",
            "system-shutdown",
            "resource-constraint",
        ]
        .iter()
        .any(|word| text.contains(word));
        if !is_expected && self.store.failovers == 0 {
            self.fail(format!("client {client} hears {text}"));
        }
        if text.contains("handled-count-too-high") {
            // What it had was lost: it begins anew.
            self.clients[client].forget();
            self.give_up(client);
        }
    }

    /// A client's connection is gone.
    pub(crate) fn lose(&mut self, client: usize) {
        self.lost_at[client] = self.now;
        if !self.clients[client].can_resume() {
            self.clients[client].forget();
            self.give_up(client);
        }
    }

    /// A client's session is over.
    pub(crate) fn give_up(&mut self, client: usize) {
        if let Some(life) = self.lives[client].take() {
            self.ledger.end(life, self.now);
        }
        self.asked.retain(|(of, ..)| *of != client);
    }

    fn hear_stanza(&mut self, client: usize, stanza: &Stanza) {
        let Some(life) = self.lives[client] else {
            return;
        };
        let id = stanza.id.as_deref().unwrap_or_default().to_owned();
        let name: Option<usize> = id.strip_prefix('m').and_then(|name| name.parse().ok());
        match (stanza.kind, stanza.type_, name) {
            (Kind::Message, Type::Error, Some(name)) => {
                self.ledger.messages[name].was_refused = true;
            }
            (Kind::Message, _, Some(name)) => {
                let outcome = self.ledger.receive(
                    life,
                    name,
                    stanza.payload.find("delay", "urn:xmpp:delay").is_some(),
                );
                self.check(outcome);
            }
            (Kind::Iq, Type::Result | Type::Error, _) if id.starts_with('q') => {
                self.ledger.answered(life, &id);
            }
            (Kind::Presence, Type::Available | Type::Unavailable, _) => {
                self.hear_presence(life, stanza);
            }
            _ => {}
        }
    }

    fn hear_presence(&mut self, life: usize, stanza: &Stanza) {
        let Some(from) = stanza.from.as_ref().map(|from| from.as_str().to_owned()) else {
            return;
        };
        let mut clients = 0..self.clients.len();
        let Some(whose) = clients.find(|client| self.clients[*client].address() == from) else {
            return;
        };
        let is_available = stanza.type_ == Type::Available;
        if self.store.failovers > 0 {
            return;
        }
        let lives = self.ledger.lives_of(whose);
        let is_there = self.clients[whose].is_connected()
            && self.clients[whose].stage != Stage::Closing
            && self.edges[self.clients[whose].edge].is_alive
            && self.lives[whose].is_some_and(|life| self.ledger.lives[life].ended.is_none());
        let ends = lives - u64::from(is_there);
        let outcome = self.ledger.presence(life, &from, is_available, ends);
        self.check(outcome);
    }

    /// A client does something.
    pub(crate) fn client_acts(&mut self, client: usize) {
        match self.clients[client].stage {
            Stage::Off => {
                if self.random.percent(30) {
                    self.log_in(client);
                }
            }
            Stage::Online => self.client_talks(client),
            _ => {}
        }
    }

    /// A client connects to some edge that lives.
    pub(crate) fn log_in(&mut self, client: usize) {
        let alive: Vec<usize> = (0..self.edges.len())
            .filter(|edge| self.edges[*edge].is_alive)
            .collect();
        if alive.is_empty() {
            return;
        }
        if self.clients[client].can_resume() && self.has_faults && self.random.percent(3) {
            // It has forgotten what it had.
            self.clients[client].forget();
            self.give_up(client);
        }
        let edge = alive[self.random.index(alive.len())];
        let buffer = match self.has_faults && self.random.percent(20) {
            true => 512,
            false => 1 << 16,
        };
        if let Some(pipe) = self.edges[edge].accept(buffer) {
            self.trace(format_args!("client {client} connects to edge {edge}"));
            self.clients[client].connect(edge, pipe);
        }
    }

    fn client_talks(&mut self, client: usize) {
        let has_room = self.clients[client].unhandled.len() < 40;
        if !self.clients[client].is_available {
            self.clients[client].is_available = true;
            self.clients[client].send("<presence/>".to_owned(), None);
            return;
        }
        match self.random.below(100) {
            0..55 if has_room => self.send_message(client),
            55..63 if has_room => self.send_request(client),
            63..67 if has_room => {
                self.next_id += 1;
                let id = self.next_id;
                let xml = format!("<presence><status>{id}</status></presence>");
                self.clients[client].send(xml, None);
            }
            67..80 => self.clients[client].ask(),
            80..90 => self.clients[client].acknowledge(),
            90..94 if self.has_faults => self.break_off(client),
            94..96 if self.has_faults => {
                let is_slow = self.clients[client].is_slow;
                self.clients[client].is_slow = !is_slow;
            }
            96..97 if self.has_faults => {
                self.trace(format_args!("client {client} closes"));
                self.clients[client].is_slow = false;
                self.clients[client].close();
                // It may be over before the client hears so.
                if let Some(life) = self.lives[client] {
                    self.ledger.end(life, self.now);
                }
            }
            _ => {}
        }
    }

    /// A client's network is gone. One that does not count has what its socket had.
    fn break_off(&mut self, client: usize) {
        self.trace(format_args!("client {client} breaks off"));
        if !self.clients[client].counts {
            self.read_all(client);
        }
        self.clients[client].break_off();
        self.lose(client);
    }

    /// A client that ends on purpose, or does not count, has what its socket had.
    fn read_all(&mut self, client: usize) {
        self.clients[client].is_slow = false;
        self.read(client);
    }

    fn send_message(&mut self, client: usize) {
        let Some(life) = self.lives[client] else {
            return;
        };
        let mut to = self.random.index(USERS);
        if to == self.clients[client].user {
            to = (to + 1) % USERS;
        }
        let resource = match self.random.percent(15) {
            true => "/r0",
            false => "",
        };
        let address = format!("u{to}@x{resource}");
        let mut clients = self.clients.iter();
        let named = clients.position(|known| known.address() == address);
        let name = self.ledger.send(life, to, named, self.now);
        let xml = format!(
            "<message id='m{name}' to='u{to}@x{resource}' type='chat'><body>{name}</body></message>"
        );
        let number = self.clients[client].send(xml, Some(name));
        self.trace(format_args!(
            "client {client} says m{name} ({number}) to u{to}@x{resource}"
        ));
    }

    fn send_request(&mut self, client: usize) {
        self.next_id += 1;
        let id = format!("q{}", self.next_id);
        let roster = "<query xmlns='jabber:iq:roster'/>";
        let xml = match self.random.percent(50) {
            true => format!("<iq type='get' id='{id}' to='x'><ping xmlns='urn:xmpp:ping'/></iq>"),
            false => format!("<iq type='get' id='{id}'>{roster}</iq>"),
        };
        let number = self.clients[client].send(xml, None);
        self.asked.push((client, number, id));
    }
}

fn words(heard: &Heard) -> String {
    match heard {
        Heard::Stanza(stanza) => stanza.to_string(),
        other => format!("{other:?}"),
    }
}
