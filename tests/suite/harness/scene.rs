//! Reads a scene: a file that says who is on stage and who sends and receives what.
//!
//! ```text
//! # What this shows, and where a specification says so.
//! [Server]
//!     registration.open = true
//! [Client] Romeo
//!     jid: romeo@montague.lit/orchard
//! [Client] Juliet
//!     jid: juliet@capulet.lit/balcony
//! ---
//! Romeo and Juliet are contacts
//! Romeo comes online
//! Juliet receives nothing
//! Romeo sends:
//!     <message to='juliet@capulet.lit'><body>But soft!</body></message>
//! ```
//!
//! Accounts exist before the scene begins, unless a client says `account: none`. A scene that
//! needs settings, or stops the server, has a server of its own; the others share one, and there
//! their accounts get names that no other scene has.

/// A scene, ready to be played.
#[derive(Debug)]
pub(crate) struct Scene {
    /// Settings of a server of its own.
    pub(crate) settings: Vec<String>,
    /// Who takes part.
    pub(crate) cast: Vec<Role>,
    /// What happens, with the line it is written in.
    pub(crate) steps: Vec<(usize, Step)>,
}

/// A client.
#[derive(Debug, Clone)]
pub(crate) struct Role {
    /// What the scene calls it.
    pub(crate) name: String,
    /// Its account's address, perhaps with the resource it asks for.
    pub(crate) jid: String,
    /// Its password.
    pub(crate) password: String,
    /// Whether the account exists before the scene.
    pub(crate) has_account: bool,
}

/// Something that happens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
    /// A client does something or something happens to it.
    Client(usize, Deed),
    /// The first has a subscription to the presence of the second.
    Subscribed(usize, usize),
    /// The server ends in order and starts again.
    Restart,
    /// The server is killed and starts again.
    Crash,
}

/// What a client does, or what happens to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Deed {
    /// It connects, logs in and binds.
    Connect,
    /// It connects and opens a stream.
    Open,
    /// It logs in and binds on the stream it opened.
    LogIn,
    /// It sends initial presence (with this priority) and gets it back.
    ComeOnline(Option<String>),
    /// It says it is unavailable, and closes its stream.
    Disconnect,
    /// Its connection breaks.
    Drop,
    /// It sends this.
    Send(String),
    /// It receives these next, one after the other.
    Receive(String),
    /// It receives these next, in any order.
    ReceiveInAnyOrder(String),
    /// It has received nothing else, and nothing is under way.
    ReceiveNothing,
    /// The server ends its stream with this error.
    End(String),
}

// === impl Scene ===

impl Scene {
    /// Reads a file's text.
    ///
    /// # Panics
    /// On a mistake in the file, with its line.
    pub(crate) fn parse(text: &str) -> Self {
        let mut scene = Self {
            settings: Vec::new(),
            cast: Vec::new(),
            steps: Vec::new(),
        };
        let lines: Vec<&str> = text.lines().collect();
        let rule = lines.iter().position(|line| *line == "---");
        let rule = rule.expect("a line of three dashes stands before the steps");
        scene.read_cast(&lines[..rule]);
        let mut at = rule + 1;
        while at < lines.len() {
            let (line, number) = (lines[at], at + 1);
            at += 1;
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            assert!(!line.starts_with(' '), "line {number}: a step is expected");
            let start = at;
            while at < lines.len() && (lines[at].starts_with(' ') || lines[at].is_empty()) {
                at += 1;
            }
            let block = lines[start..at].join("\n");
            match scene.read_step(line, block.trim()) {
                Some(steps) => scene.steps.extend(steps.into_iter().map(|it| (number, it))),
                None => panic!("line {number}: not understood: {line}"),
            }
        }
        scene
    }

    /// Whether the scene needs a server of its own.
    pub(crate) fn is_alone(&self) -> bool {
        let stops = |step: &Step| matches!(step, Step::Restart | Step::Crash);
        !self.settings.is_empty() || self.steps.iter().any(|(_, step)| stops(step))
    }

    fn read_cast(&mut self, lines: &[&str]) {
        let mut is_server = false;
        for (index, line) in lines.iter().enumerate() {
            let number = index + 1;
            if line.trim().is_empty() || line.starts_with('#') {
            } else if *line == "[Server]" {
                is_server = true;
            } else if let Some(name) = line.strip_prefix("[Client] ") {
                is_server = false;
                self.cast.push(Role {
                    name: name.to_owned(),
                    jid: String::new(),
                    password: super::server::PASSWORD.to_owned(),
                    has_account: true,
                });
            } else if is_server {
                self.settings.push(line.trim().to_owned());
            } else {
                let role = self.cast.last_mut();
                let role = role.unwrap_or_else(|| panic!("line {number}: whose?"));
                match line.trim().split_once(": ") {
                    Some(("jid", value)) => value.clone_into(&mut role.jid),
                    Some(("password", value)) => value.clone_into(&mut role.password),
                    Some(("account", "none")) => role.has_account = false,
                    _ => panic!("line {number}: not understood: {line}"),
                }
            }
        }
    }

    fn read_step(&self, line: &str, block: &str) -> Option<Vec<Step>> {
        match line {
            "The server restarts" => return Some(vec![Step::Restart]),
            "The server is killed and starts again" => return Some(vec![Step::Crash]),
            _ => {}
        }
        let (who, rest) = self.named(line)?;
        let deed = match rest {
            "connects" => Deed::Connect,
            "opens a stream" => Deed::Open,
            "logs in" => Deed::LogIn,
            "comes online" => Deed::ComeOnline(None),
            "disconnects" => Deed::Disconnect,
            "loses its connection" => Deed::Drop,
            "sends:" => Deed::Send(block.to_owned()),
            "receives:" => Deed::Receive(block.to_owned()),
            "receives in any order:" => Deed::ReceiveInAnyOrder(block.to_owned()),
            "receives nothing" => Deed::ReceiveNothing,
            _ => {
                if let Some(priority) = rest.strip_prefix("comes online with priority ") {
                    Deed::ComeOnline(Some(priority.to_owned()))
                } else if let Some(condition) = rest.strip_prefix("is disconnected with ") {
                    Deed::End(condition.to_owned())
                } else if let Some(other) = rest.strip_prefix("is subscribed to ") {
                    return Some(vec![Step::Subscribed(who, self.named(other)?.0)]);
                } else {
                    let other = rest.strip_prefix("and ")?;
                    let (other, rest) = self.named(other)?;
                    let is_both = rest == "are contacts";
                    return is_both
                        .then(|| vec![Step::Subscribed(who, other), Step::Subscribed(other, who)]);
                }
            }
        };
        Some(vec![Step::Client(who, deed)])
    }

    /// The client whose name begins the line, and the rest of it.
    fn named<'a>(&self, line: &'a str) -> Option<(usize, &'a str)> {
        let found = self.cast.iter().enumerate().filter_map(|(index, role)| {
            let rest = line.strip_prefix(role.name.as_str())?;
            let is_whole = rest.is_empty() || rest.starts_with(' ');
            is_whole.then(|| (index, rest.trim_start()))
        });
        // `Juliet's phone` is not `Juliet`: the longest name that fits.
        found.min_by_key(|(_, rest)| rest.len())
    }
}

#[test]
fn a_scene_is_read_line_by_line() {
    let scene = Scene::parse(
        "# About nothing\n[Client] Romeo\n    jid: r@m/o\n[Client] Juliet\n    jid: j@c\n---\n\
         Romeo and Juliet are contacts\n# Why\nRomeo sends:\n    <a>\n      <b/>\n    </a>\n\n\
         Juliet receives nothing\nThe server restarts\n",
    );
    let block = "<a>\n      <b/>\n    </a>".to_owned();
    assert_eq!(
        scene.steps,
        [
            (7, Step::Subscribed(0, 1)),
            (7, Step::Subscribed(1, 0)),
            (9, Step::Client(0, Deed::Send(block))),
            (14, Step::Client(1, Deed::ReceiveNothing)),
            (15, Step::Restart),
        ]
    );
    assert!(scene.is_alone());
}
