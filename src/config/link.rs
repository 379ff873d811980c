//! Link: what ties edges and origins together must fit the role, and must be safe.

use std::net::{IpAddr, SocketAddr};

use super::check::Check;
use super::{Role, Settings};
use crate::certificate;

// === impl Check ===

impl Check<'_> {
    /// What an edge needs to find origins.
    pub(super) fn dialing(&mut self, settings: &Settings) {
        if settings.link.origins.is_empty() {
            let message = "is missing: where are the origins? [\"10.0.0.7:5291\"] or, to ask a \
                           name server for all of them, [\"dns:origins.internal:5291\"]";
            self.mistake("link.origins", message);
        }
        if self.trust(settings, Role::Edge) {
            return;
        }
        for origin in &settings.link.origins {
            if !is_local(origin.strip_prefix("dns:").unwrap_or(origin)) {
                self.mistake("link.origins", beyond(origin));
            }
        }
    }

    /// What an origin needs to be part of a cluster.
    pub(super) fn serving(&mut self, settings: &mut Settings) {
        if settings.redis.url.is_none() {
            let message = "is missing: origins share what they store in Redis, such as \
                           redis://10.0.0.9:6379; without Redis use `couplet serve`";
            self.mistake("store.url", message);
        }
        if let Some(ca) = &settings.redis.ca {
            self.file("store.ca", ca, certificate::read_chain);
        }
        let link = &settings.link;
        let advertised = link.advertise.as_deref();
        if let Some(address) = advertised.and_then(|text| text.parse::<SocketAddr>().ok())
            && address.ip().is_unspecified()
        {
            let message = format!("{address} is every address, and none others could connect to");
            self.mistake("link.advertise", message);
        }
        if self.trust(settings, Role::Origin) {
            return;
        }
        if !settings.link.listen.ip().is_loopback() {
            let mut message = beyond(&settings.link.listen.to_string());
            message.push_str("; link.listen = \"127.0.0.1:5291\" is not seen by others");
            self.mistake("link.listen", message);
        }
        if let Some(address) = settings.link.advertise.as_deref()
            && !is_local(address)
        {
            self.mistake("link.advertise", beyond(address));
        }
    }

    /// Whether certificates protect the link; looks at them.
    fn trust(&mut self, settings: &Settings, role: Role) -> bool {
        let link = &settings.link;
        let identity = &link.identity;
        let files = [
            ("link.ca", link.ca.is_some()),
            ("link.certificate", identity.certificate.is_some()),
            ("link.key", identity.key.is_some()),
        ];
        if link.insecure {
            for (key, _) in files.iter().filter(|(_, is_given)| *is_given) {
                let message = "is not used while link.insecure = true: take out one of the two";
                self.mistake(key, message);
            }
            return false;
        }
        if files.iter().all(|(_, is_given)| !is_given) {
            let message = "is missing, and so are link.certificate and link.key: nodes know each \
                           other by certificates, and `couplet make-link-certificates DIR` makes \
                           them. On one machine link.insecure = true does without";
            self.mistake("link.ca", message);
            return true;
        }
        match &link.ca {
            Some(ca) => {
                self.file("link.ca", ca, certificate::read_chain);
            }
            None => self.mistake("link.ca", "is missing: who signs the nodes' certificates?"),
        }
        if identity.certificate.is_none() && identity.key.is_none() {
            let message = "is missing, and so is link.key: this node must show who it is";
            self.mistake("link.certificate", message);
        }
        if let Some(paths) = self.pair("link", identity, None) {
            let name = match role {
                Role::Edge => certificate::EDGE_NAME,
                Role::Origin | Role::Serve => certificate::ORIGIN_NAME,
            };
            let chain = certificate::read_chain(&paths.certificate);
            // What cannot be read has been reported.
            if chain.is_ok_and(|chain| !certificate::is_named(&chain, name)) {
                let message = format!(
                    "{}: is not for the name {name:?}: with that name alone a node may be an \
                     {role}; `couplet make-link-certificates DIR` makes such certificates",
                    paths.certificate.display()
                );
                self.mistake("link.certificate", message);
            }
        }
        true
    }
}

fn beyond(address: &str) -> String {
    format!(
        "{address} is beyond this machine, and link.insecure = true would send everything there \
         in plain text: use certificates (`couplet make-link-certificates DIR` makes them)"
    )
}

/// Whether a host with a port is this machine for certain.
fn is_local(address: &str) -> bool {
    let Some((host, _)) = address.rsplit_once(':') else {
        return false;
    };
    let ip = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || ip.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}
