//! Guard: keeps web pages from using the port through a browser on this machine.
//!
//! - A page of another site may *send* requests here (CSRF): the API asks for the header
//!   [`HEADER`], which a browser sends across sites only after a permission nobody gives.
//! - A page whose name now resolves to this machine is of the same site (DNS rebinding): its
//!   `Host` is a name we do not know. An address cannot be rebound, so every address will do.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::api;

/// The header every request to the API carries, with any value.
pub(crate) const HEADER: &str = "couplet-ctl";

/// The largest request body: an address and a password fit many times.
pub(super) const BODY_BYTES_MAX: usize = 16 * 1024;

/// How long a client may take to send it.
const BODY_SECS_MAX: Duration = Duration::from_secs(10);

/// Lets requests through that were sent to a name we have.
pub(super) async fn host(hosts: Arc<[String]>, request: Request, next: Next) -> Response {
    match asked_host(request.headers(), request.uri()) {
        Some(host) if is_ours(&host, &hosts) => {}
        Some(host) => {
            tracing::warn!(
                host,
                "the admin port was asked under a name it does not have"
            );
            let text = "this is not the name of this server; see admin.hosts\n";
            return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
        }
        None => return (StatusCode::BAD_REQUEST, "no host\n").into_response(),
    }
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let nosniff = header::HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    let no_store = header::HeaderValue::from_static("no-store");
    headers.insert(header::CACHE_CONTROL, no_store);
    response
}

/// Lets requests through that no web page can have sent, once their body is there.
pub(super) async fn caller(request: Request, next: Next) -> Response {
    if !request.headers().contains_key(HEADER) {
        let text = format!("the header {HEADER} is missing");
        return api::error(StatusCode::FORBIDDEN, &text);
    }
    let (head, body) = request.into_parts();
    match tokio::time::timeout(BODY_SECS_MAX, to_bytes(body, BODY_BYTES_MAX)).await {
        Ok(Ok(body)) => next.run(Request::from_parts(head, Body::from(body))).await,
        Ok(Err(_)) => {
            let text = format!("the request has more than {BODY_BYTES_MAX} bytes, or broke off");
            api::error(StatusCode::PAYLOAD_TOO_LARGE, &text)
        }
        Err(_) => api::error(StatusCode::REQUEST_TIMEOUT, "the request came too slowly"),
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

fn is_ours(host: &str, hosts: &[String]) -> bool {
    host == "localhost"
        || host.parse::<Ipv4Addr>().is_ok()
        || host.parse::<Ipv6Addr>().is_ok()
        || hosts.iter().any(|ours| ours == host)
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
            let ours = asked.is_some_and(|asked| is_ours(&asked, &["chat.internal".to_owned()]));
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
        check("chat.internal:5290", true);
        for host in [
            "evil.example",
            "localhost.evil.example:5290",
            "127.0.0.1.evil.example",
            "",
        ] {
            check(host, false);
        }
    }
}
