//! Tokens: whose they are and what they open; what the port for operators needs to be reachable.

use std::path::Path;

use super::check::{Check, domain};
use super::value::Wrong;
use super::{Admin, Grant, Scope, Settings, Token};
use crate::token::{self, Digest};

/// The name in the audit log of the token in `admin.token_file`.
const WHOLE: &str = "server";

/// What the audit log calls those who have no token.
const RESERVED: &[&str] = &[WHOLE, "loopback", "nobody"];

/// The longest name of a token.
const NAME_MAX: usize = 64;

// === impl Admin ===

impl Admin {
    /// The token of this name.
    pub(super) fn token(&mut self, name: &str) -> Result<&mut Token, Wrong> {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || name.len() > NAME_MAX || !name.chars().all(is_plain) {
            return Err(format!(
                "{name:?} is not a name of letters, digits, dots, dashes or underscores"
            ));
        }
        if RESERVED.contains(&name) {
            return Err(format!("{name:?} has another meaning in the audit log"));
        }
        Ok(self.tokens.entry(name.to_owned()).or_default())
    }
}

// === impl Check ===

impl Check<'_> {
    /// Tokens are whole, can be read and differ; without any, nobody else can reach the port.
    pub(super) fn admin(&mut self, settings: &mut Settings) {
        let admin = &settings.admin;
        let mut grants = Vec::new();
        let mut seen = Vec::new();
        if let Some(file) = &admin.token_file {
            self.secret("admin.token_file", file, &mut seen);
            grants.push(Grant {
                name: WHOLE.to_owned(),
                file: file.clone(),
                scope: Scope::Server,
                bodies: false,
            });
        }
        for (name, token) in &admin.tokens {
            let section = format!("admin.tokens.{name:?}");
            let scope = self.scope(&section, token);
            let Some(file) = &token.file else {
                self.missing(&section, "file", "where is the token?");
                continue;
            };
            self.secret(&format!("{section}.file"), file, &mut seen);
            grants.extend(scope.map(|scope| Grant {
                name: name.clone(),
                file: file.clone(),
                scope,
                bodies: token.bodies,
            }));
        }
        let has_tokens = admin.token_file.is_some() || !admin.tokens.is_empty();
        if !admin.listen.ip().is_loopback() && !has_tokens {
            let message = format!(
                "{} can be reached from other machines, and nobody would be asked for a token \
                 there: set admin.token_file, or use 127.0.0.1",
                admin.listen
            );
            self.mistake("admin.listen", message);
        }
        if let Some(file) = &admin.audit_file {
            let folder = file
                .parent()
                .filter(|folder| !folder.as_os_str().is_empty());
            if folder.is_some_and(|folder| !folder.is_dir()) {
                let message = format!("{}: there is no such folder", file.display());
                self.mistake("admin.audit_file", message);
            }
        }
        settings.admin.grants = grants;
    }

    /// A file with a token that no other has.
    fn secret(&mut self, key: &str, file: &Path, seen: &mut Vec<(String, Digest)>) {
        let Some(token) = self.file(key, file, token::read) else {
            return;
        };
        let digest = Digest::of(&token);
        match seen.iter().find(|(_, other)| other.is(&digest)) {
            Some((other, _)) => self.mistake(key, format!("is the same token as {other}")),
            None => seen.push((key.to_owned(), digest)),
        }
    }

    /// What a token opens; `None` when that is not said well enough.
    fn scope(&mut self, section: &str, token: &Token) -> Option<Scope> {
        if token.bodies && token.scope.as_ref().is_some_and(|it| *it != Scope::Server) {
            let message = "is only for a token with scope = \"server\"";
            self.mistake(&format!("{section}.bodies"), message);
        }
        let key = format!("{section}.domains");
        match (&token.scope, &token.domains) {
            (None, _) => {
                let which = "is it \"server\", \"domain\" or \"read-only\"?";
                self.missing(section, "scope", which);
                None
            }
            (Some(Scope::Domains(_)), None) => {
                self.missing(section, "domains", "of which domains?");
                None
            }
            (Some(Scope::Domains(_)), Some(names)) => {
                let mut domains = Vec::new();
                for name in names {
                    match domain(name) {
                        Some(domain) => domains.push(domain),
                        None => self.mistake(&key, format!("{name:?} is not a domain")),
                    }
                }
                if names.is_empty() {
                    self.mistake(&key, "must name at least one domain");
                }
                Some(Scope::Domains(domains))
            }
            (Some(_), Some(_)) => {
                self.mistake(&key, "is only for a token with scope = \"domain\"");
                None
            }
            (Some(scope), None) => Some(scope.clone()),
        }
    }

    /// Reports a part that is missing where another one was given.
    fn missing(&mut self, section: &str, part: &str, question: &str) {
        let keys = ["file", "scope", "domains", "bodies"].map(|key| format!("{section}.{key}"));
        let given = keys.iter().find(|key| self.is_given(key));
        let key = given.cloned().unwrap_or_else(|| section.to_owned());
        self.mistake(&key, format!("{section}.{part} is missing: {question}"));
    }
}
