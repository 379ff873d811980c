//! Watch: tells the operator in time that a certificate ends, or is for other domains.

use std::path::Path;
use std::time::Duration;

use couplet_edge::CertificatePaths;
use couplet_origin::clock::Clock;
use tokio::time::{MissedTickBehavior, interval};

use super::{ascii, names_of, parse, read_chain};

/// How often certificates are looked at.
const PERIOD: Duration = Duration::from_secs(12 * 3600);

const DAY_SECS: i64 = 24 * 3600;

/// How urgent the end of a certificate is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Urgency {
    /// More than three weeks.
    None,
    /// Time to renew it.
    Soon,
    /// Clients are about to be refused, or are already.
    Now,
}

/// Looks at the certificates now and then, for ever.
pub(crate) async fn watch(certificates: Vec<CertificatePaths>, domains: Vec<String>) {
    let clock = Clock::start();
    let mut ticks = interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let now = i64::try_from(clock.now().unix / 1000).unwrap_or(i64::MAX);
        inspect(&certificates, &domains, now);
    }
}

/// Looks at the certificates: sets the metric, and logs what the operator should know.
fn inspect(certificates: &[CertificatePaths], domains: &[String], now: i64) {
    for paths in certificates {
        let Some((names, end)) = read(&paths.certificate) else {
            continue;
        };
        // An operator's own word, not a client's: it cannot make up series.
        let label = paths.domain.clone().unwrap_or_else(|| "default".to_owned());
        metrics::gauge!("couplet_certificate_expires_timestamp_seconds", "domain" => label)
            .set(end as f64);
        let days = (end - now) / DAY_SECS;
        let path = paths.certificate.display();
        match urgency(days) {
            Urgency::None => {}
            Urgency::Soon => tracing::warn!(certificate = %path, days, "certificate ends soon"),
            Urgency::Now => tracing::error!(certificate = %path, days, "certificate ends"),
        }
        let has_own = |domain: &&String| {
            certificates
                .iter()
                .any(|other| other.domain.as_ref() == Some(*domain))
        };
        let served = match &paths.domain {
            Some(domain) => vec![domain],
            None => domains.iter().filter(|domain| !has_own(domain)).collect(),
        };
        for domain in served.iter().filter(|domain| !covers(&names, domain)) {
            tracing::warn!(certificate = %path, domain, "certificate is not for the domain");
        }
    }
}

/// The names a certificate is for, and when it ends in seconds since 1970.
fn read(path: &Path) -> Option<(Vec<String>, i64)> {
    let chain = read_chain(path).ok()?;
    let leaf = chain.first()?;
    Some((
        names_of(leaf),
        parse(leaf)?.validity().not_after.timestamp(),
    ))
}

fn urgency(days: i64) -> Urgency {
    match days {
        ..=1 => Urgency::Now,
        2..=21 => Urgency::Soon,
        _ => Urgency::None,
    }
}

/// RFC 6125 §6.4: by name, or by a wildcard in place of the first label.
fn covers(names: &[String], domain: &str) -> bool {
    let Some(domain) = ascii(domain) else {
        return false;
    };
    let parent = domain.split_once('.').map(|(_, parent)| parent);
    names.iter().any(|name| {
        let wildcard = name.strip_prefix("*.");
        name.eq_ignore_ascii_case(&domain)
            || wildcard.is_some_and(|rest| parent.is_some_and(|p| p.eq_ignore_ascii_case(rest)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_certificate_is_told_three_weeks_before() {
        let check = |days, expected| assert_eq!(urgency(days), expected, "{days}");
        check(22, Urgency::None);
        check(21, Urgency::Soon);
        check(1, Urgency::Now);
        check(-5, Urgency::Now);
    }

    #[test]
    fn a_certificate_is_for_its_names_and_one_label_below_a_wildcard() {
        let names = ["example.org".to_owned(), "*.Example.net".to_owned()];
        for domain in ["example.org", "EXAMPLE.org", "chat.example.net"] {
            assert!(covers(&names, domain), "{domain}");
        }
        for domain in ["chat.example.org", "example.net", "a.b.example.net", "net"] {
            assert!(!covers(&names, domain), "{domain}");
        }
    }
}
