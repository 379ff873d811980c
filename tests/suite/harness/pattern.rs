//! What a scene expects, compared with what came.
//!
//! A pattern is XML. `*` stands for any text or attribute value (`orchard*` for a beginning),
//! `{name}` for a value that is remembered and must be the same afterwards, `?` for an attribute
//! that may be absent, `...` for any further text and children. The order of children does not
//! matter, what is not written must be
//! absent, but for what the specifications leave open:
//!
//! - `id`, `to` and `xml:lang` of a stanza are compared only if written;
//! - a stanza without `from` comes from the receiver's own account (RFC 6120 §8.1.2.1);
//! - a stanza of type `error` may carry the original payload, its error a `<text/>` and a `by`;
//! - a message may carry a `<stanza-id/>` (XEP-0359 §3.1), a presence a `<delay/>` that says when
//!   it was sent.

use std::collections::BTreeMap;

use super::tree::Tree;

/// Values remembered by name.
pub(crate) type Memory = BTreeMap<String, String>;

/// Compares a stanza with a pattern; `own` is the receiver's bare address.
///
/// # Errors
/// Says what differs.
pub(crate) fn stanza(
    pattern: &Tree,
    actual: &Tree,
    own: &str,
    memory: &mut Memory,
) -> Result<(), String> {
    let is_stanza = matches!(pattern.name.as_str(), "iq" | "message" | "presence");
    if !is_stanza {
        return element(pattern, actual, memory);
    }
    let mut pattern = pattern.clone();
    let mut actual = actual.clone();
    forget_unwritten(&pattern, &mut actual, &["id", "to", "xml:lang"]);
    let is_own = |from: Option<&str>| from.is_none_or(|from| from == own);
    if pattern.get("from") != Some("?") && is_own(pattern.get("from")) && is_own(actual.get("from"))
    {
        pattern.attributes.retain(|(name, _)| name != "from");
        actual.attributes.retain(|(name, _)| name != "from");
    }
    if pattern.get("type") == Some("error") {
        actual.children.retain(|child| {
            let is_written = pattern.children.iter().any(|wish| wish.name == child.name);
            child.name == "error" || is_written
        });
        let wish = pattern.child("error").cloned();
        for error in &mut actual.children {
            if let (Some(wish), "error") = (&wish, error.name.as_str()) {
                forget_unwritten(wish, error, &["by", "code"]);
                let wants_text = wish.child("text").is_some();
                error.children.retain(|it| it.name != "text" || wants_text);
            }
        }
    }
    for (stanza, name, ns) in [
        ("message", "stanza-id", "urn:xmpp:sid:0"),
        ("presence", "delay", "urn:xmpp:delay"),
    ] {
        if pattern.name == stanza && pattern.child(name).is_none() {
            actual.children.retain(|it| !it.is(name, ns));
        }
    }
    element(&pattern, &actual, memory)
}

fn forget_unwritten(pattern: &Tree, actual: &mut Tree, names: &[&str]) {
    actual
        .attributes
        .retain(|(name, _)| !names.contains(&name.as_str()) || pattern.get(name).is_some());
}

/// Compares an element with a pattern.
fn element(pattern: &Tree, actual: &Tree, memory: &mut Memory) -> Result<(), String> {
    let here = &pattern.name;
    if !actual.is(&pattern.name, &pattern.ns) {
        return Err(format!("<{here} xmlns='{}'/> expected", pattern.ns));
    }
    for (name, wish) in &pattern.attributes {
        let value = actual.get(name);
        if wish == "?" {
            continue;
        }
        if !value.is_some_and(|value| is_value(wish, value, memory)) {
            return Err(format!("{name}='{wish}' expected in <{here}/>"));
        }
    }
    for (name, value) in &actual.attributes {
        if pattern.get(name).is_none() {
            return Err(format!("{name}='{value}' not expected in <{here}/>"));
        }
    }
    let is_open = pattern.text.contains("...");
    let wish = pattern.text.replace("...", "");
    let is_any = is_open && wish.trim().is_empty();
    if !is_any && !is_value(wish.trim(), actual.text.trim(), memory) {
        return Err(format!("text '{}' expected in <{here}/>", wish.trim()));
    }
    children(&pattern.children, &actual.children, is_open, memory)
        .map_err(|reason| format!("in <{here}/>: {reason}"))
}

/// Finds a child of its own for each pattern.
fn children(
    patterns: &[Tree],
    actual: &[Tree],
    is_open: bool,
    memory: &mut Memory,
) -> Result<(), String> {
    let Some((first, rest)) = patterns.split_first() else {
        return match actual.first() {
            Some(extra) if !is_open => Err(format!("not expected: {extra}")),
            _ => Ok(()),
        };
    };
    let mut reason = format!("<{} xmlns='{}'/> is missing", first.name, first.ns);
    for (index, candidate) in actual.iter().enumerate() {
        let mut trial = memory.clone();
        if let Err(why) = element(first, candidate, &mut trial) {
            if candidate.name == first.name {
                reason = why;
            }
            continue;
        }
        let mut others = actual.to_vec();
        others.remove(index);
        match children(rest, &others, is_open, &mut trial) {
            Ok(()) => {
                *memory = trial;
                return Ok(());
            }
            Err(why) => reason = why,
        }
    }
    Err(reason)
}

fn is_value(wish: &str, value: &str, memory: &mut Memory) -> bool {
    if let Some(name) = wish.strip_prefix('{').and_then(|it| it.strip_suffix('}')) {
        let known = memory.entry(name.to_owned()).or_insert(value.to_owned());
        return known == value;
    }
    match wish.strip_suffix('*') {
        Some(beginning) => value.starts_with(beginning),
        None => wish == value,
    }
}

#[test]
fn patterns_say_what_matters() {
    const CONTEXT: &str = "<s xmlns='jabber:client'>";
    let check = |pattern: &str, actual: &str| {
        let (pattern, _) = Tree::read(CONTEXT, pattern).expect("a pattern");
        let (actual, _) = Tree::read(CONTEXT, actual).expect("a stanza");
        stanza(&pattern, &actual, "r@m", &mut Memory::new()).is_ok()
    };
    let table = [
        (
            "<iq type='result' id='1'/>",
            "<iq type='result' id='1' from='r@m' to='r@m/o'/>",
            true,
        ),
        (
            "<iq type='result' id='1'/>",
            "<iq type='result' id='2'/>",
            false,
        ),
        (
            "<iq type='result'/>",
            "<iq type='result' from='j@c'/>",
            false,
        ),
        (
            "<message from='j@c*'><body>*</body></message>",
            "<message from='j@c/b'><body>Hi</body><stanza-id xmlns='urn:xmpp:sid:0'/></message>",
            true,
        ),
        (
            "<message from='*'/>",
            "<message from='j@c/b'><body>Hi</body></message>",
            false,
        ),
        (
            "<message from='*'>...<b/></message>",
            "<message from='j@c'><a/><b/></message>",
            true,
        ),
        ("<a x='?'/>", "<a/>", true),
        ("<a x='{v}' y='{v}'/>", "<a x='1' y='1'/>", true),
        ("<a x='{v}' y='{v}'/>", "<a x='1' y='2'/>", false),
        (
            "<a><b i='*'/><b i='1'/></a>",
            "<a><b i='1'/><b i='2'/></a>",
            true,
        ),
        (
            "<iq type='error' id='1'><error type='auth'><x/></error></iq>",
            "<iq type='error' id='1'><query/><error type='auth' by='m'><x/><text/></error></iq>",
            true,
        ),
    ];
    for (pattern, actual, expected) in table {
        assert_eq!(check(pattern, actual), expected, "{pattern} {actual}");
    }
}
