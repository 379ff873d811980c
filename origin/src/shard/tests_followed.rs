//! What is told of stanzas that are followed.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use couplet_proto::link::frame::ToEdge;
use couplet_proto::trace::{Act, Span, SpanId, Trace, TraceId, Tracer};

use super::followed::FOLLOWED_MAX;
use super::rig::{Client, Rig, stanza};

const TRACE: Trace = Trace {
    id: TraceId(7),
    span: SpanId(1),
    at: 0,
};

/// Keeps what it is told; its clock goes on with every look.
#[derive(Default)]
struct Recorder {
    clock: AtomicU64,
    spans: Mutex<Vec<Span>>,
}

impl Tracer for Recorder {
    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    fn done(&self, span: Span) {
        self.spans.lock().expect("not poisoned").push(span);
    }
}

impl Recorder {
    fn taken(&self) -> Vec<Span> {
        std::mem::take(&mut *self.spans.lock().expect("not poisoned"))
    }
}

/// A world in which stanzas are followed.
fn followed(accounts: &[&str]) -> (Rig, Arc<Recorder>) {
    let rig = Rig::new(3, accounts);
    let recorder = Arc::new(Recorder::default());
    let tracer: Arc<dyn Tracer> = Arc::<Recorder>::clone(&recorder);
    assert!(rig.shared().tracer.set(tracer).is_ok());
    (rig, recorder)
}

fn send(rig: &mut Rig, client: &mut Client, xml: &str) {
    let mut stanza = stanza(xml);
    stanza.trace = Some(Box::new(TRACE));
    rig.push_stanza(client, stanza);
    rig.run();
}

/// What the next stanza for a client carries.
fn carried(rig: &mut Rig, client: &Client) -> Option<Trace> {
    match rig.next_frame(client.connection) {
        ToEdge::Deliver(delivery) => delivery.stanza.trace.as_deref().copied(),
        other => panic!("{other:?}"),
    }
}

fn chat(to: &str) -> String {
    format!("<message id='m' to='{to}' type='chat'><body>hi</body></message>")
}

#[test]
fn each_step_of_a_message_is_the_child_of_the_one_before() {
    let (mut rig, recorder) = followed(&["romeo@x", "juliet@x"]);
    let (mut romeo, juliet) = (rig.online("romeo@x/r"), rig.online("juliet@x/j"));
    assert_eq!(recorder.taken(), [], "nothing is told of the others");
    send(&mut rig, &mut romeo, &chat("juliet@x"));
    let spans = recorder.taken();
    let [sent, received] = &spans[..] else {
        panic!("{spans:?}");
    };
    assert_eq!(
        (sent.act, received.act),
        (Act::HandleSent, Act::HandleReceived)
    );
    assert_eq!(sent.parent, Some(TRACE.span));
    assert_eq!(received.parent, Some(sent.id));
    assert!(sent.start < sent.end && sent.end < received.start);
    for span in &spans {
        assert_eq!((span.trace, span.outcome), (TRACE.id, "done"));
        let from = span.from.as_ref().map(|from| from.as_str());
        assert_eq!(from, Some("romeo@x/r"));
    }
    let carried = carried(&mut rig, &juliet);
    assert_eq!(carried, Some(received.child()));
}

#[test]
fn nothing_is_told_of_a_stanza_that_is_not_followed() {
    let (mut rig, recorder) = followed(&["romeo@x", "juliet@x"]);
    let (mut romeo, juliet) = (rig.online("romeo@x/r"), rig.online("juliet@x/j"));
    rig.send(&mut romeo, &chat("juliet@x"));
    assert_eq!(recorder.taken(), []);
    assert_eq!(carried(&mut rig, &juliet), None);
}

#[test]
fn an_answer_of_the_server_belongs_to_the_question() {
    let (mut rig, recorder) = followed(&["romeo@x"]);
    let mut romeo = rig.online("romeo@x/r");
    let ping = "<iq type='get' id='p' to='x'><ping xmlns='urn:xmpp:ping'/></iq>";
    send(&mut rig, &mut romeo, ping);
    let spans = recorder.taken();
    assert_eq!(spans.len(), 1, "{spans:?}");
    assert_eq!(carried(&mut rig, &romeo), Some(spans[0].child()));
}

#[test]
fn what_waits_for_a_commit_is_told_when_that_has_ended() {
    for (succeeds, outcome) in [(true, "stored"), (false, "failed")] {
        let (mut rig, recorder) = followed(&["romeo@x", "juliet@x"]);
        let mut romeo = rig.online("romeo@x/r");
        rig.holds_commits = true;
        send(&mut rig, &mut romeo, &chat("juliet@x"));
        let spans = recorder.taken();
        let received = spans.iter().find(|span| span.act == Act::HandleReceived);
        let received = received.expect("handled").id;
        assert!(spans.iter().all(|span| span.act != Act::Commit));
        rig.commit(succeeds);
        let spans = recorder.taken();
        let commit = spans.iter().find(|span| span.act == Act::Commit);
        let commit = commit.expect("it has ended");
        assert_eq!((commit.parent, commit.outcome), (Some(received), outcome));
    }
}

#[test]
fn a_presence_that_is_kept_is_no_part_of_the_trace_it_came_with() {
    let (mut rig, recorder) = followed(&["romeo@x"]);
    let mut first = rig.login("romeo@x/a");
    send(&mut rig, &mut first, "<presence/>");
    rig.received(&first);
    recorder.taken();
    // Its presence is sent to the other resource, which asks for that.
    let second = rig.online("romeo@x/b");
    let mut third = rig.login("romeo@x/c");
    rig.send(&mut third, "<presence/>");
    assert_eq!(recorder.taken(), []);
    for client in [&first, &second, &third] {
        while let Some(trace) = rig.next_trace(client) {
            assert_eq!(trace, None);
        }
    }
}

#[test]
fn of_what_goes_to_many_only_some_is_followed() {
    let names: Vec<String> = (0..12).map(|number| format!("u{number}@x")).collect();
    let mut accounts: Vec<&str> = names.iter().map(String::as_str).collect();
    accounts.push("romeo@x");
    let (mut rig, recorder) = followed(&accounts);
    let mut romeo = rig.online("romeo@x/r");
    for name in &names {
        rig.online(&format!("{name}/r"));
        rig.send(&mut romeo, &format!("<presence to='{name}'/>"));
    }
    send(&mut rig, &mut romeo, "<presence type='unavailable'/>");
    let spans = recorder.taken();
    let received = spans.iter().filter(|span| span.act == Act::HandleReceived);
    let received = received.count();
    assert!((1..=FOLLOWED_MAX).contains(&received), "{received}");
}
