//! The tables the router runs, built once at start.

use std::fmt;

use couplet_proto::Type;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

use super::{
    Feature, IqKey, OnAcknowledged, OnForm, OnIq, OnLoad, OnMessage, OnPresence, OnSession,
    Service, Side, Spec, Stage, Target,
};
use crate::session::Keepers;

/// Who takes part where: one flat table for each hook point, in the order of stages.
#[derive(Default)]
pub struct Pipeline {
    iq: HashMap<(&'static str, &'static str), Vec<(IqKey, OnIq)>, FixedState>,
    sent: Vec<(Stage, &'static str, OnMessage)>,
    received: Vec<(Stage, &'static str, OnMessage)>,
    /// Those who see a presence change.
    pub presence: Vec<OnPresence>,
    /// Those who see a session begin.
    pub opened: Vec<OnSession>,
    /// Those who see a session end.
    pub closed: Vec<OnSession>,
    /// Those who read their slot when an account is activated.
    pub load: Vec<OnLoad>,
    /// Those who hear of acknowledged messages.
    pub acknowledged: Vec<OnAcknowledged>,
    /// Those who keep something for a session.
    pub keepers: Keepers,
    /// Who answers for the addresses of services.
    pub service: Option<Service>,
    /// Those who have a form for service discovery on the server.
    pub forms: Vec<OnForm>,
    host_features: Vec<&'static str>,
    account_features: Vec<&'static str>,
    specs: Vec<(&'static str, Spec)>,
}

/// Two features claim the same thing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("features `{first}` and `{second}` both claim {what}")]
pub struct Clash {
    first: &'static str,
    second: &'static str,
    what: String,
}

// === impl Pipeline ===

impl Pipeline {
    /// Builds the tables of these features.
    ///
    /// # Errors
    /// [`Clash`] when two of them answer the same request or use the same table or log id.
    pub fn new(features: &[&'static Feature]) -> Result<Self, Clash> {
        refuse_shared_ids(features)?;
        let mut pipeline = Self::default();
        let mut owners: HashMap<IqKey, &'static str, FixedState> = HashMap::default();
        for feature in features {
            for (key, handler) in feature.iq {
                if let Some(first) = owners.insert(*key, feature.name) {
                    let what = format!("{key:?}");
                    let second = feature.name;
                    return Err(Clash {
                        first,
                        second,
                        what,
                    });
                }
                let entry = pipeline.iq.entry((key.ns, key.name)).or_default();
                entry.push((*key, *handler));
            }
            let named = |(stage, hook): &(Stage, OnMessage)| (*stage, feature.name, *hook);
            pipeline.sent.extend(feature.sent.iter().map(named));
            pipeline.received.extend(feature.received.iter().map(named));
            pipeline.presence.extend(feature.presence);
            pipeline.opened.extend(feature.opened);
            pipeline.closed.extend(feature.closed);
            pipeline.load.extend(feature.load);
            pipeline.acknowledged.extend(feature.acknowledged);
            let named = |keep| (feature.name, keep);
            pipeline.keepers.keep.extend(feature.keep.map(named));
            let named = |restore| (feature.name, restore);
            let restore = feature.restore.map(named);
            pipeline.keepers.restore.extend(restore);
            pipeline.host_features.extend(feature.disco);
            pipeline.account_features.extend(feature.disco_account);
            pipeline.forms.extend(feature.form);
            pipeline.service = pipeline.service.or(feature.service);
            let documents = [feature.spec]
                .into_iter()
                .chain(feature.also.iter().copied());
            pipeline
                .specs
                .extend(documents.map(|spec| (feature.name, spec)));
        }
        // Stable: within a stage the order of the list holds.
        pipeline.sent.sort_by_key(|(stage, ..)| *stage);
        pipeline.received.sort_by_key(|(stage, ..)| *stage);
        for features in [&mut pipeline.host_features, &mut pipeline.account_features] {
            features.sort_unstable();
            features.dedup();
        }
        Ok(pipeline)
    }

    /// Who answers this request, asked of `target`.
    pub fn iq(&self, type_: Type, target: Target, ns: &str, name: &str) -> Option<OnIq> {
        let candidates = self.iq.get(&(ns, name))?;
        let key = |key: &IqKey| key.type_ == type_ && key.target == target;
        let found = candidates.iter().find(|(candidate, _)| key(candidate));
        found.map(|(_, handler)| *handler)
    }

    /// The steps of this stage on one side of a message's way, in order.
    pub fn steps(&self, side: Side, stage: Stage) -> impl Iterator<Item = OnMessage> {
        let steps = match side {
            Side::Sent => &self.sent,
            Side::Received => &self.received,
        };
        let wanted = steps.iter().filter(move |(known, ..)| *known == stage);
        wanted.map(|(_, _, hook)| *hook)
    }

    /// What discovery on the server (or an account) advertises, sorted, each once.
    pub fn disco(&self, target: Target) -> &[&'static str] {
        match target {
            Target::Host => &self.host_features,
            Target::Account | Target::AnyAccount | Target::Resource => &self.account_features,
        }
    }

    /// Every feature's name and documents, in the order of the list.
    pub fn specs(&self) -> &[(&'static str, Spec)] {
        &self.specs
    }

    /// The message path in order, for people: one line for each step.
    pub fn describe(&self) -> String {
        let mut lines = String::new();
        for (side, steps) in [("sent", &self.sent), ("received", &self.received)] {
            for (stage, name, _) in steps {
                lines.push_str(&format!("{side} {stage:?} {name}\n"));
            }
        }
        lines
    }
}

impl fmt::Debug for Pipeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.describe())
    }
}

fn refuse_shared_ids(features: &[&'static Feature]) -> Result<(), Clash> {
    let mut owners: HashMap<(&'static str, u8), &'static str, FixedState> = HashMap::default();
    for feature in features {
        let tables = feature.tables.iter().map(|table| ("table", table.id));
        let logs = feature.logs.iter().map(|log| ("log", log.id));
        for (shape, id) in tables.chain(logs) {
            if let Some(first) = owners.insert((shape, id), feature.name) {
                let what = format!("{shape} {id}");
                let second = feature.name;
                return Err(Clash {
                    first,
                    second,
                    what,
                });
            }
        }
    }
    Ok(())
}
