//! What a stanza carries: its children as canonical bytes, and where each of them stands.

use std::borrow::Cow;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use smallvec::SmallVec;

use super::byte_str::ByteStr;
use super::element::Element;
use super::ns;

/// The children of a stanza in one shared buffer, with an index.
///
/// **Invariant:** the bytes are canonical XML: well-formed without the stanza around them, in the
/// default namespace `jabber:client`, no prefix unbound.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Payload {
    xml: ByteStr,
    children: SmallVec<[Entry; 3]>,
}

/// Where one child stands in its payload. Built by the framer while it writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The whole child, tags included.
    pub span: Range<u32>,
    /// Its local name.
    pub name: Range<u32>,
    /// Its namespace as written, still escaped; `None` is `jabber:client`.
    pub ns: Option<Range<u32>>,
}

/// One child of a stanza, borrowed.
#[derive(Debug, Clone, Copy)]
pub struct Child<'a> {
    payload: &'a Payload,
    entry: &'a Entry,
}

// === impl Payload ===

impl Payload {
    /// A payload of these children.
    pub fn from_elements<'a>(elements: impl IntoIterator<Item = &'a Element>) -> Self {
        let mut builder = Builder::default();
        for element in elements {
            builder.push(element);
        }
        builder.finish()
    }

    /// Reads what [`Payload::xml`] gave, from storage; `None` when it is no canonical XML.
    pub fn read(xml: &str) -> Option<Self> {
        // Each child is read and written once more: what is stored need not be trusted.
        let parent = Element::parse(&format!("<r>{xml}</r>"), ns::CLIENT)?;
        Some(Self::from_elements(parent.children()))
    }

    /// Takes what the framer wrote.
    pub fn from_canonical(xml: ByteStr, children: SmallVec<[Entry; 3]>) -> Self {
        Self { xml, children }
    }

    /// The children as they go onto the wire.
    pub fn xml(&self) -> &ByteStr {
        &self.xml
    }

    /// Where the children stand in [`Payload::xml`], in order.
    pub fn index(&self) -> &[Entry] {
        &self.children
    }

    /// How many bytes the children take.
    pub fn len(&self) -> usize {
        self.xml.len()
    }

    /// Whether there is nothing inside.
    pub fn is_empty(&self) -> bool {
        self.xml.is_empty()
    }

    /// The children, in order.
    pub fn children(&self) -> impl ExactSizeIterator<Item = Child<'_>> {
        self.children.iter().map(move |entry| Child {
            payload: self,
            entry,
        })
    }

    /// The first child `name` in `ns`.
    pub fn find(&self, name: &str, ns: &str) -> Option<Child<'_>> {
        self.children().find(|child| child.is(name, ns))
    }

    /// This payload with `element` as its last child.
    #[must_use]
    pub fn with(&self, element: &Element) -> Self {
        let mut builder = Builder::default();
        self.children().for_each(|child| builder.copy(child));
        builder.push(element);
        builder.finish()
    }

    /// This payload without the children that `unwanted` picks; shared when it picks none.
    #[must_use]
    pub fn without(&self, mut unwanted: impl FnMut(Child<'_>) -> bool) -> Self {
        if !self.children().any(&mut unwanted) {
            return self.clone();
        }
        let mut builder = Builder::default();
        for child in self.children() {
            if !unwanted(child) {
                builder.copy(child);
            }
        }
        builder.finish()
    }

    /// A part of the text. Looks at that part only: a payload may have thousands of children.
    fn text(&self, range: &Range<u32>) -> &str {
        let part = &self.xml.bytes()[range.start as usize..range.end as usize];
        std::str::from_utf8(part).expect("the index lies between characters")
    }
}

// === impl Child ===

impl<'a> Child<'a> {
    /// The local name.
    pub fn name(self) -> &'a str {
        self.payload.text(&self.entry.name)
    }

    /// The namespace.
    pub fn ns(self) -> Cow<'a, str> {
        match &self.entry.ns {
            None => Cow::Borrowed(ns::CLIENT),
            Some(range) => {
                let escaped = self.payload.text(range);
                quick_xml::escape::unescape(escaped).unwrap_or(Cow::Borrowed(escaped))
            }
        }
    }

    /// Whether this is `name` in `ns`; no allocation.
    pub fn is(self, name: &str, ns: &str) -> bool {
        self.name() == name && self.has_ns(ns)
    }

    /// Whether this is in `ns`; no allocation.
    pub fn has_ns(self, ns: &str) -> bool {
        match &self.entry.ns {
            None => ns == ns::CLIENT,
            Some(range) => {
                let escaped = self.payload.text(range);
                // An escaped text must never pass for the namespace that looks like it.
                match escaped.contains('&') {
                    false => escaped == ns,
                    true => self.ns() == ns,
                }
            }
        }
    }

    /// The child as XML.
    pub fn xml(self) -> &'a str {
        self.payload.text(&self.entry.span)
    }

    /// The child's bytes, shared.
    pub fn shared(self) -> ByteStr {
        self.payload.xml.slice_ref(self.xml())
    }

    /// The child as a tree. One that breaks the payload's invariant, which only another node can
    /// bring about, is empty: what is asked for in it is missing.
    pub fn element(self) -> Element {
        Element::parse(self.xml(), ns::CLIENT)
            .unwrap_or_else(|| Element::new(self.name().to_owned(), self.ns().into_owned()))
    }

    /// The text directly inside the child.
    pub fn content(self) -> String {
        self.element().content()
    }
}

/// Appends children and keeps the index.
#[derive(Default)]
struct Builder {
    xml: BytesMut,
    children: SmallVec<[Entry; 3]>,
}

// === impl Builder ===

impl Builder {
    fn push(&mut self, element: &Element) {
        let start = offset(self.xml.len());
        element.write(&mut self.xml, ns::CLIENT);
        let name = start + 1..start + 1 + offset(element.name().len());
        // `Element::write` puts the namespace first, in single quotes.
        let ns = (element.ns() != ns::CLIENT).then(|| {
            let from = name.end as usize + " xmlns='".len();
            let bytes = self.xml[from..].iter().position(|byte| *byte == b'\'');
            offset(from)..offset(from + bytes.expect("the value is quoted"))
        });
        let span = start..offset(self.xml.len());
        self.children.push(Entry { span, name, ns });
    }

    fn copy(&mut self, child: Child<'_>) {
        let start = offset(self.xml.len());
        let from = child.entry.span.start;
        let shift = |range: &Range<u32>| range.start - from + start..range.end - from + start;
        self.xml.extend_from_slice(child.xml().as_bytes());
        self.children.push(Entry {
            span: shift(&child.entry.span),
            name: shift(&child.entry.name),
            ns: child.entry.ns.as_ref().map(shift),
        });
    }

    fn finish(self) -> Payload {
        let bytes: Bytes = self.xml.freeze();
        let xml = ByteStr::from_utf8(bytes).expect("written from text");
        Payload::from_canonical(xml, self.children)
    }
}

fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("a stanza is far smaller than 4 GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn children_are_found_added_and_removed() {
        let body = Element::new("body", ns::CLIENT).text("hi & bye");
        let id = Element::new("stanza-id", ns::STANZA_ID).attr("id", "1");
        let payload = Payload::from_elements([&body, &id]);
        let child = payload.find("stanza-id", ns::STANZA_ID).expect("found");
        assert_eq!(child.xml(), "<stanza-id xmlns='urn:xmpp:sid:0' id='1'/>");
        assert_eq!(
            payload.find("body", ns::CLIENT).expect("found").content(),
            "hi & bye"
        );
        let less = payload.without(|child| child.is("body", ns::CLIENT));
        assert_eq!(less.xml().as_str(), child.xml());
        assert_eq!(Payload::read(payload.xml()).as_ref(), Some(&payload));
        let more = less.with(&body);
        assert_eq!(
            more.find("body", ns::CLIENT).expect("found").element(),
            body
        );
        assert_eq!(
            more.find("stanza-id", ns::STANZA_ID)
                .expect("found")
                .element(),
            id
        );
    }

    /// A child costs what it takes itself: reading the whole payload for each would let one stanza
    /// hold its shard for seconds.
    #[test]
    fn many_children_beside_a_long_text_are_searched_in_one_pass() {
        let small = Element::new("x", "urn:x");
        let long = Element::new("body", ns::CLIENT).text("\u{e4}".repeat(100_000));
        let children = std::iter::repeat_n(&small, 4000).chain([&long]);
        let payload = Payload::from_elements(children);
        let started = std::time::Instant::now();
        for _ in 0..8 {
            assert!(payload.find("y", "urn:x").is_none());
        }
        let took = started.elapsed();
        assert!(took < std::time::Duration::from_secs(1), "{took:?}");
    }

    #[test]
    fn a_namespace_with_an_ampersand_is_compared_unescaped() {
        let odd = Element::new("x", "urn:a&b'c");
        let payload = Payload::from_elements([&odd]);
        assert!(payload.find("x", "urn:a&b'c").is_some());
        assert!(payload.find("x", "urn:a&amp;b&apos;c").is_none());
    }

    #[test]
    fn what_another_node_calls_xml_does_no_harm() {
        let xml = ByteStr::from_utf8(Bytes::from_static(b"<query><item>")).expect("a text");
        let entry = Entry {
            span: 0..13,
            name: 1..6,
            ns: None,
        };
        let payload = Payload::from_canonical(xml, smallvec::smallvec![entry]);
        let child = payload.children().next().expect("one");
        assert_eq!(child.element(), Element::new("query", ns::CLIENT));
        assert_eq!(child.content(), "");
    }
}
