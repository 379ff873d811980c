//! A whole element: checked strictly, and written afresh in canonical form while it is read.
//!
//! quick-xml finds tags, text and references and matches end tags; it lets pass much that XML
//! forbids, so names, attributes, characters, references and namespaces are checked here.

use couplet_proto::xmpp::byte_str::ByteStr;
use couplet_proto::xmpp::escape::{self, Sink};
use couplet_proto::xmpp::ns;
use couplet_proto::xmpp::payload::{Entry, Payload};
use couplet_proto::{Element, Kind};
use quick_xml::Reader;
use quick_xml::events::Event;
use smallvec::SmallVec;

use super::attribute::{self, Attribute, Attributes};
use super::guard::{self, Class, is_space};
use super::head::Head;
use super::scope::{Ns, Scope, StreamScope};
use super::{Budget, FramingError, Item};

/// Up to this many attributes are compared pair by pair, which is faster than sorting them.
const PAIRWISE_MAX: usize = 8;

/// A buffer that is this much larger than what it holds is not kept: queues count what is held.
const SLACK_BYTES_MAX: usize = 1024;

/// Reads one top-level element, from its first byte to its last.
pub(super) fn read(
    bytes: &[u8],
    stream: &StreamScope,
    budget: &Budget,
) -> Result<Item, FramingError> {
    let xml = guard::text(bytes)?;
    let mut writer = Writer::new(xml, stream, budget);
    let mut reader = Reader::from_str(xml);
    let mut position = 0;
    loop {
        let event = reader.read_event().map_err(|_| guard::NOT_WELL_FORMED)?;
        let start = std::mem::replace(&mut position, offset_of(&reader));
        match event {
            // The events borrow from themselves; the slices of `xml` live longer.
            Event::Start(_) => writer.open(&xml[start + 1..position - 1])?,
            Event::Empty(_) => {
                writer.open(&xml[start + 1..position - 2])?;
                writer.close();
            }
            Event::End(_) => writer.close(),
            Event::Text(text) => writer.text(&text)?,
            Event::CData(text) => writer.cdata(&text),
            Event::GeneralRef(name) => writer.character(guard::reference(&name)?),
            Event::Eof => break,
            Event::Comment(_) | Event::PI(_) | Event::Decl(_) | Event::DocType(_) => {
                return Err(guard::RESTRICTED);
            }
        }
        if writer.out.len() > writer.bytes_max {
            return Err(guard::TOO_LARGE);
        }
        if writer.stack.is_empty() {
            break;
        }
    }
    // The reader that cut this element out and the one that read it must agree on its end.
    match writer.stack.is_empty() && position == xml.len() {
        true => writer.finish(),
        false => Err(guard::NOT_WELL_FORMED),
    }
}

/// Splits the inside of a start tag after its name.
#[inline]
pub(super) fn split_name(content: &str) -> (&str, &str) {
    let end = content.bytes().position(is_space);
    content.split_at(end.unwrap_or(content.len()))
}

/// Refuses attributes that have the same name once prefixes are resolved, and unbound prefixes.
#[inline]
pub(super) fn check_duplicates(
    attributes: &[Attribute<'_>],
    scope: &Scope<'_>,
) -> Result<(), FramingError> {
    // Each prefix is looked up once: the scope may be large.
    let mut names: SmallVec<[(&str, Ns); PAIRWISE_MAX]> = SmallVec::new();
    for attribute in attributes {
        names.push((attribute.local, scope.attribute(attribute.prefix)?));
    }
    let is_duplicate = if names.len() <= PAIRWISE_MAX {
        names.iter().enumerate().any(|(index, one)| {
            let before = names[..index].iter();
            before
                .filter(|other| one.0 == other.0)
                .any(|other| scope.is_same(one.1, other.1))
        })
    } else {
        let mut names: Vec<_> = names
            .iter()
            .map(|(local, ns)| (*local, scope.name(*ns)))
            .collect();
        names.sort_unstable();
        names.windows(2).any(|pair| pair[0] == pair[1])
    };
    match is_duplicate {
        true => Err(guard::DUPLICATE_ATTRIBUTE),
        false => Ok(()),
    }
}

/// Whether a start tag, complete from `<` to `>`, is a stream header.
pub(super) fn is_header(
    tag: &[u8],
    stream: &StreamScope,
    budget: &Budget,
) -> Result<bool, FramingError> {
    let tag = guard::text(tag)?;
    let content = tag[1..tag.len() - 1].trim_end_matches('/');
    let (name, rest) = split_name(content);
    let (prefix, local) = guard::qname(name)?;
    let mut attributes = Attributes::default();
    attributes.read(rest, budget)?;
    let mut scope = Scope::new(&stream.bindings, budget);
    scope.enter(&attributes)?;
    let ns = scope.element(prefix)?;
    Ok(is_stream(local, scope.name(ns)))
}

fn is_stream(local: &str, ns: &str) -> bool {
    local == "stream" && ns == ns::STREAM
}

/// What is being written, and where in the element we are.
struct Writer<'a> {
    budget: &'a Budget,
    bytes_max: usize,
    /// The strings of the head, then the children; or a whole element that is no stanza.
    out: String,
    scope: Scope<'a>,
    /// The attributes of the start tag that is being read; kept for its memory.
    tag: Attributes<'a>,
    stack: SmallVec<[Open<'a>; 8]>,
    /// Whether the last start tag still lacks its `>`.
    is_tag_open: bool,
    /// `None` when the top-level element is no stanza.
    head: Option<Head<'a>>,
    children: SmallVec<[Entry; 3]>,
    /// Where the children begin in `out`.
    payload_start: usize,
    /// Whether a namespace name was written that could end another client's stream.
    has_odd_ns: bool,
}

/// An element that has begun.
struct Open<'a> {
    local: &'a str,
    ns: Ns,
    /// What the scope held before it.
    mark: usize,
}

// === impl Writer ===

impl<'a> Writer<'a> {
    fn new(xml: &'a str, stream: &'a StreamScope, budget: &'a Budget) -> Self {
        Self {
            budget,
            bytes_max: guard::canonical_bytes_max(budget),
            out: String::with_capacity(xml.len()),
            scope: Scope::new(&stream.bindings, budget),
            tag: Attributes::default(),
            stack: SmallVec::new(),
            is_tag_open: false,
            head: None,
            children: SmallVec::new(),
            payload_start: 0,
            has_odd_ns: false,
        }
    }

    /// A start tag; `content` is what stands between `<` and `>` or `/>`.
    fn open(&mut self, content: &'a str) -> Result<(), FramingError> {
        let (name, rest) = split_name(content);
        let (prefix, local) = guard::qname(name)?;
        self.tag.read(rest, self.budget)?;
        let mark = self.scope.enter(&self.tag)?;
        let ns = self.scope.element(prefix)?;
        check_duplicates(&self.tag.plain, &self.scope)?;
        if is_stream(local, self.scope.name(ns)) {
            return Err(guard::SECOND_HEADER);
        }
        let kind = match self.stack.is_empty() && self.scope.name(ns) == ns::CLIENT {
            true => Kind::from_name(local),
            false => None,
        };
        match kind {
            Some(kind) => self.write_head(kind)?,
            None => self.write_tag(local, ns)?,
        }
        self.stack.push(Open { local, ns, mark });
        Ok(())
    }

    /// An end tag; that it matches has been checked.
    fn close(&mut self) {
        let Some(open) = self.stack.pop() else {
            return;
        };
        self.scope.leave(open.mark);
        if self.stack.is_empty() && self.head.is_some() {
            self.drop_space();
            return;
        }
        if self.is_tag_open {
            self.is_tag_open = false;
            self.out.put("/>");
        } else {
            self.out.put("</");
            self.out.put(open.local);
            self.out.put(">");
        }
        if self.is_in_stanza() {
            let end = self.payload_offset();
            if let Some(child) = self.children.last_mut() {
                child.span.end = end;
            }
        }
    }

    fn text(&mut self, raw: &str) -> Result<(), FramingError> {
        if raw.is_empty() {
            return Ok(());
        }
        self.seal();
        attribute::write_text(&mut self.out, raw)
    }

    fn cdata(&mut self, raw: &str) {
        if !raw.is_empty() {
            self.seal();
            attribute::write_cdata(&mut self.out, raw);
        }
    }

    fn character(&mut self, character: char) {
        self.seal();
        escape::text(&mut self.out, character.encode_utf8(&mut [0; 4]));
    }

    /// Ends the start tag that is still open, because something is inside.
    fn seal(&mut self) {
        if self.is_tag_open {
            self.is_tag_open = false;
            self.out.put(">");
        }
    }

    /// Whether the element that is open is a stanza, so that what follows is a child of it.
    fn is_in_stanza(&self) -> bool {
        self.stack.len() == 1 && self.head.is_some()
    }

    fn payload_offset(&self) -> u32 {
        offset(self.out.len() - self.payload_start)
    }

    /// Takes back the white space since the last child of a stanza: it means nothing there.
    fn drop_space(&mut self) {
        let written = self
            .children
            .last()
            .map_or(0, |child| child.span.end as usize);
        let from = self.payload_start + written;
        if self.out.as_bytes()[from..]
            .iter()
            .all(|byte| is_space(*byte))
        {
            self.out.truncate(from);
        }
    }

    fn write_tag(&mut self, local: &str, ns: Ns) -> Result<(), FramingError> {
        let is_child = self.is_in_stanza();
        match is_child {
            true => self.drop_space(),
            false => self.seal(),
        }
        let start = self.payload_offset();
        self.out.put("<");
        self.out.put(local);
        let name = start + 1..self.payload_offset();
        let is_inherited = match self.stack.last() {
            Some(parent) => self.scope.is_same(parent.ns, ns),
            None => self.scope.name(ns) == ns::CLIENT,
        };
        let mut declared = None;
        if !is_inherited {
            self.out.put(" xmlns='");
            let from = self.payload_offset();
            self.has_odd_ns |= !write_ns(&mut self.out, self.scope.name(ns));
            declared = Some(from..self.payload_offset());
            self.out.put("'");
        }
        for attribute in &self.tag.plain {
            if attribute.prefix.is_empty() {
                self.out.put(" ");
                self.out.put(attribute.local);
                self.out.put("='");
                attribute::write_value(&mut self.out, attribute.raw)?;
                self.out.put("'");
            }
        }
        self.write_foreign()?;
        self.is_tag_open = true;
        if is_child {
            let span = start..start;
            let ns = declared;
            self.children.push(Entry { span, name, ns });
        }
        Ok(())
    }

    /// Writes the attributes that are in a namespace, each declared where it first appears.
    fn write_foreign(&mut self) -> Result<(), FramingError> {
        let mut declared: SmallVec<[Ns; 4]> = SmallVec::new();
        for attribute in &self.tag.plain {
            match attribute.prefix {
                "" => continue,
                // `xml:id` must not appear twice in a stream, and nobody uses the others.
                "xml" if !matches!(attribute.local, "lang" | "space") => {
                    attribute::value(attribute.raw)?;
                    continue;
                }
                "xml" => self.out.put(" xml:"),
                prefix => {
                    let ns = self.scope.attribute(prefix)?;
                    let known = declared.iter().position(|one| self.scope.is_same(*one, ns));
                    let number = known.unwrap_or(declared.len());
                    let number = number.to_string();
                    if known.is_none() {
                        declared.push(ns);
                        self.out.put(" xmlns:ns");
                        self.out.put(&number);
                        self.out.put("='");
                        self.has_odd_ns |= !write_ns(&mut self.out, self.scope.name(ns));
                        self.out.put("'");
                    }
                    self.out.put(" ns");
                    self.out.put(&number);
                    self.out.put(":");
                }
            }
            self.out.put(attribute.local);
            self.out.put("='");
            attribute::write_value(&mut self.out, attribute.raw)?;
            self.out.put("'");
        }
        Ok(())
    }

    /// The start tag of a stanza: what is foreign to it is written, the rest is kept apart.
    fn write_head(&mut self, kind: Kind) -> Result<(), FramingError> {
        let mut head = Head::read(kind, &self.tag, &mut self.out)?;
        self.tag
            .plain
            .retain(|attribute| (attribute.prefix, attribute.local) != ("xml", "lang"));
        let start = self.out.len();
        self.write_foreign()?;
        head.extra = start..self.out.len();
        self.payload_start = self.out.len();
        self.head = Some(head);
        Ok(())
    }

    fn finish(mut self) -> Result<Item, FramingError> {
        if self.out.capacity() - self.out.len() > SLACK_BYTES_MAX {
            self.out.shrink_to_fit();
        }
        let shared = ByteStr::from(self.out);
        let text = shared.as_str();
        let Some(head) = self.head else {
            let element = Element::parse(text, ns::CLIENT).ok_or(guard::TOO_DEEP)?;
            return Ok(Item::Element(element));
        };
        let payload = shared.slice_ref(&text[self.payload_start..]);
        let payload = Payload::from_canonical(payload, self.children);
        Ok(head.into_item(&shared, payload, !self.has_odd_ns))
    }
}

/// Writes the name of a namespace as the value of an attribute; whether no parser trips over it.
#[inline]
fn write_ns(out: &mut String, uri: &str) -> bool {
    match Class::ESCAPED.has_none(uri.as_bytes()) {
        true => out.put(uri),
        false => escape::attribute(out, uri),
    }
    guard::is_uri(uri)
}

fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("the budget keeps elements far below 4 GiB")
}

fn offset_of(reader: &Reader<&[u8]>) -> usize {
    usize::try_from(reader.buffer_position()).expect("a position inside a slice")
}
