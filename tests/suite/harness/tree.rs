//! An XML tree, read from what the server sent by a parser that shares nothing with the server's.

use std::fmt;

use quick_xml::events::{BytesStart, Event};
use quick_xml::name::ResolveResult;
use quick_xml::reader::NsReader;

/// An element with its namespace, attributes and content.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tree {
    /// The local name.
    pub(crate) name: String,
    /// The namespace; empty for none.
    pub(crate) ns: String,
    /// Attributes in order; one with a namespace is named by its prefix as written (`xml:lang`).
    pub(crate) attributes: Vec<(String, String)>,
    /// Child elements in order.
    pub(crate) children: Vec<Tree>,
    /// All character data directly inside, joined.
    pub(crate) text: String,
}

// === impl Tree ===

impl Tree {
    /// Reads the first element of `text`, in the scope of the open tag `context` (empty: none).
    ///
    /// Returns the element and how many bytes of `text` it took, with what stood before it;
    /// `None` when no whole element is there.
    pub(crate) fn read(context: &str, text: &str) -> Option<(Self, usize)> {
        let joined = format!("{context}{text}");
        let mut reader = NsReader::from_str(&joined);
        if !context.is_empty() {
            reader.read_event().ok()?;
        }
        let mut open: Vec<Self> = Vec::new();
        loop {
            let (resolved, event) = reader.read_resolved_event().ok()?;
            let ns = match resolved {
                ResolveResult::Bound(ns) => unescape(ns.0),
                ResolveResult::Unbound => String::new(),
                ResolveResult::Unknown(prefix) => panic!("unbound prefix {prefix:?} in {text}"),
            };
            let done = match event {
                Event::Start(start) => {
                    open.push(Self::open(&start, ns));
                    None
                }
                Event::Empty(start) => Some(Self::open(&start, ns)),
                Event::End(_) => Some(open.pop()?),
                Event::Text(content) => {
                    push_text(&mut open, &content);
                    None
                }
                Event::CData(content) => {
                    push_text(&mut open, &content);
                    None
                }
                Event::GeneralRef(reference) => {
                    push_text(&mut open, &unescape(&format!("&{};", &*reference)));
                    None
                }
                Event::Eof => return None,
                _ => None,
            };
            let Some(done) = done else { continue };
            match open.last_mut() {
                Some(parent) => parent.children.push(done),
                None => {
                    let end = usize::try_from(reader.buffer_position()).expect("it fits");
                    return Some((done, end - context.len()));
                }
            }
        }
    }

    /// Reads the open tag of a stream, which is never an element of its own until it ends.
    pub(crate) fn read_open_tag(tag: &str) -> Option<Self> {
        let name_end = tag[1..].find(|c: char| c.is_whitespace() || c == '>')? + 1;
        let whole = format!("{tag}</{}>", &tag[1..name_end]);
        Self::read("", &whole).map(|(tree, _)| tree)
    }

    /// Reads every element of `text`.
    pub(crate) fn read_all(context: &str, text: &str) -> Vec<Self> {
        let mut rest = text;
        let mut all = Vec::new();
        while let Some((tree, end)) = Self::read(context, rest) {
            all.push(tree);
            rest = &rest[end..];
        }
        assert!(rest.trim().is_empty(), "not XML: {rest}");
        all
    }

    fn open(start: &BytesStart<'_>, ns: String) -> Self {
        let attributes = start
            .attributes()
            .map(|attribute| attribute.expect("attributes are well-formed"))
            .filter(|attribute| attribute.key.as_namespace_binding().is_none())
            .map(|attribute| {
                (
                    attribute.key.0.to_owned(),
                    unescape(attribute.value.as_ref()),
                )
            })
            .collect();
        Self {
            name: start.local_name().into_inner().to_owned(),
            ns,
            attributes,
            ..Self::default()
        }
    }

    /// Whether this is `name` in `ns`.
    pub(crate) fn is(&self, name: &str, ns: &str) -> bool {
        self.name == name && self.ns == ns
    }

    /// An attribute's value.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// The first child of this name, in any namespace.
    pub(crate) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// The condition inside a stanza error, stream error or SASL failure.
    pub(crate) fn condition(&self) -> Option<&str> {
        let holder = match self.name.as_str() {
            "iq" | "message" | "presence" => self.child("error")?,
            _ => self,
        };
        holder
            .children
            .iter()
            .find(|child| child.name != "text" && child.ns.starts_with("urn:ietf:params:xml:ns:"))
            .map(|child| child.name.as_str())
    }
}

impl fmt::Display for Tree {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "<{} xmlns='{}'", self.name, self.ns)?;
        for (name, value) in &self.attributes {
            write!(out, " {name}='{}'", quick_xml::escape::escape(value))?;
        }
        out.write_str(">")?;
        out.write_str(&quick_xml::escape::escape(&self.text))?;
        for child in &self.children {
            write!(out, "{child}")?;
        }
        write!(out, "</{}>", self.name)
    }
}

fn push_text(open: &mut [Tree], text: &str) {
    if let Some(element) = open.last_mut() {
        element.text.push_str(text);
    }
}

fn unescape(text: &str) -> String {
    quick_xml::escape::unescape(text)
        .unwrap_or_else(|error| panic!("{error} in {text}"))
        .into_owned()
}

#[test]
fn an_incomplete_element_is_no_element_yet() {
    let whole = "<a xmlns='urn:x' b='1&amp;2'>t&lt;<c/></a>rest";
    for end in 0..whole.len() - 4 {
        assert_eq!(Tree::read("", &whole[..end]), None, "{}", &whole[..end]);
    }
    let (tree, end) = Tree::read("", whole).expect("whole");
    assert_eq!(&whole[end..], "rest");
    assert_eq!((tree.get("b"), tree.text.as_str()), (Some("1&2"), "t<"));
    assert!(tree.children[0].is("c", "urn:x"));
}
