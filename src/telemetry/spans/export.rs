//! Export: a bounded queue, and the task that sends what is in it to the collector in batches.
//!
//! A collector that is away is tried again, later and later; meanwhile the queue fills and what
//! comes then is dropped. One that does not want a batch is not sent it again.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use couplet_proto::trace::{Span, Tracer};
use metrics::Counter;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_client::TraceServiceClient;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Status};

use super::otlp::Origin;

/// Spans that may wait: some megabytes, and a second of ten thousand stanzas.
const WAITING_MAX: usize = 8192;

/// Spans of one request.
const BATCH_MAX: usize = 512;

/// How long a batch waits for more.
const LINGER: Duration = Duration::from_secs(1);

/// How long the collector may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// From the first failure to the next attempt, doubled with each; at most the second.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How often a batch is tried; then it is given up.
const TRIES: u32 = 8;

/// How long the last batches may take when the process ends.
const FINISH_MAX: Duration = Duration::from_secs(2);

/// Sends spans until it is told to finish.
pub(super) struct Exporter {
    finish: watch::Sender<bool>,
    task: JoinHandle<()>,
}

/// The entrance of the queue, and the clock of all spans of this process.
#[derive(Debug)]
struct Entrance {
    queue: mpsc::Sender<Span>,
    started: Instant,
    /// When that was, in nanoseconds since 1970: read once, so that spans of one process stand in
    /// order whatever becomes of the wall clock.
    anchor: u64,
    dropped: Counter,
}

/// What the task has.
struct Sending {
    client: TraceServiceClient<Channel>,
    origin: Origin,
    queue: mpsc::Receiver<Span>,
    finish: watch::Receiver<bool>,
    sent: Counter,
    refused: Counter,
    failed: Counter,
    /// Whether the log says that the collector is away.
    is_away: bool,
}

// === impl Exporter ===

impl Exporter {
    /// Starts to send to a collector, which need not be there. Must be called within the runtime.
    pub(super) fn start(endpoint: &str, origin: Origin) -> Result<(Self, Arc<dyn Tracer>)> {
        let endpoint = Endpoint::from_shared(endpoint.to_owned())
            .with_context(|| format!("trace.endpoint: {endpoint:?} is not a URL"))?
            .connect_timeout(ANSWER_MAX)
            .timeout(ANSWER_MAX);
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        let (finish, finishing) = watch::channel(false);
        let outcome = |outcome| metrics::counter!(super::SPANS, "outcome" => outcome);
        let sending = Sending {
            client: TraceServiceClient::new(endpoint.connect_lazy()),
            origin,
            queue: waiting,
            finish: finishing,
            sent: outcome("sent"),
            refused: outcome("refused"),
            failed: outcome("failed"),
            is_away: false,
        };
        let entrance = Entrance {
            queue,
            started: Instant::now(),
            anchor: unix_nanos(),
            dropped: outcome("dropped"),
        };
        let task = tokio::spawn(sending.run());
        Ok((Self { finish, task }, Arc::new(entrance)))
    }

    /// Sends what is left.
    pub(super) async fn finish(mut self) {
        self.finish.send_replace(true);
        let finished = tokio::time::timeout(FINISH_MAX, &mut self.task).await;
        if finished.is_err() {
            self.task.abort();
            tracing::warn!("the last spans are lost: the collector did not take them in time");
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock for spans"
)]
fn unix_nanos() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let nanos = since.map_or(0, |since| since.as_nanos());
    u64::try_from(nanos).unwrap_or(0)
}

// === impl Entrance ===

impl Tracer for Entrance {
    fn now(&self) -> u64 {
        let elapsed = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        self.anchor.saturating_add(elapsed)
    }

    fn done(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            self.dropped.increment(1);
        }
    }
}

// === impl Sending ===

impl Sending {
    async fn run(mut self) {
        let mut batch = Vec::with_capacity(BATCH_MAX);
        loop {
            self.gather(&mut batch).await;
            let is_last = *self.finish.borrow();
            if batch.is_empty() {
                return;
            }
            self.send(&batch).await;
            batch.clear();
            if is_last && self.queue.is_empty() {
                return;
            }
        }
    }

    /// Waits for spans, and a moment for more; at the end only for what is there.
    async fn gather(&mut self, batch: &mut Vec<Span>) {
        let mut finish = self.finish.clone();
        let told = finish.wait_for(|finish| *finish);
        tokio::pin!(told);
        tokio::select! {
            biased;
            _ = self.queue.recv_many(batch, BATCH_MAX) => {}
            _ = &mut told => {
                while batch.len() < BATCH_MAX && let Ok(span) = self.queue.try_recv() {
                    batch.push(span);
                }
                return;
            }
        }
        let linger = tokio::time::sleep(LINGER);
        tokio::pin!(linger);
        while batch.len() < BATCH_MAX {
            let left = BATCH_MAX - batch.len();
            tokio::select! {
                biased;
                more = self.queue.recv_many(batch, left) => {
                    if more == 0 {
                        return;
                    }
                }
                () = &mut linger => return,
                _ = &mut told => return,
            }
        }
    }

    /// Sends a batch, again while the collector is away.
    async fn send(&mut self, batch: &[Span]) {
        let count = batch.len() as u64;
        let mut pause = PAUSE;
        for attempt in 1..=TRIES {
            let error = match self.client.export(self.origin.request(batch)).await {
                Ok(answer) => {
                    self.is_back();
                    let partial = answer.into_inner().partial_success;
                    let refused = partial.map_or(0, |partial| partial.rejected_spans);
                    let refused = u64::try_from(refused).unwrap_or(0).min(count);
                    self.sent.increment(count - refused);
                    self.refused.increment(refused);
                    return;
                }
                Err(error) => error,
            };
            if !may_be_tried_again(&error) {
                tracing::warn!(%error, "the collector does not want the spans");
                self.refused.increment(count);
                return;
            }
            self.is_gone(&error);
            let is_last = *self.finish.borrow();
            if is_last || attempt == TRIES {
                break;
            }
            let mut finish = self.finish.clone();
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                _ = finish.wait_for(|finish| *finish) => {}
            }
            pause = (pause * 2).min(PAUSE_MAX);
        }
        self.failed.increment(count);
    }

    /// Said once each time.
    fn is_gone(&mut self, error: &Status) {
        if !self.is_away {
            tracing::warn!(%error, "the collector does not take spans: trying again");
        }
        self.is_away = true;
    }

    fn is_back(&mut self) {
        if self.is_away {
            tracing::info!("the collector takes spans again");
        }
        self.is_away = false;
    }
}

/// As OTLP has it: what is not the fault of the request.
fn may_be_tried_again(error: &Status) -> bool {
    matches!(
        error.code(),
        Code::Cancelled
            | Code::DeadlineExceeded
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unavailable
            | Code::DataLoss
            | Code::ResourceExhausted
            // A connection that broke.
            | Code::Unknown
    )
}
