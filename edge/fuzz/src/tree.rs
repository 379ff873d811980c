//! What a parser understood of a stream, in a form that can be compared.

use std::collections::BTreeMap;

use couplet_proto::Element;
use couplet_proto::xmpp::element::Node as ElementNode;
use rxml::{Event, Parse, Parser};
use serde_json::{Value, json};

/// A name: namespace and local part.
pub type Name = (String, String);

/// An element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    /// Its name.
    pub name: Name,
    /// Its attributes, namespace declarations left out.
    pub attributes: BTreeMap<Name, String>,
    /// What it holds; no text is empty or next to another.
    pub nodes: Vec<Node>,
}

/// What an element holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Node {
    /// An element.
    Element(Tree),
    /// Character data.
    Text(String),
}

/// What rxml made of a stream.
#[derive(Debug, Default)]
pub struct Stream {
    /// The complete elements directly inside the root.
    pub elements: Vec<Tree>,
    /// Whether there was text directly inside the root that is more than white space.
    pub has_text: bool,
    /// Whether the root has ended.
    pub is_closed: bool,
    /// Whether something has begun that is not complete.
    pub is_midway: bool,
    /// What rxml objected to.
    pub error: Option<String>,
}

// === impl Tree ===

impl Tree {
    fn new(ns: &str, local: &str) -> Self {
        Self {
            name: (ns.to_owned(), local.to_owned()),
            attributes: BTreeMap::new(),
            nodes: Vec::new(),
        }
    }

    /// Appends text to what it holds.
    pub fn push_text(&mut self, text: &str) {
        match self.nodes.last_mut() {
            _ if text.is_empty() => {}
            Some(Node::Text(last)) => last.push_str(text),
            _ => self.nodes.push(Node::Text(text.to_owned())),
        }
    }

    /// Without the attributes that we pass on to nobody.
    pub fn forget_dropped(&mut self) {
        let is_kept =
            |(ns, local): &Name| ns != rxml::XMLNS_XML || local == "lang" || local == "space";
        self.attributes.retain(|name, _| is_kept(name));
        for node in &mut self.nodes {
            if let Node::Element(child) = node {
                child.forget_dropped();
            }
        }
    }

    /// Without the text directly inside that is only white space; a CR there was a reference.
    pub fn without_space(&self) -> Vec<Node> {
        let is_space = |text: &str| text.trim_matches([' ', '\t', '\n']).is_empty();
        let keep = |node: &&Node| !matches!(node, Node::Text(text) if is_space(text));
        self.nodes.iter().filter(keep).cloned().collect()
    }

    /// What our own reader of canonical XML understood.
    pub fn from_element(element: &Element) -> Self {
        let mut tree = Self::new(element.ns(), element.name());
        for (name, value) in element.attributes() {
            let name = match name.split_once(':') {
                Some(("xmlns", _)) => continue,
                Some(("xml", local)) => (rxml::XMLNS_XML.to_owned(), local.to_owned()),
                Some((prefix, local)) => {
                    let ns = element.get(&format!("xmlns:{prefix}"));
                    let ns = ns.expect("declared on the same element");
                    (ns.to_owned(), local.to_owned())
                }
                None => (String::new(), name.to_owned()),
            };
            tree.attributes.insert(name, value.to_owned());
        }
        for node in element.nodes() {
            match node {
                ElementNode::Element(child) => {
                    tree.nodes.push(Node::Element(Self::from_element(child)))
                }
                ElementNode::Text(text) => tree.push_text(text),
            }
        }
        tree
    }

    /// The tree for other programs to compare with theirs: name, attributes, nodes.
    pub fn to_json(&self) -> Value {
        let clark = |(ns, local): &Name| match ns.is_empty() {
            true => local.clone(),
            false => format!("{{{ns}}}{local}"),
        };
        let attributes: BTreeMap<_, _> = self
            .attributes
            .iter()
            .map(|(name, value)| (clark(name), value))
            .collect();
        let nodes: Vec<_> = self
            .nodes
            .iter()
            .map(|node| match node {
                Node::Element(tree) => tree.to_json(),
                Node::Text(text) => json!(text),
            })
            .collect();
        json!([clark(&self.name), attributes, nodes])
    }
}

/// Reads a stream with rxml, as far as it goes.
pub fn read(bytes: &[u8]) -> Stream {
    let mut parser = Parser::new();
    let mut stream = Stream::default();
    let mut stack: Vec<Tree> = Vec::new();
    let mut input = bytes;
    let mut used = 0;
    loop {
        let event = match parser.parse(&mut input, false) {
            Ok(Some(event)) => event,
            Ok(None) | Err(rxml::error::EndOrError::NeedMoreData) => {
                stream.is_midway = stack.len() > 1 || used < bytes.len();
                return stream;
            }
            Err(rxml::error::EndOrError::Error(error)) => {
                stream.error = Some(error.to_string());
                return stream;
            }
        };
        used += event.metrics().len();
        match event {
            Event::XmlDeclaration(..) => {}
            Event::StartElement(_, (ns, local), attributes) => {
                let mut tree = Tree::new(ns.as_str(), local.as_str());
                for ((ns, local), value) in attributes {
                    let name = (ns.as_str().to_owned(), local.as_str().to_owned());
                    tree.attributes.insert(name, value);
                }
                stack.push(tree);
            }
            Event::Text(_, text) => match &mut stack[..] {
                [_root] => {
                    stream.has_text |= !text.trim_matches([' ', '\t', '\r', '\n']).is_empty()
                }
                [.., element] => element.push_text(&text),
                [] => {}
            },
            Event::EndElement(_) => {
                let mut ended = stack.pop().expect("rxml nests properly");
                ended.forget_dropped();
                match &mut stack[..] {
                    [] => {
                        stream.is_closed = true;
                        return stream;
                    }
                    [_root] => stream.elements.push(ended),
                    [.., parent] => parent.nodes.push(Node::Element(ended)),
                }
            }
        }
    }
}
