//! Which namespace a prefix means: the declarations of the stream header, then those inside.

use std::borrow::Cow;

use couplet_proto::xmpp::ns;
use smallvec::SmallVec;

use super::attribute::{self, Attributes};
use super::{Budget, FramingError, guard};

const XML: &str = "http://www.w3.org/XML/1998/namespace";
const XMLNS: &str = "http://www.w3.org/2000/xmlns/";

/// What the stream header declared, and its name, which the end of the stream must repeat.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StreamScope {
    pub(super) qname: Cow<'static, str>,
    pub(super) bindings: Cow<'static, [Binding<'static>]>,
}

/// A prefix and its namespace; the empty prefix is the default namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Binding<'a> {
    pub(super) prefix: Cow<'a, str>,
    pub(super) ns: Cow<'a, str>,
}

/// What nearly every client declares. A stream that does so stores nothing.
pub(super) static STANDARD: StreamScope = StreamScope {
    qname: Cow::Borrowed("stream:stream"),
    bindings: Cow::Borrowed(&[
        Binding {
            prefix: Cow::Borrowed(""),
            ns: Cow::Borrowed(ns::CLIENT),
        },
        Binding {
            prefix: Cow::Borrowed("stream"),
            ns: Cow::Borrowed(ns::STREAM),
        },
    ]),
};

/// The declarations in force at one place.
#[derive(Debug)]
pub(super) struct Scope<'a> {
    stream: &'a [Binding<'static>],
    inner: SmallVec<[Binding<'a>; 4]>,
    /// How many may be in force: each name is looked for among all of them.
    inner_max: usize,
}

/// A namespace in a [`Scope`], valid while the element that declared it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ns {
    /// No namespace.
    None,
    /// The namespace of `xml:lang`.
    Xml,
    /// The one of this binding: those of the stream come first.
    Bound(usize),
}

// === impl Scope ===

impl<'a> Scope<'a> {
    pub(super) fn new(stream: &'a [Binding<'static>], budget: &Budget) -> Self {
        Self {
            stream,
            inner: SmallVec::new(),
            inner_max: budget.namespaces.saturating_add(budget.depth) as usize,
        }
    }

    /// Adds the declarations of a start tag; returns what [`Scope::leave`] needs to undo it.
    #[inline]
    pub(super) fn enter(&mut self, tag: &Attributes<'a>) -> Result<usize, FramingError> {
        let mark = self.inner.len();
        for declaration in &tag.declarations {
            let prefix = declaration.prefix;
            let ns = attribute::value(declaration.raw)?;
            check(prefix, &ns)?;
            if prefix == "xml" {
                continue;
            }
            if self.inner[mark..]
                .iter()
                .any(|known| is_equal(&known.prefix, prefix))
            {
                return Err(guard::DUPLICATE_ATTRIBUTE);
            }
            if self.inner.len() >= self.inner_max {
                return Err(guard::TOO_MANY_NAMESPACES);
            }
            let prefix = Cow::Borrowed(prefix);
            self.inner.push(Binding { prefix, ns });
        }
        Ok(mark)
    }

    /// Forgets the declarations made since `mark`.
    #[inline]
    pub(super) fn leave(&mut self, mark: usize) {
        self.inner.truncate(mark);
    }

    /// The namespace of an element with this prefix.
    #[inline]
    pub(super) fn element(&self, prefix: &str) -> Result<Ns, FramingError> {
        let found = match self.find(prefix) {
            Some(index) => Ns::Bound(index),
            None if prefix.is_empty() => Ns::None,
            // Without its prefix such an element could not be written: the namespace of `xml`
            // must not be the default one.
            None if prefix == "xml" => return Err(guard::RESERVED_PREFIX),
            None => return Err(guard::UNBOUND_PREFIX),
        };
        match self.name(found) {
            "" => Ok(Ns::None),
            _ => Ok(found),
        }
    }

    /// The namespace of an attribute with this prefix.
    #[inline]
    pub(super) fn attribute(&self, prefix: &str) -> Result<Ns, FramingError> {
        match prefix {
            "" => Ok(Ns::None),
            "xml" => Ok(Ns::Xml),
            _ => self.element(prefix),
        }
    }

    /// The name of a namespace; empty for none.
    #[inline]
    pub(super) fn name(&self, ns: Ns) -> &str {
        match ns {
            Ns::None => "",
            Ns::Xml => XML,
            Ns::Bound(index) => match index.checked_sub(self.stream.len()) {
                Some(inner) => &self.inner[inner].ns,
                None => &self.stream[index].ns,
            },
        }
    }

    /// Whether both are the same namespace.
    #[inline]
    pub(super) fn is_same(&self, one: Ns, other: Ns) -> bool {
        one == other || is_equal(self.name(one), self.name(other))
    }

    /// The declarations of this scope's own elements, to outlive them.
    pub(super) fn to_bindings(&self) -> Vec<Binding<'static>> {
        let keep = |text: &str| Cow::Owned(text.to_owned());
        let bindings = self.inner.iter().map(|binding| Binding {
            prefix: keep(&binding.prefix),
            ns: keep(&binding.ns),
        });
        bindings.collect()
    }

    #[inline]
    fn find(&self, prefix: &str) -> Option<usize> {
        let position = |bindings: &[Binding<'_>]| {
            bindings
                .iter()
                .rposition(|binding| is_equal(&binding.prefix, prefix))
        };
        match position(&self.inner) {
            Some(inner) => Some(self.stream.len() + inner),
            None => position(self.stream),
        }
    }
}

/// Whether both texts are the same.
///
/// Most are empty or of different lengths. An empty text may have no valid address, and comparing
/// nothing at such an address costs the vector instructions of `memcmp` a microsecond.
#[inline]
fn is_equal(one: &str, other: &str) -> bool {
    one.len() == other.len() && (one.is_empty() || one == other)
}

/// Namespaces in XML 1.0 §3: what a declaration must not do.
fn check(prefix: &str, ns: &str) -> Result<(), FramingError> {
    let allowed = match prefix {
        "xmlns" => false,
        "xml" => ns == XML,
        "" => ns != XML && ns != XMLNS,
        _ => ns != XML && ns != XMLNS && !ns.is_empty(),
    };
    match allowed {
        true => Ok(()),
        false => Err(guard::BAD_DECLARATION),
    }
}
