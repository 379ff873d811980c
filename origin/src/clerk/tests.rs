//! What operators order, on several nodes that share a store.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use couplet_proto::Jid;
use couplet_proto::link::Downlink;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::link::frame::{Frame, ToEdge};
use couplet_proto::link::id::NodeId;
use couplet_proto::link::rules::Rules;
use couplet_proto::slot::Slot;
use tokio::sync::watch;

use super::{Clerk, Error, Wanted};
use crate::cluster::tests::model::Model;
use crate::config::{Config, Limits};
use crate::directives::Target;
use crate::directives::board::Bar;
use crate::link::{Lane, Local};
use crate::store::Store;

const IN_TIME: Duration = Duration::from_secs(20);

/// An edge that remembers which rules it was told.
#[derive(Default)]
struct Told(Mutex<Vec<Arc<Rules>>>);

impl Downlink for Told {
    fn send(&self, frames: &mut Vec<Frame<ToEdge>>) -> Vec<(Slot, Epoch)> {
        frames.clear();
        Vec::new()
    }

    fn rerouted(&self, _: &[Slot]) {}

    fn ruled(&self, rules: &Arc<Rules>) {
        self.0.lock().expect("whole").push(Arc::clone(rules));
    }
}

impl Told {
    fn versions(&self) -> Vec<u64> {
        let told = self.0.lock().expect("whole");
        told.iter().map(|rules| rules.version).collect()
    }
}

/// A node with an edge.
struct Node {
    clerk: Arc<Clerk>,
    model: Model,
    told: Arc<Told>,
}

impl Node {
    fn of(model: Model, limits: impl FnOnce(&mut Limits)) -> Self {
        let mut config = Config {
            domains: vec!["a.example".to_owned()],
            ..Config::default()
        };
        config.muc.services = vec!["conference.a.example".to_owned()];
        limits(&mut config.limits);
        let store: Arc<dyn Store> = Arc::new(model.clone());
        let parts = crate::Parts::new(config, store).expect("sound");
        let told = Arc::new(Told::default());
        let surroundings = parts.surroundings;
        let board = Arc::clone(&surroundings.board);
        let edge = Arc::clone(&told) as Arc<dyn Downlink>;
        let lane = Local::new(edge, board, surroundings.clock);
        surroundings.edges.attach(Arc::new(lane) as Arc<dyn Lane>);
        let clerk = Arc::new(Clerk::new(surroundings, &parts.config.limits));
        Self { clerk, model, told }
    }

    fn first() -> Self {
        Self::of(Model::new(NodeId("a/1".into())), |_| {})
    }

    fn another(&self) -> Self {
        Self::of(self.model.of(NodeId("b/1".into())), |_| {})
    }

    fn bar(&self, account: &str) -> Option<Bar> {
        self.clerk.served().bar(&jid(account), self.clerk.now())
    }

    async fn ban(&self, target: &str, secs: Option<u64>) -> Result<(), Error> {
        let wanted = Wanted {
            secs,
            ..wanted(target)
        };
        self.clerk.ban(wanted).await.map(drop)
    }

    /// As one who may do so in some domains only.
    async fn ban_confined(&self, target: &str) -> Result<(), Error> {
        let wanted = Wanted {
            is_confined: true,
            ..wanted(target)
        };
        self.clerk.ban(wanted).await.map(drop)
    }
}

fn wanted(target: &str) -> Wanted {
    Wanted {
        target: Target::parse(target).expect("a target"),
        reason: "spam".into(),
        by: "ops".into(),
        is_confined: false,
        secs: None,
    }
}

fn jid(text: &str) -> Jid {
    Jid::parse(text).expect("valid")
}

async fn until(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < IN_TIME, "no {what} in time");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_is_ordered_at_one_node_is_so_at_all() {
    let one = Node::first();
    let two = one.another();
    for node in [&one, &two] {
        node.clerk.ensure_known().await.expect("read");
    }
    one.ban("romeo@a.example", None).await.expect("banned");
    assert_eq!(one.bar("romeo@a.example"), Some(Bar::Banned));
    assert_eq!(two.bar("romeo@a.example"), None);
    let (stop, stopping) = watch::channel(false);
    let keeping = tokio::spawn(Arc::clone(&two.clerk).keep(stopping));
    two.clerk.heard(1);
    until("ban at the other", || {
        two.bar("romeo@a.example") == Some(Bar::Banned)
    })
    .await;
    // What another has ordered meanwhile is kept.
    let added = two.clerk.add_domain("B.example", "ops").await;
    assert_eq!(added, Ok(jid("b.example")));
    one.ban("192.0.2.7", Some(60)).await.expect("banned");
    let served = one.clerk.served();
    assert!(served.is_local("b.example") && served.is_service("conference.b.example"));
    assert_eq!(served.counts(), (1, 1));
    let told = one.told.0.lock().expect("whole").last().cloned();
    let told = told.expect("told");
    assert_eq!((told.version, told.bans.len()), (3, 1));
    assert_eq!(told.domains, [jid("b.example")]);
    assert!(told.bans[0].left_ms.is_some_and(|left| left <= 60_000));
    let target = Target::parse("romeo@a.example").expect("a target");
    one.clerk.lift(&target, "ops", false).await.expect("lifted");
    assert_eq!(one.bar("romeo@a.example"), None);
    two.clerk.heard(4);
    until("end of the ban at the other", || {
        two.bar("romeo@a.example").is_none()
    })
    .await;
    stop.send_replace(true);
    keeping.await.expect("ended");
}

#[tokio::test]
async fn changes_at_once_are_all_kept() {
    let one = Node::first();
    let two = one.another();
    let ban = async |node: &Node, from: u8| {
        for host in from..from + 20 {
            let target = format!("192.0.2.{host}");
            while let Err(error) = node.ban(&target, None).await {
                assert_eq!(error, Error::Busy);
            }
        }
    };
    tokio::join!(ban(&one, 0), ban(&two, 20), ban(&one, 40), ban(&two, 60));
    let stored = one.model.directives().await.expect("read");
    let targets: BTreeSet<_> = stored.bans.iter().map(|ban| ban.target.clone()).collect();
    assert_eq!((targets.len(), stored.version), (80, 80));
}

#[tokio::test]
async fn a_ban_that_has_ended_is_forgotten() {
    let one = Node::first();
    one.ban("192.0.2.7", Some(1)).await.expect("banned");
    one.ban("romeo@a.example", Some(3600))
        .await
        .expect("banned");
    let (_stop, stopping) = watch::channel(false);
    let keeping = tokio::spawn(Arc::clone(&one.clerk).keep(stopping));
    until("end", || one.clerk.served().counts() == (0, 1)).await;
    let stored = one.model.directives().await.expect("read");
    assert_eq!((stored.bans.len(), stored.version), (1, 3));
    keeping.abort();
}

#[tokio::test]
async fn a_store_that_has_lost_what_was_ordered_gets_it_again() {
    let one = Node::first();
    one.ban("192.0.2.7", None).await.expect("banned");
    let before = one.model.directives().await.expect("read");
    one.ban("romeo@a.example", None).await.expect("banned");
    one.model.world().directives = before;
    let (_stop, stopping) = watch::channel(false);
    let keeping = tokio::spawn(Arc::clone(&one.clerk).keep(stopping));
    one.clerk.heard(1);
    until("new version", || one.told.versions() == [1, 2, 3]).await;
    let stored = one.model.directives().await.expect("read");
    assert_eq!((stored.bans.len(), stored.version), (2, 3));
    keeping.abort();
    // Also before something else is changed.
    one.model.world().directives.version = 0;
    one.model.world().directives.bans.clear();
    one.ban("192.0.2.8", None).await.expect("banned");
    let stored = one.model.directives().await.expect("read");
    assert_eq!((stored.bans.len(), stored.version), (3, 5));
}

#[tokio::test]
async fn what_cannot_be_is_refused_in_words() {
    let one = Node::of(Model::new(NodeId("a/1".into())), |limits| {
        limits.bans = 2;
        limits.added_domains = 1;
    });
    let clerk = &one.clerk;
    let elsewhere = one.ban("romeo@elsewhere.example", None).await;
    assert_eq!(elsewhere, Err(Error::NotServed("elsewhere.example".into())));
    let room = one.ban("room@conference.a.example", None).await;
    assert!(matches!(room, Err(Error::NotServed(_))), "{room:?}");
    assert_eq!(one.ban("192.0.2.7", Some(0)).await, Err(Error::TooShort));
    let long = Wanted {
        reason: "x".repeat(501).into(),
        ..wanted("192.0.2.7")
    };
    assert_eq!(clerk.ban(long).await, Err(Error::ReasonTooLong));
    one.ban("192.0.2.7", None).await.expect("banned");
    one.ban("192.0.2.8", None).await.expect("banned");
    let full = one.ban("192.0.2.9", None).await;
    assert_eq!(full, Err(Error::TooManyBans(2)));
    one.ban("192.0.2.8", Some(60)).await.expect("banned anew");
    let target = Target::parse("192.0.2.9").expect("a target");
    let lifted = clerk.lift(&target, "ops", false).await;
    assert_eq!(lifted, Err(Error::NotBanned(target)));

    let add = async |name: &str| clerk.add_domain(name, "ops").await;
    assert_eq!(add("a.example").await, Err(Error::Served(jid("a.example"))));
    let rooms = jid("conference.a.example");
    assert_eq!(add(rooms.as_str()).await, Err(Error::Rooms(rooms)));
    assert_eq!(add("a@b").await, Err(Error::NotADomain("a@b".into())));
    assert_eq!(add("b.example").await, Ok(jid("b.example")));
    assert_eq!(add("b.example").await, Err(Error::Served(jid("b.example"))));
    assert_eq!(add("c.example").await, Err(Error::TooManyDomains(1)));
    let remove = async |name: &str| clerk.remove_domain(name, false, "ops").await;
    let configured = remove("a.example").await;
    assert_eq!(configured, Err(Error::Configured(jid("a.example"))));
    let unknown = remove("c.example").await;
    assert_eq!(unknown, Err(Error::NotAdded(jid("c.example"))));
    assert_eq!(remove("b.example").await, Ok(()));
    assert!(!clerk.served().is_local("b.example"));
    one.model.cut();
    let cut = one.ban("192.0.2.8", None).await;
    assert!(matches!(cut, Err(Error::Store(_))), "{cut:?}");
}

#[tokio::test]
async fn a_domain_with_accounts_goes_only_by_force() {
    let one = Node::first();
    one.clerk
        .add_domain("b.example", "ops")
        .await
        .expect("added");
    one.model.world().accounts.push(jid("romeo@b.example"));
    let refused = one.clerk.remove_domain("b.example", false, "ops").await;
    let account = jid("romeo@b.example");
    assert_eq!(
        refused,
        Err(Error::HasAccounts(jid("b.example"), account.clone()))
    );
    assert!(one.clerk.served().is_local("b.example"));
    let forced = one.clerk.remove_domain("b.example", true, "ops").await;
    assert_eq!(forced, Ok(()));
    assert_eq!(one.bar(account.as_str()), Some(Bar::Gone));
}

#[tokio::test]
async fn nothing_is_told_before_it_is_known() {
    let one = Node::first();
    one.model.cut();
    assert!(one.clerk.ensure_known().await.is_err());
    assert_eq!(one.told.versions(), Vec::<u64>::new());
    one.model.join();
    one.clerk.ensure_known().await.expect("read");
    assert_eq!(one.told.versions(), [0]);
}

#[tokio::test]
async fn a_ban_that_is_stored_is_in_force_whoever_waits_for_it() {
    let one = Node::first();
    one.clerk.ensure_known().await.expect("read");
    let is_banned = |account: &str| one.bar(account) == Some(Bar::Banned);
    // Whoever orders it hangs up.
    one.model.answers.send_replace(false);
    let clerk = Arc::clone(&one.clerk);
    let banning = tokio::spawn(async move { clerk.ban(wanted("romeo@a.example")).await });
    until("ban in the store", || {
        one.model.world().directives.version == 1
    })
    .await;
    banning.abort();
    assert!(banning.await.is_err_and(|ended| ended.is_cancelled()));
    one.model.answers.send_replace(true);
    until("ban", || is_banned("romeo@a.example")).await;
    // The store answers late.
    one.model.answers.send_replace(false);
    let late = one.ban("juliet@a.example", None).await;
    assert!(matches!(late, Err(Error::Store(_))), "{late:?}");
    assert!(!is_banned("juliet@a.example"));
    one.model.answers.send_replace(true);
    until("late ban", || is_banned("juliet@a.example")).await;
    assert_eq!(one.told.versions(), [0, 1, 2]);
    // The answer is lost: what there is must be read.
    one.model.answers.send_replace(false);
    let lost = async {
        until("ban in the store", || {
            one.model.world().directives.version == 3
        })
        .await;
        one.model.cut();
        one.model.answers.send_replace(true);
    };
    let (said, ()) = tokio::join!(one.ban("nurse@a.example", None), lost);
    assert!(matches!(said, Err(Error::Store(_))), "{said:?}");
    assert!(!is_banned("nurse@a.example"));
    one.model.join();
    let (_stop, stopping) = watch::channel(false);
    let keeping = tokio::spawn(Arc::clone(&one.clerk).keep(stopping));
    until("ban read again", || is_banned("nurse@a.example")).await;
    keeping.abort();
}

#[tokio::test]
async fn who_may_ban_in_some_domains_changes_no_ban_of_the_server() {
    let one = Node::of(Model::new(NodeId("a/1".into())), |limits| limits.bans = 5);
    let target = |text: &str| Target::parse(text).expect("a target");
    let (romeo, nurse) = (target("romeo@a.example"), target("nurse@a.example"));
    one.ban("romeo@a.example", None).await.expect("banned");
    let refused = Err(Error::OfServer(romeo.clone()));
    assert_eq!(one.ban_confined("romeo@a.example").await, refused);
    assert_eq!(one.clerk.lift(&romeo, "shop", true).await, refused);
    assert_eq!(one.bar("romeo@a.example"), Some(Bar::Banned));
    for account in ["nurse@a.example", "nurse@a.example", "juliet@a.example"] {
        one.ban_confined(account).await.expect(account);
    }
    // Half of all, at most.
    let full = one.ban_confined("paris@a.example").await;
    assert_eq!(full, Err(Error::ShareTaken(2)));
    assert_eq!(one.clerk.lift(&nurse, "shop", true).await, Ok(()));
    let none = one.clerk.lift(&nurse, "shop", true).await;
    assert_eq!(none, Err(Error::NotBanned(nurse)));
    one.ban_confined("paris@a.example").await.expect("banned");
    // What the server bans as well is the server's from then on.
    one.ban("paris@a.example", None).await.expect("banned");
    let paris = target("paris@a.example");
    let refused = Err(Error::OfServer(paris.clone()));
    assert_eq!(one.clerk.lift(&paris, "shop", true).await, refused);
    assert_eq!(one.clerk.lift(&paris, "ops", false).await, Ok(()));
    for account in ["a@a.example", "b@a.example", "c@a.example"] {
        one.ban(account, None).await.expect(account);
    }
    let full = one.ban("d@a.example", None).await;
    assert_eq!(full, Err(Error::TooManyBans(5)));
}
