//! Guard: who gets through to the API, and what is written down about it.
//!
//! - A page of another site may *send* requests here (CSRF): the API asks for the header
//!   [`HEADER`] or for `Authorization: Bearer`, which a browser sends across sites only after a
//!   permission nobody gives.
//! - A page whose name now resolves to this machine is of the same site (DNS rebinding): its
//!   `Host` is a name we do not know. An address cannot be rebound, so every address will do.
//! - Who asks is settled before anything is looked up: a path that leads nowhere answers a
//!   stranger no differently from one that does.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::task::JoinSet;

use super::access::{Access, Caller, Stranger, bearer};
use super::ask::Deed;
use super::audit::Event;
use super::metrics::Outcome;
use super::refusal::problem;
use super::serving::Peer;

/// The header a request to the API carries, with any value, that has no token.
pub(crate) const HEADER: &str = "couplet-ctl";

/// The largest request body: an address and a password fit many times.
pub(super) const BODY_BYTES_MAX: usize = 16 * 1024;

/// How long a client may take to send it.
const BODY_SECS_MAX: Duration = Duration::from_secs(10);

/// How much of a path the audit log shows.
const PATH_BYTES_MAX: usize = 256;

/// Lets requests through that were sent to a name we have.
pub(super) async fn host(access: Arc<Access>, request: Request, next: Next) -> Response {
    let mut response = match asked_host(request.headers(), request.uri()) {
        Some(host) if is_ours(&host) || access.knows_host(&host) => next.run(request).await,
        Some(host) => {
            let host = shortened(&host);
            tracing::warn!(
                host,
                "the admin port was asked under a name it does not have"
            );
            let text = "this is not the name of this server; see admin.hosts\n";
            (StatusCode::MISDIRECTED_REQUEST, text).into_response()
        }
        None => (StatusCode::BAD_REQUEST, "no host\n").into_response(),
    };
    let headers = response.headers_mut();
    let fixed = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::CACHE_CONTROL, "no-store"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'none'; frame-ancestors 'none'",
        ),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// What is to be kept of a request.
struct Record {
    access: Arc<Access>,
    peer: Option<SocketAddr>,
    /// The name of the caller; `None` while nobody is known.
    who: Option<String>,
    method: Method,
    path: String,
    deed: Arc<Deed>,
}

/// Lets requests through whose sender is known, once their body is there; counts them, and writes
/// down what they change and why they are refused.
pub(super) async fn caller(access: Arc<Access>, mut request: Request, next: Next) -> Response {
    // Taken out: what has begun must not keep alive the place where it runs.
    let peer = request.extensions_mut().remove::<Peer>();
    let mut record = Record {
        access,
        peer: peer.as_ref().map(|peer| peer.address),
        who: None,
        method: request.method().clone(),
        path: shortened(request.uri().path()),
        deed: Arc::default(),
    };
    let caller = match enter(&record.access, request.headers(), record.peer) {
        Ok(caller) => caller,
        Err(why) => return record.close(stopped(&why)),
    };
    record.who = Some(caller.name.clone());
    let extensions = request.extensions_mut();
    extensions.insert(Arc::clone(&record.deed));
    extensions.insert(caller);
    let request = match whole(request).await {
        Ok(request) => request,
        Err(refused) => return record.close(refused),
    };
    match peer {
        // This future is dropped when the client hangs up; half a change is worse than a whole one
        // that nobody waits for.
        Some(peer) if !record.is_told() => {
            let work = async move { record.close(finished(request, next).await) };
            peer.begun.run(Box::pin(work)).await.unwrap_or_else(cut_off)
        }
        _ => record.close(next.run(request).await),
    }
}

/// What comes of a request, even if its handler panics.
async fn finished(request: Request, next: Next) -> Response {
    let mut handler = JoinSet::new();
    handler.spawn(next.run(request));
    match handler.join_next().await {
        Some(Ok(response)) => response,
        _ => cut_off(),
    }
}

fn cut_off() -> Response {
    let text = "the request was cut off; see the log";
    problem(StatusCode::INTERNAL_SERVER_ERROR, text)
}

/// Why a request gets no further.
enum Stopped {
    /// Nobody knows who asks.
    Stranger(Stranger),
    /// A web page may have made a browser send it.
    Unguarded,
}

// === impl Record ===

impl Record {
    /// Whether it changes nothing.
    fn is_told(&self) -> bool {
        self.method == Method::GET || self.method == Method::HEAD
    }

    /// Counts the request and writes it down.
    fn close(self, response: Response) -> Response {
        let status = response.status();
        let outcome = Outcome::of(status);
        outcome.count(&self.method);
        if self.is_told() && !outcome.is_shut_out() {
            return response;
        }
        let from = self.peer.map(|peer| peer.to_string());
        let event = Event {
            who: self.who.as_deref().unwrap_or("nobody"),
            from: from.as_deref().unwrap_or("-"),
            operation: self.deed.operation.get().copied().unwrap_or("-"),
            subject: self.deed.subject.get().unwrap_or(&self.path),
            outcome: outcome.word(),
            status: status.as_u16(),
        };
        match self.who {
            Some(_) => self.access.audit.tell(&event),
            None => self.access.tell_stranger(self.peer, &event),
        }
        response
    }
}

/// Finds out who asks.
fn enter(
    access: &Access,
    headers: &HeaderMap,
    peer: Option<SocketAddr>,
) -> Result<Caller, Stopped> {
    let caller = access.identify(headers, peer).map_err(Stopped::Stranger)?;
    let is_guarded = headers.contains_key(HEADER) || bearer(headers).is_some();
    is_guarded.then_some(caller).ok_or(Stopped::Unguarded)
}

fn stopped(why: &Stopped) -> Response {
    match why {
        Stopped::Stranger(stranger) => challenge(*stranger),
        Stopped::Unguarded => {
            let text = format!("the header {HEADER} is missing, with any value");
            problem(StatusCode::FORBIDDEN, &text)
        }
    }
}

/// RFC 6750 §3.
fn challenge(stranger: Stranger) -> Response {
    let (challenge, text) = match stranger {
        Stranger::Silent => (
            "Bearer realm=\"couplet\"",
            "a token is needed: `Authorization: Bearer …`, with what is in admin.token_file or in \
             the file of one of admin.tokens",
        ),
        Stranger::Wrong => (
            "Bearer realm=\"couplet\", error=\"invalid_token\"",
            "nobody here has this token",
        ),
    };
    let mut response = problem(StatusCode::UNAUTHORIZED, text);
    let challenge = HeaderValue::from_static(challenge);
    response
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, challenge);
    response
}

/// The request with all of its body, if its path has one meaning.
async fn whole(request: Request) -> Result<Request, Response> {
    if !is_clean(request.uri().path()) {
        return Err(problem(StatusCode::NOT_FOUND, "there is no such path"));
    }
    let (head, body) = request.into_parts();
    match tokio::time::timeout(BODY_SECS_MAX, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(body)) => Ok(Request::from_parts(head, Body::from(body))),
        Ok(Err(_)) => {
            let text = format!("the request has more than {BODY_BYTES_MAX} bytes, or broke off");
            Err(problem(StatusCode::PAYLOAD_TOO_LARGE, &text))
        }
        Err(_) => {
            let text = "the request came too slowly";
            Err(problem(StatusCode::REQUEST_TIMEOUT, text))
        }
    }
}

/// Whether every segment of a path, as it was sent, is one: none is empty, leads up, carries
/// parameters (RFC 3986 §3.3) or is in another notation. What an address in it decodes to is read
/// as an address only: a name may have a backslash (XEP-0106), and a resource any signs.
fn is_clean(path: &str) -> bool {
    path.strip_prefix('/')
        .unwrap_or(path)
        .split('/')
        .all(|segment| {
            // Browsers take it for a dot (WHATWG URL §4.2).
            let dotted = segment.replace("%2e", ".").replace("%2E", ".");
            !matches!(dotted.as_str(), "" | "." | "..") && !segment.contains([';', '\\'])
        })
}

fn shortened(path: &str) -> String {
    match path.char_indices().nth(PATH_BYTES_MAX) {
        Some((end, _)) => format!("{}…", &path[..end]),
        None => path.to_owned(),
    }
}

/// The host a request names, without its port, in lower case.
fn asked_host(headers: &HeaderMap, uri: &Uri) -> Option<String> {
    let authority = match uri.authority() {
        Some(authority) => authority.as_str(),
        None => headers.get(header::HOST)?.to_str().ok()?,
    };
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?.0,
        None => authority.split(':').next()?,
    };
    (!host.is_empty()).then(|| host.to_lowercase())
}

/// Whether a host is this machine, or an address.
fn is_ours(host: &str) -> bool {
    host == "localhost" || host.parse::<Ipv4Addr>().is_ok() || host.parse::<Ipv6Addr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_an_address_or_a_name_we_have() {
        let check = |host: &str, expected: bool| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, host.parse().expect("a header"));
            let asked = asked_host(&headers, &Uri::from_static("/readyz"));
            let ours = asked.is_some_and(|asked| is_ours(&asked));
            assert_eq!(ours, expected, "{host}");
        };
        for host in [
            "localhost",
            "LocalHost:5290",
            "127.0.0.1:5290",
            "[::1]:5290",
            "10.0.0.7",
        ] {
            check(host, true);
        }
        for host in [
            "evil.example",
            "localhost.evil.example:5290",
            "127.0.0.1.evil.example",
            "",
        ] {
            check(host, false);
        }
    }

    #[test]
    fn a_path_has_one_meaning() {
        for clean in [
            "/nodes",
            "/accounts/romeo%40a.example",
            "/accounts/a.b%2E@c..d",
            "/sessions/r%40a%2Fphone%3B1",
            "/accounts/100%2525",
            "/accounts/d%5C27artagnan%40a.example",
            "/sessions/r%40a.example%2F..",
            "/sessions/r%40a.example%2Fx%2F..%2Fy",
            "/sessions/r%40a.example%2F%5C",
        ] {
            assert!(is_clean(clean), "{clean}");
        }
        for wrong in [
            "/",
            "//nodes",
            "/accounts//x",
            "/nodes/",
            "/./nodes",
            "/../healthz",
            "/%2e%2e/healthz",
            "/%2E./healthz",
            "/accounts/%2e",
            "/nodes;x",
            "/nodes;x=1/..",
            "/accounts/a\\b",
            "/..\\healthz",
        ] {
            assert!(!is_clean(wrong), "{wrong}");
        }
    }
}
