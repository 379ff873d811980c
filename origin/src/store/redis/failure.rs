//! What Redis refuses, in words: where, why, and what an operator can do about it.

use std::time::Duration;

use ::redis::{ErrorKind, ParsingError, RedisError};

use crate::store::Error;

/// What a server says first, and what it means. Older servers bury it in the error of a script.
const ANSWERS: &[(&str, &str)] = &[
    (
        "LOADING",
        "is reading its data from disk; it answers when it has",
    ),
    (
        "READONLY",
        "is a replica and takes no writes: wait for the fail-over to end, or name the primary",
    ),
    (
        "OOM",
        "has used all the memory it may: raise its maxmemory, or free some",
    ),
    (
        "MISCONF",
        "cannot write to its disk: make room there, and see its log",
    ),
    (
        "NOREPLICAS",
        "has not enough replicas to take writes: bring them back (min-replicas-to-write)",
    ),
    (
        "MASTERDOWN",
        "is a replica without its primary: wait for the fail-over to end",
    ),
    (
        "CLUSTERDOWN",
        "is a cluster in which some keys have no primary: see `redis-cli --cluster check`",
    ),
    (
        "TRYAGAIN",
        "is moving these keys between nodes; it answers when it has",
    ),
    (
        "MOVED",
        "is part of a cluster: write redis-cluster:// instead of redis://",
    ),
    (
        "CROSSSLOT",
        "is part of a cluster: write redis-cluster:// instead of redis://",
    ),
    (
        "ASK",
        "is part of a cluster: write redis-cluster:// instead of redis://",
    ),
    (
        "BUSY",
        "is held up by a script of somebody's that does not end: see `SCRIPT KILL`",
    ),
    (
        "NOAUTH",
        "wants a password: write it in the URL, as redis://user:password@host",
    ),
    (
        "WRONGPASS",
        "does not accept the user and password in the URL",
    ),
    (
        "DENIED",
        "is in protected mode and refuses other hosts: give it a password",
    ),
    (
        "max number of clients",
        "has no room for another client: raise its maxclients",
    ),
];

/// Answers that mean that what is stored is not ours, or not whole.
const DAMAGES: &[&str] = &["DAMAGED", "WRONGTYPE"];

/// Puts an error into words.
pub(super) fn explain(host: &str, waited: Duration, error: &RedisError) -> Error {
    let text = error.to_string();
    let code = error.code().unwrap_or_default();
    let detail = error.detail().unwrap_or_default();
    if DAMAGES.contains(&code) {
        return Error::Corrupt(format!("Redis at {host}: {detail}"));
    }
    if code == "NOPERM" {
        return unavailable(host, &format!("does not allow its user that: {detail}"));
    }
    if let Some((_, meaning)) = ANSWERS.iter().find(|(word, _)| is_said(error, word)) {
        return unavailable(host, meaning);
    }
    if error.is_timeout() {
        return timed_out(host, waited);
    }
    if error.is_connection_refusal() {
        return unavailable(host, "refuses the connection: is it running there?");
    }
    match error.kind() {
        ErrorKind::Io if error.is_connection_dropped() => {
            unavailable(host, "has closed the connection; it is tried again")
        }
        ErrorKind::Io => unavailable(host, &format!("cannot be reached: {text}")),
        ErrorKind::AuthenticationFailed => unavailable(
            host,
            &format!("does not accept the user and password: {text}"),
        ),
        ErrorKind::MasterNameNotFoundBySentinel => unavailable(
            host,
            "is not known to the Sentinels as a primary that answers",
        ),
        ErrorKind::ClusterConnectionNotFound => unavailable(
            host,
            "is a cluster of which no node that has the keys answers",
        ),
        ErrorKind::Parse | ErrorKind::UnexpectedReturnType => Error::Corrupt(format!(
            "Redis at {host} answered with something else: {text}"
        )),
        _ => unavailable(host, &format!("refuses that: {text}")),
    }
}

/// Whether a server has said this word, or its script was told it by another command.
fn is_said(error: &RedisError, word: &str) -> bool {
    match error.code() {
        Some("ERR") => {
            let detail = error.detail().unwrap_or_default();
            detail.contains(&format!("-{word} ")) || detail.starts_with(word)
        }
        Some(code) => code == word,
        // What the client says of a connection that could not be set up quotes the server.
        None => error.to_string().contains(word),
    }
}

/// An answer that is not of the kind that was asked for.
pub(super) fn unexpected(error: &ParsingError) -> Error {
    Error::Corrupt(format!("an answer of Redis: {error}"))
}

/// There was no answer for so long.
pub(super) fn timed_out(host: &str, waited: Duration) -> Error {
    let text = format!("did not answer within {} s", waited.as_secs_f32());
    unavailable(host, &text)
}

/// Redis at `host` does what `text` says.
pub(super) fn unavailable(host: &str, text: &str) -> Error {
    Error::Unavailable(format!("Redis at {host} {text}"))
}
