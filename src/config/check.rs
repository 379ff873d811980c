//! Checks: what can only be seen with all values together, or by looking at the machine.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::Path;

use couplet_edge::CertificatePaths;
use couplet_proto::Jid;

use super::{Mistake, Pair, Place, Places, Role, Settings};
use crate::{certificate, telemetry};

/// Checks everything together, and completes what follows from it.
pub(super) fn together(
    settings: &mut Settings,
    role: Role,
    places: &Places,
    mistakes: &mut Vec<Mistake>,
) {
    let mut check = Check { places, mistakes };
    check.domains(settings);
    if role != Role::Edge {
        check.rooms(settings);
    }
    check.listeners(settings, role);
    check.admin(settings);
    check.trace(settings);
    if role != Role::Origin {
        check.certificates(settings);
        check.limits(settings);
    }
    match role {
        // There is no other edge that the clients could overrun.
        Role::Serve => settings.edge.drain.per_second = 0,
        Role::Edge => check.dialing(settings),
        Role::Origin => check.serving(settings),
    }
    settings.origin.node.clone_from(&settings.node);
    settings.origin.domains.clone_from(&settings.edge.domains);
    settings.edge.registration_open = settings.origin.registration.open;
}

/// What is looked at, and what was found.
pub(super) struct Check<'a> {
    places: &'a Places,
    mistakes: &'a mut Vec<Mistake>,
}

// === impl Check ===

impl Check<'_> {
    fn place(&self, key: &str) -> Place {
        self.places.get(key).cloned().unwrap_or(Place::Default)
    }

    /// Whether somebody gave this key.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.places.contains_key(key)
    }

    /// Reports a mistake where the key was given.
    pub(super) fn mistake(&mut self, key: &str, message: impl Into<String>) {
        let place = self.place(key);
        self.mistakes.push(Mistake::new(key, place, message));
    }

    /// Each is a domain, and in the form in which addresses are compared.
    fn domains(&mut self, settings: &mut Settings) {
        let mut seen = HashSet::new();
        let mut prepared = Vec::new();
        for name in &settings.edge.domains {
            let Some(domain) = domain(name) else {
                self.mistake("domains", format!("{name:?} is not a domain"));
                continue;
            };
            if seen.insert(domain.clone()) {
                prepared.push(domain);
            } else {
                self.mistake("domains", format!("{name:?} is listed twice"));
            }
        }
        if settings.edge.domains.is_empty() {
            self.mistake("domains", "must name at least one domain");
        }
        settings.edge.domains = prepared;
    }

    /// Services are domains of their own; where nobody says which, each domain has one.
    fn rooms(&mut self, settings: &mut Settings) {
        let domains = &settings.edge.domains;
        let muc = &mut settings.origin.muc;
        if !self.places.contains_key("muc.services") {
            let named = domains.iter().map(|domain| format!("conference.{domain}"));
            muc.services = named.filter(|name| !domains.contains(name)).collect();
        }
        let mut prepared: Vec<String> = Vec::new();
        for name in &muc.services {
            let wrong = match domain(name) {
                None => "is not a domain",
                Some(service) if domains.contains(&service) => {
                    "is one of the domains: rooms need another"
                }
                Some(service) if prepared.contains(&service) => "is listed twice",
                Some(service) => {
                    prepared.push(service);
                    continue;
                }
            };
            self.mistake("muc.services", format!("{name:?} {wrong}"));
        }
        muc.services = prepared;
        for name in &mut muc.admins {
            let jid = Jid::parse(name).ok();
            match jid.filter(|jid| jid.is_bare() && jid.local().is_some()) {
                Some(jid) => *name = jid.to_string(),
                None => {
                    let message = format!("{name:?} is not an address such as \"romeo@localhost\"");
                    self.mistake("muc.admins", message);
                }
            }
        }
        for (service, fields) in &muc.defaults {
            if !service.is_empty() && !muc.services.contains(service) {
                let section = format!("muc.defaults.{service:?}");
                let mut keys = fields.keys().map(|field| format!("{section}.{field}"));
                let key = keys.find(|key| self.places.contains_key(key));
                let message = format!("{service:?} is not one of muc.services");
                self.mistake(&key.unwrap_or(section), message);
            }
        }
    }

    fn listeners(&mut self, settings: &Settings, role: Role) {
        let edge = &settings.edge;
        let mut all: Vec<(&str, SocketAddr)> = Vec::new();
        if role == Role::Origin {
            all.push(("link.listen", settings.link.listen));
        } else {
            if edge.listen.is_empty() && edge.tls_listen.is_empty() {
                let message = "must name an address, because c2s.tls_listen names none";
                self.mistake("c2s.listen", message);
            }
            all.extend(edge.listen.iter().map(|a| ("c2s.listen", *a)));
            all.extend(edge.tls_listen.iter().map(|a| ("c2s.tls_listen", *a)));
        }
        all.push(("admin.listen", settings.admin.listen));
        let mut taken: Vec<(SocketAddr, &str)> = Vec::new();
        for (key, address) in all {
            let other = taken
                .iter()
                .find(|(other, _)| address.port() != 0 && *other == address);
            match other {
                Some((_, other)) => {
                    self.mistake(key, format!("{address} is taken by {other} already"));
                }
                None => taken.push((address, key)),
            }
        }
    }

    /// There is a way to the collector, and a build that can go it.
    fn trace(&mut self, settings: &Settings) {
        let Some(endpoint) = &settings.trace.endpoint else {
            return;
        };
        if !telemetry::HAS_SPANS {
            let message = "this build cannot send traces: take one with the feature `otel` \
                           (cargo build --release --features otel), or take this out";
            self.mistake("trace.endpoint", message);
        }
        let url = endpoint.parse::<hyper::Uri>().ok();
        let is_plain = |url: &hyper::Uri| {
            url.scheme_str() == Some("http") && url.host().is_some() && url.path() == "/"
        };
        if !url.as_ref().is_some_and(is_plain) {
            let message = format!(
                "{endpoint:?} is not the address of an OTLP collector for gRPC such as \
                 \"http://127.0.0.1:4317\"; TLS is not spoken to it: let one on this machine, or \
                 in this pod, pass the spans on"
            );
            self.mistake("trace.endpoint", message);
        }
    }

    /// Files exist, can be read and fit together; then they are the edge's, the default first.
    fn certificates(&mut self, settings: &mut Settings) {
        let tls = settings.tls.clone();
        if let Some(paths) = self.pair("tls", &tls.default, None) {
            settings.edge.certificates.push(paths);
        }
        for (domain, pair) in &tls.domains {
            let section = format!("tls.domains.{domain:?}");
            if !settings.edge.domains.contains(domain) {
                let message = format!("{domain:?} is not one of the domains");
                let keys = ["certificate", "key"].map(|key| format!("{section}.{key}"));
                let key = keys.iter().find(|key| self.places.contains_key(*key));
                self.mistake(key.unwrap_or(&section), message);
            }
            if let Some(paths) = self.pair(&section, pair, Some(domain)) {
                settings.edge.certificates.push(paths);
            }
        }
    }

    /// The files of a certificate and its key.
    pub(super) fn pair(
        &mut self,
        section: &str,
        pair: &Pair,
        domain: Option<&str>,
    ) -> Option<CertificatePaths> {
        let [certificate, key] = ["certificate", "key"].map(|name| format!("{section}.{name}"));
        let (chain_path, key_path) = match (&pair.certificate, &pair.key) {
            (Some(chain_path), Some(key_path)) => (chain_path, key_path),
            (Some(_), None) => {
                self.mistake(&certificate, format!("has no key: {key} is missing"));
                return None;
            }
            (None, Some(_)) => {
                self.mistake(
                    &key,
                    format!("has no certificate: {certificate} is missing"),
                );
                return None;
            }
            (None, None) => return None,
        };
        let chain = self.file(&certificate, chain_path, certificate::read_chain);
        let private = self.file(&key, key_path, certificate::read_key);
        if let (Some(chain), Some(private)) = (chain, private)
            && let Err(wrong) = certificate::fits(chain, private)
        {
            self.mistake(&key, format!("{}: {wrong}", key_path.display()));
        }
        Some(CertificatePaths {
            domain: domain.map(str::to_owned),
            certificate: chain_path.clone(),
            key: key_path.clone(),
        })
    }

    /// What is in a file.
    pub(super) fn file<T>(
        &mut self,
        key: &str,
        path: &Path,
        read: fn(&Path) -> Result<T, String>,
    ) -> Option<T> {
        let wrong = match read(path) {
            Ok(value) => return Some(value),
            Err(wrong) => wrong,
        };
        self.mistake(key, format!("{}: {wrong}", path.display()));
        None
    }

    /// Limits that contradict each other: something the server promises could never happen.
    fn limits(&mut self, settings: &Settings) {
        let limits = &settings.edge.limits;
        let (before, after) = (&limits.before_auth, &limits.after_auth);
        let pairs = [
            ("bytes", before.bytes, after.bytes),
            (
                "elements",
                before.elements as usize,
                after.elements as usize,
            ),
            ("depth", before.depth as usize, after.depth as usize),
            (
                "attributes",
                before.attributes as usize,
                after.attributes as usize,
            ),
            (
                "namespaces",
                before.namespaces as usize,
                after.namespaces as usize,
            ),
        ];
        for (name, before, after) in pairs {
            if before > after {
                let message = format!(
                    "{before} is more than limits.after_auth.{name}, which is {after}: a stranger \
                     would be allowed more than a user"
                );
                self.mistake(&format!("limits.before_auth.{name}"), message);
            }
        }
        if limits.outbound_bytes < after.bytes {
            let message = format!(
                "{} is less than limits.after_auth.bytes, which is {}: the largest stanza could \
                 never be delivered",
                limits.outbound_bytes, after.bytes
            );
            self.mistake("limits.outbound_bytes", message);
        }
    }
}

/// A domain in the form in which addresses are compared; `None` when it is none.
pub(super) fn domain(name: &str) -> Option<String> {
    let jid = Jid::parse(name).ok()?;
    let is_domain = jid.local().is_none() && jid.resource().is_none();
    is_domain.then(|| jid.domain().to_owned())
}
