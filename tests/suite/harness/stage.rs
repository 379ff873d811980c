//! Plays a scene against a server.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::client::{Client, STREAM, ping, unique};
use super::pattern::{self, Memory};
use super::scene::{Deed, Role, Scene, Step};
use super::server::Server;
use super::tree::Tree;

/// Plays the scene in `text`; `name` is its file's name without the ending.
///
/// # Errors
/// Says in which line it went wrong, and how.
pub(crate) fn play(name: &str, text: &str) -> Result<(), String> {
    let scene = Scene::parse(text);
    let mut stage = Stage::new(name, &scene);
    for (line, step) in &scene.steps {
        let played = catch_unwind(AssertUnwindSafe(|| stage.perform(step)));
        if let Err(panic) = played {
            let words = panic.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            let words = words.unwrap_or_default();
            return Err(format!("{name}.scene:{line}: {words}"));
        }
    }
    Ok(())
}

/// A scene while it is played.
struct Stage {
    server: Hall,
    cast: Vec<Role>,
    players: Vec<Option<Player>>,
    /// Addresses as the scene writes them, and as the server knows them.
    names: Vec<(String, String)>,
    memory: Memory,
    /// Who did something that the server may still be busy with.
    actor: Option<usize>,
}

/// The server a scene is played on.
enum Hall {
    Own(Box<Server>),
    Shared(&'static Server),
}

/// A client on stage.
struct Player {
    client: Client,
    was_online: bool,
}

// === impl Hall ===

impl Hall {
    fn get(&self) -> &Server {
        match self {
            Self::Own(server) => server,
            Self::Shared(server) => server,
        }
    }
}

// === impl Stage ===

impl Stage {
    fn new(name: &str, scene: &Scene) -> Self {
        let mut names = Vec::new();
        let server = if scene.is_alone() {
            let settings: Vec<&str> = scene.settings.iter().map(String::as_str).collect();
            Hall::Own(Box::new(Server::start(&settings)))
        } else {
            for role in &scene.cast {
                let bare = bare(&role.jid);
                let (user, domain) = bare.split_once('@').expect("an account");
                let real = format!("{user}.{name}@{domain}");
                if !names.contains(&(bare.to_owned(), real.clone())) {
                    names.push((bare.to_owned(), real));
                }
            }
            Hall::Shared(Server::shared())
        };
        let stage = Self {
            server,
            cast: scene.cast.clone(),
            players: scene.cast.iter().map(|_| None).collect(),
            names,
            memory: Memory::new(),
            actor: None,
        };
        let mut added = BTreeSet::new();
        for role in scene.cast.iter().filter(|role| role.has_account) {
            let jid = stage.real(bare(&role.jid));
            if added.insert(jid.clone()) {
                stage.server.get().add_account(&jid, &role.password);
            }
        }
        stage
    }

    /// Text as the server must see it.
    fn real(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (staged, real) in &self.names {
            text = text.replace(staged, real);
        }
        for (name, value) in &self.memory {
            text = text.replace(&format!("{{{name}}}"), value);
        }
        text
    }

    /// An element as the scene writes it.
    fn staged(&self, mut tree: Tree) -> Tree {
        for (staged, real) in &self.names {
            tree.text = tree.text.replace(real, staged);
            for (_, value) in &mut tree.attributes {
                *value = value.replace(real, staged);
            }
        }
        let children = std::mem::take(&mut tree.children);
        tree.children = children.into_iter().map(|it| self.staged(it)).collect();
        tree
    }

    fn perform(&mut self, step: &Step) {
        match step {
            Step::Client(who, deed) => self.act(*who, deed),
            Step::Subscribed(watcher, contact) => self.subscribe(*watcher, *contact),
            Step::Restart | Step::Crash => {
                self.players.iter_mut().for_each(|player| *player = None);
                let Hall::Own(server) = &mut self.server else {
                    panic!("a scene that stops the server has its own");
                };
                if *step == Step::Restart {
                    server.signal("TERM");
                    server.wait();
                } else {
                    server.kill();
                }
                server.run();
            }
        }
    }

    fn act(&mut self, who: usize, deed: &Deed) {
        match deed {
            Deed::Receive(_) | Deed::ReceiveInAnyOrder(_) | Deed::ReceiveNothing | Deed::End(_) => {
                self.observe(who, deed);
                return;
            }
            _ => {}
        }
        // What one client did has happened before another does something.
        if self.actor.is_some_and(|actor| actor != who) {
            self.settle();
        }
        self.actor = Some(who);
        match deed {
            Deed::Connect => {
                self.open(who);
                self.log_in(who);
            }
            Deed::Open => self.open(who),
            Deed::LogIn => self.log_in(who),
            Deed::ComeOnline(priority) => self.come_online(who, priority.as_deref()),
            Deed::Send(text) => {
                let text = self.real(text);
                self.player(who).client.send(&text);
            }
            Deed::Disconnect => {
                let mut player = self.players[who].take().expect("it is connected");
                if player.was_online {
                    player.client.send("<presence type='unavailable'/>");
                }
                player.client.is_alive();
                player.client.close();
            }
            Deed::Drop => self.players[who]
                .take()
                .expect("it is connected")
                .client
                .cut(),
            _ => unreachable!("observed above"),
        }
    }

    fn observe(&mut self, who: usize, deed: &Deed) {
        match deed {
            Deed::Receive(text) => {
                for pattern in patterns(text) {
                    let tree = self.next(who);
                    if let Err(reason) = self.compare(who, &pattern, &tree) {
                        panic!("{reason}\n  in {tree}");
                    }
                }
            }
            Deed::ReceiveInAnyOrder(text) => {
                let mut patterns = patterns(text);
                while !patterns.is_empty() {
                    let tree = self.next(who);
                    let mut reasons = String::new();
                    let found = patterns.iter().position(|pattern| {
                        let compared = self.compare(who, pattern, &tree);
                        compared
                            .map_err(|why| reasons = format!("{reasons}\n  {why}"))
                            .is_ok()
                    });
                    let Some(found) = found else {
                        panic!("none of those expected: {tree}{reasons}");
                    };
                    patterns.remove(found);
                }
            }
            Deed::ReceiveNothing => {
                self.settle();
                let rest = self.player(who).client.take_aside();
                if let Some(tree) = rest.into_iter().next() {
                    panic!("nothing expected, but it got {}", self.staged(tree));
                }
            }
            Deed::End(condition) => {
                let mut player = self.players[who].take().expect("it is connected");
                player.client.ends_with(condition);
            }
            _ => unreachable!("only what is observed"),
        }
    }

    fn next(&mut self, who: usize) -> Tree {
        let tree = self.player(who).client.next();
        self.staged(tree)
    }

    fn compare(&mut self, who: usize, pattern: &Tree, tree: &Tree) -> Result<(), String> {
        let own = bare(&self.cast[who].jid).to_owned();
        pattern::stanza(pattern, tree, &own, &mut self.memory)
    }

    fn player(&mut self, who: usize) -> &mut Player {
        let name = &self.cast[who].name;
        self.players[who]
            .as_mut()
            .unwrap_or_else(|| panic!("{name} is not connected"))
    }

    fn open(&mut self, who: usize) {
        let mut client = Client::connect(self.server.get().c2s);
        let (_, domain) = bare(&self.cast[who].jid)
            .split_once('@')
            .expect("an account");
        client.open(domain);
        let was_online = false;
        self.players[who] = Some(Player { client, was_online });
    }

    fn log_in(&mut self, who: usize) {
        let jid = self.real(&self.cast[who].jid);
        let password = self.cast[who].password.clone();
        self.player(who).client.enter(&jid, &password);
    }

    /// Initial presence comes back to the one who sent it (RFC 6121 §4.2.2).
    fn come_online(&mut self, who: usize, priority: Option<&str>) {
        let priority = priority.map_or_else(String::new, |it| format!("<priority>{it}</priority>"));
        let player = self.player(who);
        player.was_online = true;
        player
            .client
            .send(&format!("<presence>{priority}</presence>"));
        let jid = player.client.jid.clone();
        player.client.wait_for(|tree| {
            tree.name == "presence" && tree.get("type").is_none() && tree.get("from") == Some(&jid)
        });
    }

    /// Makes `watcher` see the presence of `contact`, over connections of their own.
    fn subscribe(&self, watcher: usize, contact: usize) {
        let mut sides = [watcher, contact].map(|who| {
            let jid = self.real(bare(&self.cast[who].jid));
            Client::login(self.server.get().c2s, &jid, &self.cast[who].password)
        });
        let names = [0, 1].map(|side| sides[side].bare().to_owned());
        for (side, type_) in [(0, "subscribe"), (1, "subscribed")] {
            let other = &names[1 - side];
            sides[side].send(&format!("<presence type='{type_}' to='{other}'/>"));
            sides[side].ping(other);
        }
        for mut side in sides {
            side.is_alive();
            side.close();
        }
    }

    /// Waits until the server has handled everything the clients have sent, with what follows
    /// from it: addresses see what one client sends them in order (RFC 6120 §10.1), so an
    /// answered ping means that what was sent before has arrived. Each round is one step of a
    /// chain such as presence, probe, answer.
    fn settle(&mut self) {
        let accounts: BTreeSet<String> = self
            .cast
            .iter()
            .map(|role| self.real(bare(&role.jid)))
            .collect();
        for _ in 0..3 {
            let mut asked = Vec::new();
            for (index, player) in self.players.iter_mut().enumerate() {
                let Some(player) = player.as_mut().filter(|it| !it.client.jid.is_empty()) else {
                    continue;
                };
                for account in &accounts {
                    let id = unique("settle");
                    player.client.send(&ping(&id, account));
                    asked.push((index, id));
                }
            }
            for (index, id) in asked {
                self.player(index).client.answer_to(&id);
            }
        }
        self.actor = None;
    }
}

fn bare(jid: &str) -> &str {
    jid.split('/').next().unwrap_or(jid)
}

fn patterns(text: &str) -> Vec<Tree> {
    let context = format!("<stream:stream xmlns='jabber:client' xmlns:stream='{STREAM}'>");
    Tree::read_all(&context, text)
}
