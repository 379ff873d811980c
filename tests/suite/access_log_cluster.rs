//! The access logs of a cluster: an edge that sends its clients away, and origins between which
//! slots move. Needs `redis-server` on the path.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::harness::access_log::{AccessLog, Line, count, get, of, sum};
use crate::harness::client::{Client, PATIENCE};
use crate::harness::process::{Process, free_address};
use crate::harness::server::{PASSWORD, fetch};

/// XEP-0198.
const SM: &str = "urn:xmpp:sm:3";

/// Where the edge sends its clients: nobody is there.
const ELSEWHERE: &str = "elsewhere.example:5222";

/// Everything that waits has something to wait for.
fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "not so: {what}");
        thread::park_timeout(Duration::from_millis(20));
    }
}

/// A node of the cluster.
struct Node {
    process: Process,
    admin: SocketAddr,
    log: AccessLog,
}

impl Node {
    fn start(folder: &Path, role: &str, name: &str, settings: &[String]) -> Self {
        let (admin, access) = (free_address(), folder.join(name));
        let own = [
            format!("node={name}"),
            "domains=montague.lit".to_owned(),
            "link.insecure=true".to_owned(),
            format!("admin.listen={admin}"),
            format!("access_log.folder={}", access.display()),
        ];
        let mut command = Command::new(env!("CARGO_BIN_EXE_couplet"));
        command.arg(role).current_dir(folder);
        for setting in own.iter().chain(settings) {
            command.args(["--set", setting]);
        }
        let log = folder.join(format!("{name}.log"));
        let mut node = Self {
            process: Process::spawn(command, &log, None),
            admin,
            log: AccessLog(access),
        };
        until(&format!("{name} is ready"), || {
            let said = || std::fs::read_to_string(&log).unwrap_or_default();
            assert!(node.process.ended().is_none(), "{}", said());
            fetch(admin, "/readyz").is_some_and(|(code, _)| code == 200)
        });
        node
    }

    fn origin(folder: &Path, name: &str, redis: SocketAddr, link: SocketAddr) -> Self {
        let settings = [
            format!("store.url=redis://{redis}"),
            format!("link.listen={link}"),
            "auth.scram_iterations=4096".to_owned(),
        ];
        Self::start(folder, "origin", name, &settings)
    }

    /// What a metric says, all its series with these words added up.
    fn metric(&self, words: &[&str]) -> u64 {
        let (_, text) = fetch(self.admin, "/metrics").expect("an answer");
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let lines = lines.filter(|line| words.iter().all(|word| line.contains(word)));
        let values = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        values.sum()
    }

    /// Slots gained so far and slots lost, as its log says.
    fn slots(&self) -> (u64, u64) {
        let lines = self.log.lines();
        let [gained, lost] = ["slots-gained", "slots-lost"].map(|it| sum(&lines, it, "x-count"));
        (gained, lost)
    }

    /// Waits until it has stopped, in good order.
    fn ended(mut self) -> AccessLog {
        let mut status = None;
        until("it has stopped", || {
            status = self.process.ended();
            status.is_some()
        });
        assert_eq!(status.expect("stopped").code(), Some(0));
        self.log
    }
}

fn redis(folder: &Path) -> (Process, SocketAddr) {
    let address = free_address();
    let mut command = Command::new("redis-server");
    let port = address.port().to_string();
    command.args(["--bind", "127.0.0.1", "--port", &port, "--save", ""]);
    command.args(["--appendonly", "no"]).current_dir(folder);
    let process = Process::spawn(command, &folder.join("redis.log"), None);
    until("Redis listens", || TcpStream::connect(address).is_ok());
    (process, address)
}

/// A line by some of its fields.
fn told<'a, const N: usize>(line: &'a Line, fields: [&str; N]) -> [&'a str; N] {
    fields.map(|field| get(line, field))
}

/// Waits until both tell the same of what went from one to the other, and that it was so much.
/// While slots are still on their way one of them may be ahead.
fn until_moved(gained: &AccessLog, lost: &AccessLog, [from, to]: [&str; 2], least: usize) {
    let expected = ["planned", from, to];
    until(&format!("slots went from {from} to {to}"), || {
        let slots = |log: &AccessLog, event| {
            let lines = log.lines();
            let own = of(&lines, event);
            let own = own.filter(|line| told(line, ["x-reason", "x-from", "x-to"]) == expected);
            let mut slots: Vec<u16> = own.flat_map(|line| slots(get(line, "x-slots"))).collect();
            slots.sort_unstable();
            slots
        };
        let lost = slots(lost, "slots-lost");
        lost.len() > least && lost == slots(gained, "slots-gained")
    });
    let lines = gained.lines();
    for line in of(&lines, "slots-gained") {
        let pause = get(line, "time-taken").parse::<f64>().expect("a time");
        assert!((0.0..60.0).contains(&pause), "{line:?}");
    }
}

/// `0-2,9` as numbers.
fn slots(text: &str) -> Vec<u16> {
    let ranges = text.split(',').flat_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        first.parse().expect("a slot")..=last.parse().expect("a slot")
    });
    ranges.collect()
}

#[test]
fn a_cluster_tells_who_went_where() {
    let folder = TempDir::new().expect("a temporary folder");
    let path = folder.path();
    let (_redis, store) = redis(path);
    let links = [free_address(), free_address()];
    let first = Node::origin(path, "first", store, links[0]);
    until("the first origin has told of all slots", || {
        first.slots() == (4096, 0)
    });
    let unowned = first.log.lines();
    let fields = ["x-reason", "x-from", "x-to", "x-node"];
    for line in of(&unowned, "slots-gained") {
        assert_eq!(told(line, fields), ["unowned", "-", "first", "first"]);
    }

    let second = Node::origin(path, "second", store, links[1]);
    until_moved(&second.log, &first.log, ["first", "second"], 1000);

    edge_tells_its_clients(path, links, &[&first, &second]);

    second.process.signal("TERM");
    let log = second.ended();
    let lines = log.lines();
    let [gained, lost] = ["slots-gained", "slots-lost"].map(|it| sum(&lines, it, "x-count"));
    assert_eq!(gained, lost);
    until_moved(&first.log, &log, ["second", "first"], 1000);
    until_moved(&log, &first.log, ["first", "second"], 1000);
    let drain = of(&lines, "drain").map(|line| get(line, "x-outcome"));
    assert_eq!(drain.collect::<Vec<_>>(), ["begun", "done"]);
    let done = of(&lines, "drain").last().expect("two");
    assert_eq!(get(done, "x-count"), "0");
}

/// What happens at an edge in front of these origins.
fn edge_tells_its_clients(path: &Path, links: [SocketAddr; 2], origins: &[&Node]) {
    let c2s = free_address();
    let settings = [
        format!("c2s.listen=[\"{c2s}\"]"),
        "c2s.tls_listen=[]".to_owned(),
        "c2s.require_tls=false".to_owned(),
        format!("link.origins=[\"{}\", \"{}\"]", links[0], links[1]),
        format!("drain.see_other_host=[\"{ELSEWHERE}\"]"),
    ];
    let edge = Node::start(path, "edge", "edge", &settings);
    let mut clients = crowd(c2s, origins[0]);
    let lost = clients.pop().expect("four");
    let jid = lost.jid.clone();
    lost.cut();
    let bare = clients[0].bare().to_owned();
    clients.into_iter().for_each(Client::close);
    check_totals(&edge, &edge.log.until_gone(4));
    until("an origin tells that a session waits", || {
        let all = origins.iter().flat_map(|origin| origin.log.lines());
        let waits: Vec<_> = all.filter(|line| line["x-event"] == "hibernate").collect();
        waits.len() == 1 && get(&waits[0], "x-jid") == jid
    });

    let mut last = Client::login(c2s, &bare, PASSWORD);
    let port = last.port().to_string();
    edge.process.signal("TERM");
    last.ends_with("see-other-host");
    drop(last);
    let lines = edge.ended().lines();
    let own = lines.iter().filter(|line| get(line, "c-port") == port);
    let own: Vec<_> = own
        .map(|line| told(line, ["x-event", "x-to", "x-reason"]))
        .collect();
    let expected = [
        ["redirect", ELSEWHERE, "-"],
        ["disconnect", "-", "see-other-host"],
    ];
    assert_eq!(own[3..], expected);
    assert_eq!(count(&lines, "connect"), count(&lines, "disconnect"));
    let drain = of(&lines, "drain").map(|line| get(line, "x-outcome"));
    assert_eq!(drain.collect::<Vec<_>>(), ["begun", "done"]);
}

/// Four users that have talked and count what they get.
fn crowd(c2s: SocketAddr, origin: &Node) -> Vec<Client> {
    let server = format!("http://{}", origin.admin);
    let login = |number| {
        let jid = format!("user{number}@montague.lit");
        let added = Command::new(env!("CARGO_BIN_EXE_couplet"))
            .args(["ctl", "--server", &server, "account", "add", &jid])
            .args(["--password", PASSWORD])
            .output()
            .expect("it runs");
        assert!(added.status.success(), "{added:?}");
        Client::login(c2s, &jid, PASSWORD)
    };
    let mut clients: Vec<_> = (0..4).map(login).collect();
    for round in 0..10 {
        for index in 0..clients.len() {
            let to = clients[(index + round) % 4].jid.clone();
            let body = "<body>o</body>";
            clients[index].send(&format!("<message to='{to}' type='chat'>{body}</message>"));
        }
    }
    for client in &mut clients {
        client.send(&format!("<enable xmlns='{SM}' resume='true'/>"));
        client.wait_for(|it| it.is("enabled", SM));
        client.is_alive();
    }
    clients
}

/// What the lines say in all is what the metrics of the edge have counted.
fn check_totals(edge: &Node, lines: &[Line]) {
    for (name, direction, field) in [
        ("couplet_client_bytes_total", "in", "cs-bytes"),
        ("couplet_client_bytes_total", "out", "sc-bytes"),
        ("couplet_client_stanzas_total", "in", "x-stanzas-in"),
        ("couplet_client_stanzas_total", "out", "x-stanzas-out"),
    ] {
        let said = sum(lines, "disconnect", field);
        assert!(said >= 44, "{field}: {said}");
        let direction = format!("direction=\"{direction}\"");
        assert_eq!(said, edge.metric(&[name, &direction]), "{field}");
    }
}
