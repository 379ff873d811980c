//! An operator who looks on.

use couplet_proto::slot::Slot;
use tokio::sync::oneshot;

use super::{Rig, SEED, jid};
use crate::admin::Error;
use crate::onlook::{Ask, Watch, Watched};
use crate::shard::event::{Event, WatchRequest};

impl Rig {
    /// Looks on at an account.
    pub(crate) fn look(&mut self, at: &str, is_whole: bool, ask: Ask) -> Result<Watched, Error> {
        let watch = Watch {
            jid: jid(at),
            is_whole,
            ask,
        };
        let shard = self.shard_of(Slot::of(SEED, &watch.jid));
        let (reply, mut answer) = oneshot::channel();
        let event = Event::Watch(Box::new(WatchRequest { watch, reply }));
        self.give((shard, event));
        self.run();
        answer.try_recv().expect("answered at once")
    }
}
