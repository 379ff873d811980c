//! Stage: one address of a service in a test, with all its handlers ask for at once: no shards, no
//! waiting.

use std::sync::Arc;

use couplet_proto::link::id::SessionId;
use couplet_proto::xmpp::ns;
use couplet_proto::{Jid, Stanza};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::auth::{Throttle, Tokens};
use crate::clock::Now;
use crate::config::{Config, Muc};
use crate::features::FEATURES;
use crate::features::muc::room::Room;
use crate::features::muc::settings::Settings;
use crate::features::muc::{received, record};
use crate::hooks::Ctx;
use crate::hooks::context::{Effect, Shared};
use crate::hooks::pipeline::Pipeline;
use crate::route::iq;
use crate::session::Account;
use crate::shard::rig::{Model, jid, stanza};
use crate::store::Write;

/// An address of a service, and what happens there.
pub(in crate::features::muc) struct Stage {
    shared: Shared,
    pub(in crate::features::muc) account: Account,
    pub(in crate::features::muc) store: Model,
    pub(in crate::features::muc) now: Now,
    rng: StdRng,
    /// Stanzas that were sent since they were last looked at.
    routed: Vec<Arc<Stanza>>,
    /// When it wants to be called, in monotonic milliseconds.
    pub(in crate::features::muc) wakes: Vec<u64>,
    /// Changes that were stored.
    pub(in crate::features::muc) written: Vec<Write>,
}

// === impl Stage ===

impl Stage {
    pub(in crate::features::muc) fn new(address: &str) -> Self {
        Self::with(address, |_| {})
    }

    /// As [`Stage::new`], with an operator's choices.
    pub(in crate::features::muc) fn with(address: &str, configure: impl FnOnce(&mut Muc)) -> Self {
        let mut config = Config {
            domains: vec!["x".to_owned()],
            ..Config::default()
        };
        config.muc.services = vec!["rooms.x".to_owned()];
        configure(&mut config.muc);
        Self {
            shared: Shared {
                domains: vec![jid("x")],
                services: vec![jid("rooms.x")],
                pipeline: Pipeline::new(FEATURES).expect("no clash"),
                throttle: Throttle::new(1000, 1000),
                started_unix: 0,
                is_clustered: true,
                tokens: Tokens::new([9; 32]),
                tracer: Arc::default(),
                watched: Arc::default(),
                config,
            },
            account: Account::new(jid(address)),
            store: Model::default(),
            now: Now {
                mono: 1000,
                unix: 1_700_000_000_000,
            },
            rng: StdRng::seed_from_u64(1),
            routed: Vec::new(),
            wakes: Vec::new(),
            written: Vec::new(),
        }
    }

    /// Runs something there, and all that follows.
    pub(in crate::features::muc) fn run<T>(&mut self, act: impl FnOnce(&mut Ctx<'_>) -> T) -> T {
        let mut effects = Vec::new();
        let done = act(&mut self.ctx(&mut effects));
        while !effects.is_empty() {
            for effect in std::mem::take(&mut effects) {
                self.carry_out(effect, &mut effects);
            }
        }
        done
    }

    /// As [`Stage::run`], with the room that is there.
    pub(in crate::features::muc) fn with_room<T>(
        &mut self,
        act: impl FnOnce(&mut Ctx<'_>, &mut Room) -> T,
    ) -> T {
        self.run(|ctx| {
            let mut room = ctx.account.slots.muc.0.take().expect("a room");
            let done = act(ctx, &mut room);
            ctx.account.slots.muc.0 = Some(room);
            done
        })
    }

    /// Somebody sends a stanza there; what is sent then.
    pub(in crate::features::muc) fn send(&mut self, from: &str, xml: &str) -> Vec<String> {
        let mut stanza = stanza(xml).from(jid(from));
        stanza.to.get_or_insert(self.account.jid.clone());
        self.run(|ctx| received(ctx, Arc::new(stanza), 0));
        let mut routed = self.routed();
        // What a room tells its service by the way is no answer.
        routed.retain(|stanza| !stanza.contains(ns::ROOM_LISTING));
        routed
    }

    /// What was sent since the last call.
    pub(in crate::features::muc) fn routed(&mut self) -> Vec<String> {
        self.stanzas().iter().map(ToString::to_string).collect()
    }

    /// As [`Stage::routed`], as stanzas.
    pub(in crate::features::muc) fn stanzas(&mut self) -> Vec<Arc<Stanza>> {
        std::mem::take(&mut self.routed)
    }

    /// Puts a new room there.
    pub(in crate::features::muc) fn create(&mut self) {
        self.account.slots.muc.0 = Some(Box::new(room(&self.account.jid)));
    }

    /// Another owner goes on with what is stored.
    pub(in crate::features::muc) fn reload(&mut self) {
        let address = self.account.jid.clone();
        self.account = Account::new(address.clone());
        let stored = self.store.snapshot(&address);
        record::load(&address, &stored, &mut self.account.slots).expect("readable");
    }

    fn ctx<'a>(&'a mut self, effects: &'a mut Vec<Effect>) -> Ctx<'a> {
        let Self {
            now,
            shared,
            account,
            rng,
            ..
        } = self;
        Ctx::new(*now, shared, account, None, effects, rng)
    }

    fn carry_out(&mut self, effect: Effect, effects: &mut Vec<Effect>) {
        match effect {
            Effect::Write(write) => {
                self.written.push(write.clone());
                self.store.apply(self.account.jid.clone(), write);
            }
            Effect::Route(stanza, _) => self.routed.push(stanza),
            Effect::WakeAt(at) => self.wakes.push(at),
            Effect::Ask(ask, asked, then) => {
                let answer = self.store.answer(&self.account.jid, ask);
                let mut ctx = self.ctx(effects);
                let reply = then(&mut ctx, answer, &asked);
                if let Some(request) = &asked.request {
                    iq::conclude(&mut ctx, request, reply);
                }
            }
            other => panic!("no handler of a service does this: {other:?}"),
        }
    }
}

fn room(jid: &Jid) -> Room {
    let settings = Settings {
        // It has nobody in it.
        is_persistent: true,
        ..Settings::default()
    };
    Room::new(jid.clone(), SessionId(7), [7; 32], settings)
}
