//! What the framer makes of an input must agree with what rxml makes of it.
//!
//! - What the framer accepts, rxml accepts, and both understand the same.
//! - What rxml accepts, the framer accepts, but for what we refuse on purpose.
//! - What the framer writes, rxml and our own reader of canonical XML understand as it was meant.
//! - However the input is cut, the framer says the same.

use couplet_edge::framing::{Budget, Framer, FramingError, Item};
use couplet_proto::xmpp::error::StreamCondition;
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Jid, Stanza};

use crate::tree::{self, Name, Tree};

/// What stands before every input: a prefix for the stream, one for something else.
pub const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams' xmlns:h='urn:h'>";

/// What became of one input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The framer took all of it.
    Accepted,
    /// The framer and rxml refuse it.
    Refused,
    /// Only the framer refuses it, on purpose.
    Restricted,
}

/// Checks one input that follows [`HEADER`]; `written` gets every canonical stanza and its tree.
///
/// # Panics
/// When the framer disagrees with rxml, with itself, or with what it wrote.
pub fn check(input: &[u8], mut written: impl FnMut((&str, &Tree))) -> Verdict {
    let (items, error) = frame(&[HEADER.as_bytes(), input]);
    check_cuts(input, &items, error);
    let stream = tree::read(&[HEADER.as_bytes(), &with_plain_line_ends(input)].concat());
    let context = || String::from_utf8_lossy(input).into_owned();
    let mut theirs = stream.elements.iter();
    for item in &items {
        let expected = match item {
            Item::Open(_) | Item::Whitespace => continue,
            Item::Close => {
                assert!(
                    stream.is_closed && theirs.next().is_none(),
                    "closed: {}",
                    context()
                );
                return Verdict::Accepted;
            }
            _ => theirs.next(),
        };
        let Some(expected) = expected else {
            panic!(
                "rxml does not accept {item:?}: {:?}: {}",
                stream.error,
                context()
            );
        };
        match item {
            Item::Stanza(stanza) => {
                let xml = stanza.to_string();
                let ours = read_back(&xml);
                check_stanza(stanza, &ours, expected, &context());
                written((&xml, &ours));
            }
            // Read by the stream alone, so it is not for other parsers.
            Item::Element(element) => {
                assert_eq!(&read_back(&element.to_xml()), expected, "{}", context());
            }
            // Nothing was written; that it is well-formed is all there is to agree on.
            _ => assert_eq!(expected.name.0, ns::CLIENT, "{}", context()),
        }
    }
    let Some(error) = error else {
        assert!(
            theirs.next().is_none(),
            "an element was missed: {}",
            context()
        );
        assert!(!stream.has_text, "text was missed: {}", context());
        return Verdict::Accepted;
    };
    let rest: Vec<_> = theirs.collect();
    if rest.is_empty() && (stream.error.is_some() || stream.is_midway) {
        return Verdict::Refused;
    }
    assert!(
        is_on_purpose(error, input),
        "{error} but rxml accepts: {}",
        context()
    );
    Verdict::Restricted
}

/// With the line ends every parser has to see (XML 1.0 §2.11).
///
/// COMPAT: rxml 0.14 drops a lone CR that stands before a reference; libxml2 and Expat make it an
/// LF, as we do.
fn with_plain_line_ends(input: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(input.len());
    for (at, byte) in input.iter().enumerate() {
        match byte {
            b'\r' if input.get(at + 1) == Some(&b'\n') => {}
            b'\r' => plain.push(b'\n'),
            _ => plain.push(*byte),
        }
    }
    plain
}

/// Whether we refuse more than XML does.
fn is_on_purpose(error: FramingError, input: &[u8]) -> bool {
    match error.condition {
        // Limits; a header inside the stream.
        StreamCondition::PolicyViolation | StreamCondition::BadFormat => true,
        StreamCondition::NotWellFormed => {
            // COMPAT: rxml 0.14 takes the default namespace declared twice on one element.
            let is_twice = error.text == "an attribute appears twice";
            // Between elements a reference or a CDATA section is text, whatever it means.
            (error.text == "not a name" && !input.is_ascii())
                || error.text == "text outside of an element"
                || error.text == "a prefix is reserved"
                || (is_twice && input.windows(6).filter(|part| part == b"xmlns=").count() > 1)
        }
        _ => false,
    }
}

/// The items the framer makes of these parts, runs of white space as one.
fn frame(parts: &[&[u8]]) -> (Vec<Item>, Option<FramingError>) {
    let mut framer = Framer::new(Budget::AFTER_AUTH);
    let mut items = Vec::new();
    for part in parts {
        let mut input = *part;
        loop {
            match framer.next(&mut input) {
                Ok(None) => break,
                Ok(Some(Item::Whitespace)) if items.last() == Some(&Item::Whitespace) => {}
                Ok(Some(item)) => items.push(item),
                Err(error) => return (items, Some(error)),
            }
        }
        assert!(input.is_empty(), "the framer left input over");
    }
    (items, None)
}

/// Checks that the input in two and in many parts gives the same.
fn check_cuts(input: &[u8], items: &[Item], error: Option<FramingError>) {
    let middle = input.len() / 2;
    let mut parts = vec![HEADER.as_bytes()];
    parts.extend(input.chunks(1));
    let header = HEADER.as_bytes();
    for parts in [vec![header, &input[..middle], &input[middle..]], parts] {
        let (found, refused) = frame(&parts);
        let conditions = (refused.map(|e| e.condition), error.map(|e| e.condition));
        // Which of two mistakes is seen first may depend on the cut; that one is seen may not.
        let is_same = conditions.0.is_some() == conditions.1.is_some();
        assert!(
            found == items && is_same,
            "cut: {}",
            String::from_utf8_lossy(input)
        );
    }
}

/// Reads canonical XML with rxml and with our own reader; they must agree.
fn read_back(xml: &str) -> Tree {
    let stream = tree::read(format!("{HEADER}{xml}</stream:stream>").as_bytes());
    assert_eq!(stream.error, None, "canonical: {xml}");
    assert!(stream.is_closed && !stream.has_text, "canonical: {xml}");
    let [tree] = &stream.elements[..] else {
        panic!("canonical, but not one element: {xml}");
    };
    let own = Element::parse(xml, ns::CLIENT).expect("canonical");
    assert_eq!(&Tree::from_element(&own), tree, "own reader: {xml}");
    tree.clone()
}

/// Compares a stanza with what rxml read: the head may be normalised, the rest is the same.
fn check_stanza(stanza: &Stanza, ours: &Tree, theirs: &Tree, context: &str) {
    assert_eq!(ours.name, theirs.name, "{context}");
    assert_eq!(ours.nodes, theirs.without_space(), "{context}");
    let plain = |name: &str| theirs.attributes.get(&(String::new(), name.to_owned()));
    assert_eq!(
        stanza.id.as_deref(),
        plain("id").map(String::as_str),
        "{context}"
    );
    for (jid, name) in [(&stanza.to, "to"), (&stanza.from, "from")] {
        let theirs = plain(name).map(|text| Jid::parse(text).expect("the framer took it"));
        assert_eq!(jid, &theirs, "{context}");
    }
    let in_namespace = |(name, _): &(&Name, &String)| !name.0.is_empty();
    let foreign = |tree: &Tree| -> Vec<(Name, String)> {
        let found = tree.attributes.iter().filter(in_namespace);
        found
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    assert_eq!(foreign(ours), foreign(theirs), "{context}");
    let children: Vec<_> = theirs
        .nodes
        .iter()
        .filter_map(|node| match node {
            tree::Node::Element(child) => Some(child),
            tree::Node::Text(_) => None,
        })
        .collect();
    assert_eq!(stanza.payload.children().len(), children.len(), "{context}");
    for (child, theirs) in stanza.payload.children().zip(children) {
        assert!(child.is(&theirs.name.1, &theirs.name.0), "index: {context}");
        assert_eq!(&Tree::from_element(&child.element()), theirs, "{context}");
    }
}
