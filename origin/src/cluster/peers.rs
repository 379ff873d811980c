//! Peers: the links to and from other origins.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use bytes::Bytes;
use couplet_proto::link::Waiting;
use couplet_proto::link::id::{NodeId, PeerId};
use couplet_proto::link::peer::{Settled, ToPeer};
use couplet_proto::slot::Slot;
use foldhash::fast::FixedState;
use hashbrown::HashMap;

/// What another origin answers an operator; `None` when it does not.
pub(crate) type Asking<'a> = Pin<Box<dyn Future<Output = Option<Bytes>> + Send + 'a>>;

/// What is answered to another origin.
pub type Answering<'a> = Pin<Box<dyn Future<Output = Bytes> + Send + 'a>>;

/// Who answers what operators ask by way of another origin. The words are the binary's.
pub trait Operator: Send + Sync + 'static {
    /// Answers a question.
    fn answer(&self, question: Bytes) -> Answering<'_>;
}

/// The slots another origin has left.
pub(crate) type Leaving<'a> = Pin<Box<dyn Future<Output = Vec<Slot>> + Send + 'a>>;

/// The sending end of a link to another origin.
pub(crate) trait PeerLink: Send + Sync + 'static {
    /// Queues a stanza; gives it back when there is no room. After the link has ended everything
    /// is taken and goes nowhere: its sender sends it again when the slot is reached otherwise.
    fn try_send(&self, stanza: ToPeer) -> Result<(), ToPeer>;

    /// Waits until there may be room, or the link has ended.
    fn room(&self) -> Waiting<'_>;

    /// Which process is at the other end.
    fn node(&self) -> &NodeId;

    /// Asks it to leave slots, and answers those it has left; none when the link ends meanwhile.
    fn leave(&self, slots: Vec<Slot>) -> Leaving<'_>;

    /// Asks it something for an operator.
    fn ask(&self, question: Bytes) -> Asking<'_>;
}

/// The answering end of a link from another origin.
pub(crate) trait PeerCaller: Send + Sync + 'static {
    /// Tells that routes have taken effect. Never waits: there are no more answers than routes
    /// the caller has under way, which it bounds.
    fn settled(&self, settled: Settled);
}

/// The links there are.
#[derive(Default)]
pub(crate) struct Peers {
    links: RwLock<HashMap<PeerId, Arc<dyn PeerLink>, FixedState>>,
    callers: RwLock<HashMap<PeerId, Arc<dyn PeerCaller>, FixedState>>,
    next: std::sync::atomic::AtomicU32,
    /// Set once, when there is somebody who can answer.
    operator: OnceLock<Arc<dyn Operator>>,
}

// === impl Peers ===

impl Peers {
    /// An id for one more link, in whichever direction.
    pub(crate) fn next_id(&self) -> PeerId {
        let next = &self.next;
        PeerId(next.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    }

    /// Enters a link to another origin.
    pub(crate) fn link(&self, id: PeerId, link: Arc<dyn PeerLink>) {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        links.insert(id, link);
    }

    /// Enters a link from another origin.
    pub(crate) fn call(&self, id: PeerId, caller: Arc<dyn PeerCaller>) {
        let mut callers = self.callers.write().unwrap_or_else(PoisonError::into_inner);
        callers.insert(id, caller);
    }

    /// Forgets a link that has ended.
    pub(crate) fn remove(&self, id: PeerId) {
        let mut links = self.links.write().unwrap_or_else(PoisonError::into_inner);
        let link = links.remove(&id);
        drop(links);
        let mut callers = self.callers.write().unwrap_or_else(PoisonError::into_inner);
        let caller = callers.remove(&id);
        drop(callers);
        drop((link, caller));
    }

    /// The link of this id, if it is still there.
    pub(crate) fn to(&self, id: PeerId) -> Option<Arc<dyn PeerLink>> {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        links.get(&id).cloned()
    }

    /// A link to this process, if there is one.
    pub(crate) fn to_node(&self, node: &NodeId) -> Option<Arc<dyn PeerLink>> {
        let links = self.links.read().unwrap_or_else(PoisonError::into_inner);
        links.values().find(|link| link.node() == node).cloned()
    }

    /// From now on questions of other origins' operators are answered.
    pub(crate) fn answer_with(&self, operator: Arc<dyn Operator>) {
        // Who was first stays.
        let _ = self.operator.set(operator);
    }

    /// Who answers them, if anybody does yet.
    pub(crate) fn operator(&self) -> Option<&Arc<dyn Operator>> {
        self.operator.get()
    }

    /// The caller of this id, if it is still there.
    pub(crate) fn from(&self, id: PeerId) -> Option<Arc<dyn PeerCaller>> {
        let callers = self.callers.read().unwrap_or_else(PoisonError::into_inner);
        callers.get(&id).cloned()
    }
}
