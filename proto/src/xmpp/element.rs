//! A small tree, built only for payloads that a feature really reads or writes.
//!
//! It reads what the framer wrote: canonical XML in which every element names its namespace by
//! `xmlns` where it differs from its parent's. It is not a parser for bytes from outside.

use std::borrow::Cow;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::byte_str::ByteStr;
use super::escape::{self, Sink};
use super::ns;

/// An element: name, namespace, attributes and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    name: Cow<'static, str>,
    ns: Cow<'static, str>,
    attributes: Vec<(Cow<'static, str>, String)>,
    nodes: Vec<Node>,
}

/// What an element holds: other elements and text, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// A child element.
    Element(Element),
    /// Character data, unescaped.
    Text(String),
}

/// Deeper trees are not read; the framer refuses them long before.
const DEPTH_MAX: usize = 128;

// === impl Element ===

impl Element {
    /// An empty element.
    pub fn new(name: impl Into<Cow<'static, str>>, ns: impl Into<Cow<'static, str>>) -> Self {
        Self {
            name: name.into(),
            ns: ns.into(),
            attributes: Vec::new(),
            nodes: Vec::new(),
        }
    }

    /// Reads the one element that `xml` holds; `parent_ns` is the namespace around it.
    ///
    /// Returns `None` when `xml` is not one canonical element.
    pub fn parse(xml: &str, parent_ns: &str) -> Option<Self> {
        let mut reader = Reader::from_str(xml);
        match reader.read_event().ok()? {
            Event::Start(start) => {
                let root = open(&start, parent_ns)?;
                fill(root, &mut reader, 0)
            }
            Event::Empty(start) => open(&start, parent_ns),
            _ => None,
        }
    }

    /// With this attribute, in no namespace (or `xml:lang`).
    #[must_use]
    pub fn attr(mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) -> Self {
        self.set_attr(name, value);
        self
    }

    /// With this attribute if there is a value.
    #[must_use]
    pub fn attr_opt(self, name: &'static str, value: Option<impl Into<String>>) -> Self {
        match value {
            Some(value) => self.attr(name, value),
            None => self,
        }
    }

    /// With this child at the end.
    #[must_use]
    pub fn child(mut self, child: Self) -> Self {
        self.nodes.push(Node::Element(child));
        self
    }

    /// With these children at the end.
    #[must_use]
    pub fn children_from(mut self, children: impl IntoIterator<Item = Self>) -> Self {
        self.nodes.extend(children.into_iter().map(Node::Element));
        self
    }

    /// With this text at the end.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.nodes.push(Node::Text(text.into()));
        self
    }

    /// With a child in this element's namespace that holds only text.
    #[must_use]
    pub fn text_child(self, name: &'static str, text: impl Into<String>) -> Self {
        let child = Self::new(name, self.ns.clone()).text(text);
        self.child(child)
    }

    /// Sets an attribute, replacing one of the same name.
    pub fn set_attr(&mut self, name: impl Into<Cow<'static, str>>, value: impl Into<String>) {
        let name = name.into();
        match self.attributes.iter_mut().find(|(known, _)| *known == name) {
            Some(attribute) => attribute.1 = value.into(),
            None => self.attributes.push((name, value.into())),
        }
    }

    /// The local name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace.
    pub fn ns(&self) -> &str {
        &self.ns
    }

    /// Whether this is `name` in `ns`.
    pub fn is(&self, name: &str, ns: &str) -> bool {
        self.name == name && self.ns == ns
    }

    /// The value of an attribute.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.attributes
            .iter()
            .find(|(known, _)| known == name)
            .map(|(_, value)| value.as_str())
    }

    /// Every attribute, in order.
    pub fn attributes(&self) -> impl ExactSizeIterator<Item = (&str, &str)> {
        self.attributes
            .iter()
            .map(|(name, value)| (name.as_ref(), value.as_str()))
    }

    /// Everything inside, in order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The child elements, in order.
    pub fn children(&self) -> impl Iterator<Item = &Self> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Element(child) => Some(child),
            Node::Text(_) => None,
        })
    }

    /// The first child `name` in `ns`.
    pub fn find(&self, name: &str, ns: &str) -> Option<&Self> {
        self.children().find(|child| child.is(name, ns))
    }

    /// The first child `name` in this element's own namespace.
    pub fn find_own(&self, name: &str) -> Option<&Self> {
        self.find(name, &self.ns)
    }

    /// All text directly inside.
    pub fn content(&self) -> String {
        self.nodes
            .iter()
            .filter_map(|node| match node {
                Node::Text(text) => Some(text.as_str()),
                Node::Element(_) => None,
            })
            .collect()
    }

    /// Writes the element; `xmlns` only where the namespace differs from `parent_ns`.
    pub fn write(&self, out: &mut impl Sink, parent_ns: &str) {
        out.put("<");
        out.put(&self.name);
        if self.ns != parent_ns {
            escape::named_attribute(out, "xmlns", &self.ns);
        }
        for (name, value) in &self.attributes {
            escape::named_attribute(out, name, value);
        }
        if self.nodes.is_empty() {
            out.put("/>");
            return;
        }
        out.put(">");
        for node in &self.nodes {
            match node {
                Node::Element(child) => child.write(out, &self.ns),
                Node::Text(text) => escape::text(out, text),
            }
        }
        out.put("</");
        out.put(&self.name);
        out.put(">");
    }

    /// The element as canonical XML, as it stands inside a client stanza.
    pub fn to_xml(&self) -> String {
        let mut out = String::new();
        self.write(&mut out, ns::CLIENT);
        out
    }

    /// As [`Element::to_xml`], in a shared buffer.
    pub fn to_bytes(&self) -> ByteStr {
        ByteStr::from(self.to_xml())
    }
}

/// Reads what is inside `root` until its end tag.
fn fill(root: Element, reader: &mut Reader<&[u8]>, depth: usize) -> Option<Element> {
    if depth > DEPTH_MAX {
        return None;
    }
    let mut element = root;
    loop {
        match reader.read_event().ok()? {
            Event::Start(start) => {
                let child = open(&start, &element.ns)?;
                let child = fill(child, reader, depth + 1)?;
                element.nodes.push(Node::Element(child));
            }
            Event::Empty(start) => {
                let child = open(&start, &element.ns)?;
                element.nodes.push(Node::Element(child));
            }
            Event::Text(text) => push_text(&mut element, &text.xml10_content()),
            Event::CData(text) => push_text(&mut element, &text.xml10_content()),
            Event::GeneralRef(reference) => {
                if let Some(c) = reference.resolve_char_ref().ok()? {
                    push_text(&mut element, c.encode_utf8(&mut [0; 4]));
                } else {
                    let name: &str = &reference;
                    push_text(&mut element, quick_xml::escape::resolve_xml_entity(name)?);
                }
            }
            Event::End(_) => return Some(element),
            _ => return None,
        }
    }
}

fn push_text(element: &mut Element, text: &str) {
    match element.nodes.last_mut() {
        Some(Node::Text(last)) => last.push_str(text),
        _ => element.nodes.push(Node::Text(text.to_owned())),
    }
}

/// The element that a start tag opens, still empty.
fn open(start: &BytesStart<'_>, parent_ns: &str) -> Option<Element> {
    let mut element = Element::new(start.name().0.to_owned(), parent_ns.to_owned());
    for attribute in start.attributes() {
        let attribute = attribute.ok()?;
        let value = quick_xml::escape::unescape(&attribute.value).ok()?;
        if attribute.key.0 == "xmlns" {
            element.ns = value.into_owned().into();
        } else {
            let name = attribute.key.0.to_owned();
            element.attributes.push((name.into(), value.into_owned()));
        }
    }
    Some(element)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let xml = "<query xmlns='jabber:iq:roster' ver='a&amp;&apos;b'><item jid='x@y'>\
                   <group>A &amp; B&#13;</group></item><other xmlns='urn:o'/></query>";
        let element = Element::parse(xml, ns::CLIENT).expect("canonical");
        assert_eq!(element.get("ver"), Some("a&'b"));
        let item = element.find_own("item").expect("an item");
        assert_eq!(
            item.find_own("group").expect("a group").content(),
            "A & B\r"
        );
        assert!(element.find("other", "urn:o").is_some());
        assert_eq!(element.to_xml(), xml);
    }

    #[test]
    fn attributes_keep_control_characters() {
        let element = Element::new("a", ns::CLIENT).attr("v", "\t\r\n<'\"");
        let xml = element.to_xml();
        assert_eq!(Element::parse(&xml, ns::CLIENT), Some(element));
    }

    #[test]
    fn what_is_no_element_is_none() {
        for xml in [
            "",
            "text",
            "<a>",
            "<a></b>",
            "<a><!-- --></a>",
            "<a>&x;</a>",
        ] {
            assert_eq!(Element::parse(xml, ns::CLIENT), None, "{xml}");
        }
    }
}
