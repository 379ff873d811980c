//! Service: who may call, and the lanes that come of it.
//!
//! ```text
//! accept ─▶ certificate ─▶ greeting: version, role ─▶ lane stands ─▶ one end is gone ─▶ told
//! ```

use std::pin::Pin;
use std::sync::Arc;

use couplet_link::{CONNECT_TIMEOUT, MESSAGE_BYTES_MAX};
use couplet_proto::link::wire::hello::{Hello, Role};
use couplet_proto::link::wire::v1;
use couplet_proto::link::wire::v1::link_server::{Link, LinkServer};
use futures_util::{Stream, StreamExt};
use tokio::time::timeout;
use tonic::{Request, Response, Status, Streaming};

use super::answers::Answers;
use super::inbound;
use super::node::{Node, caller, welcome};
use super::outbound::EdgeLane;

/// What an origin offers to edges and to the other origins.
pub(super) struct Service(Arc<Node>);

/// What goes back on a lane.
type Outgoing<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

// === impl Service ===

impl Service {
    /// The service of this origin, ready to be served.
    pub(super) fn new(node: Arc<Node>) -> LinkServer<Self> {
        LinkServer::new(Self(node))
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    /// This origin's greeting on the lane that the other end has chosen.
    fn greeting(&self, theirs: &Hello) -> v1::Hello {
        let hello = self.0.hello.clone();
        hello.on_lane(theirs.lane, theirs.lanes).encode()
    }
}

#[tonic::async_trait]
impl Link for Service {
    type EdgeStream = Outgoing<v1::OriginBatch>;
    type PeerStream = Outgoing<v1::PeerReply>;

    async fn edge(
        &self,
        request: Request<Streaming<v1::EdgeBatch>>,
    ) -> Result<Response<Self::EdgeStream>, Status> {
        let caller = caller(&request);
        let mut incoming = request.into_inner();
        let hello = first(&mut incoming).await?.hello;
        let hello = welcome(hello, Role::Edge, caller)?;
        let node = Arc::clone(&self.0);
        let lane = Arc::new(EdgeLane::new(&hello, &node));
        let id = node.edges.attach(Arc::clone(&lane) as Arc<dyn super::Lane>);
        node.edges.note(id, hello.node.clone());
        tracing::info!(edge = %hello.node, lane = hello.lane, version = hello.spoken(), "linked");
        let outgoing = Arc::clone(&lane).messages(self.greeting(&hello), node.cluster.subscribe());
        self.0
            .spawn(inbound::edge(node, id, lane, incoming, hello.node));
        Ok(Response::new(outgoing.map(Ok).boxed()))
    }

    async fn peer(
        &self,
        request: Request<Streaming<v1::PeerBatch>>,
    ) -> Result<Response<Self::PeerStream>, Status> {
        let caller = caller(&request);
        let mut incoming = request.into_inner();
        let hello = first(&mut incoming).await?.hello;
        let hello = welcome(hello, Role::Origin, caller)?;
        let node = Arc::clone(&self.0);
        let answers = Arc::new(Answers::new(Arc::clone(&node.to_origins)));
        let id = node.peers.next_id();
        node.peers.call(id, Arc::clone(&answers) as Arc<_>);
        tracing::info!(origin = %hello.node, lane = hello.lane, version = hello.spoken(), "called");
        let outgoing =
            Arc::clone(&answers).messages(self.greeting(&hello), node.cluster.subscribe());
        self.0
            .spawn(inbound::peer(node, id, answers, incoming, hello.node));
        Ok(Response::new(outgoing.map(Ok).boxed()))
    }

    async fn operate(&self, request: Request<v1::Question>) -> Result<Response<v1::Reply>, Status> {
        if !caller(&request).is_some_and(|caller| caller.identity.may_be(Role::Origin)) {
            return Err(Status::permission_denied("only origins ask for operators"));
        }
        let operator = self.0.peers.operator();
        let operator = operator.ok_or_else(|| Status::unavailable("not yet"))?;
        let answer = operator.answer(request.into_inner().question).await;
        Ok(Response::new(v1::Reply { answer }))
    }
}

/// The message that holds the greeting.
async fn first<T>(incoming: &mut Streaming<T>) -> Result<T, Status> {
    let first = timeout(CONNECT_TIMEOUT, incoming.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded("no greeting in time"))??;
    first.ok_or_else(|| Status::invalid_argument("no greeting"))
}
