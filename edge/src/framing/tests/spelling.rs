//! However a tree is spelt, it is read as the same tree.

use couplet_proto::Element;
use couplet_proto::xmpp::element::Node;
use couplet_proto::xmpp::ns;
use proptest::prelude::*;

use super::*;

/// How a tree is spelt: each choice takes a few bits.
struct Spelling(u64);

impl Spelling {
    fn choose(&mut self, of: u64) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (self.0 >> 33) % of
    }

    fn element(&mut self, element: &Element, out: &mut String) {
        let prefix = ["", "p:", "q:"][usize::try_from(self.choose(3)).expect("small")];
        let prefix = if element.ns().is_empty() { "" } else { prefix };
        let declared = match prefix {
            "" => "xmlns".to_owned(),
            prefix => format!("xmlns:{}", &prefix[..1]),
        };
        out.push_str(&format!("<{prefix}{} {declared}='", element.name()));
        self.text(element.ns(), true, out);
        out.push('\'');
        for name in ["a", "b", "xml:lang"] {
            if let Some(value) = element.get(name) {
                out.push_str(&format!("\n{name}='"));
                self.text(value, true, out);
                out.push('\'');
            }
        }
        if element.nodes().is_empty() && self.choose(2) == 0 {
            out.push_str(" />");
            return;
        }
        out.push('>');
        for node in element.nodes() {
            match node {
                Node::Element(child) => self.element(child, out),
                Node::Text(text) => self.text(text, false, out),
            }
        }
        out.push_str(&format!("</{prefix}{}\t>", element.name()));
    }

    fn text(&mut self, text: &str, is_attribute: bool, out: &mut String) {
        for c in text.chars() {
            let must = matches!(c, '<' | '&' | '\r' | '\'')
                || (is_attribute && matches!(c, '\t' | '\n'))
                || (c == '>' && out.ends_with("]]"));
            match self.choose(8) {
                0 => out.push_str(&format!("&#{};", u32::from(c))),
                1 => out.push_str(&format!("&#x{:x};", u32::from(c))),
                2 if !is_attribute && c != '\r' => out.push_str(&format!("<![CDATA[{c}]]>")),
                3 if c == '\n' && !is_attribute => out.push_str("\r\n"),
                _ if must => out.push_str(&format!("&#{};", u32::from(c))),
                _ => out.push(c),
            }
        }
    }
}

fn text() -> impl Strategy<Value = String> {
    "([ -~]|[\t\n\r]|[\\]>&<'\"]|\\PC){1,6}"
}

fn tree() -> impl Strategy<Value = Element> {
    let ns = || prop::sample::select(vec!["", ns::CLIENT, ns::SERVER, "u:a", "u:a&'"]);
    let name = || prop::sample::select(vec!["x", "body", "é"]);
    let leaf = (
        name(),
        ns(),
        prop::option::of(text()),
        prop::option::of(text()),
    );
    let leaf = leaf.prop_map(|(name, ns, a, lang)| {
        Element::new(name, ns)
            .attr_opt("a", a)
            .attr_opt("xml:lang", lang)
    });
    leaf.prop_recursive(4, 20, 4, move |inner| {
        let nodes = prop::collection::vec((inner, prop::option::of(text())), 0..4);
        (name(), ns(), prop::option::of(text()), nodes).prop_map(|(name, ns, b, nodes)| {
            let element = Element::new(name, ns).attr_opt("b", b);
            nodes
                .into_iter()
                .fold(element, |element, (child, text)| match text {
                    Some(text) => element.child(child).text(text),
                    None => element.child(child),
                })
        })
    })
}

proptest! {
    #[test]
    fn however_a_tree_is_spelt_it_is_read(tree in tree(), seed: u64, cut: prop::sample::Index) {
        let mut xml = "<message>".to_owned();
        Spelling(seed).element(&tree, &mut xml);
        xml.push_str("</message>");
        let (one, other) = xml.as_bytes().split_at(cut.index(xml.len()));
        let found = items(&mut opened(Budget::AFTER_AUTH), &[one, other]);
        let Ok([Item::Stanza(found)]) = found.as_deref() else {
            panic!("{xml}: {found:?}");
        };
        let child = found.first().expect("one child");
        prop_assert!(child.is(tree.name(), tree.ns()));
        prop_assert_eq!(&child.element(), &tree, "{}", &xml);
        prop_assert_eq!(&stanza(&found.to_string()), found);
    }

    #[test]
    fn no_input_makes_it_panic(bytes in "[<>/!?\\[\\]a-d:='\" &;#\u{0}-\u{ff}]{0,60}") {
        let _ = items(&mut opened(TIGHT), &[bytes.as_bytes()]);
        let _ = items(&mut Framer::new(TIGHT), &[bytes.as_bytes()]);
    }
}
