//! Former: what a session showed before those of its stanzas that may be handled again.
//!
//! A new owner gets the session as it is and the stanzas that had not taken effect when the old one
//! was lost. What a change of presence causes depends on the presence before it, so that is put
//! back first.

use couplet_proto::Jid;
use couplet_proto::link::id::Source;

use super::{Available, Session};

/// A session has fewer stanzas under way than this.
const COUNT_MAX: usize = 64;

/// What a session showed before one of its stanzas.
#[derive(Debug, Clone)]
pub struct Former {
    /// The stanza's number.
    pub(crate) number: u64,
    /// The presence it had broadcast.
    pub(crate) presence: Option<Available>,
    /// To whom it was available directly, where the stanza ended that.
    pub(crate) directed: Vec<Jid>,
}

// === impl Session ===

impl Session {
    /// Notes what it showed until a stanza of its client changed that.
    pub(crate) fn was(
        &mut self,
        source: Option<Source>,
        presence: Option<Available>,
        directed: &[Jid],
    ) {
        let own = source.filter(|source| source.session == self.id && source.number != Source::END);
        let Some(Source { number, .. }) = own else {
            return;
        };
        let taken = self.progress.taken();
        self.former.retain(|known| known.number > taken);
        if self.former.len() >= COUNT_MAX {
            self.former.remove(0);
        }
        self.former.push(Former {
            number,
            presence,
            directed: directed.to_vec(),
        });
    }

    /// It is taken up with so many of its stanzas done: those that follow are handled again.
    pub(crate) fn go_back(&mut self, taken: u64) {
        self.progress.restore(taken);
        for former in std::mem::take(&mut self.former).into_iter().rev() {
            if former.number > taken {
                self.presence = former.presence;
                self.directed.extend(former.directed);
            }
        }
    }
}
