//! What goes in and what comes out: tables, every cut, every limit.

mod accepted;
mod limits;
mod refused;
mod spelling;

use couplet_proto::Stanza;

use super::*;

const HEADER: &str = "<?xml version='1.0'?><stream:stream to='example.com' version='1.0' \
     xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

const TIGHT: Budget = Budget {
    bytes: 4096,
    ..Budget::BEFORE_AUTH
};

/// Everything the framer makes of `parts`, runs of white space as one item.
fn items(framer: &mut Framer, parts: &[&[u8]]) -> Result<Vec<Item>, FramingError> {
    let mut items: Vec<Item> = Vec::new();
    for part in parts {
        let mut input = *part;
        while let Some(item) = framer.next(&mut input)? {
            if item != Item::Whitespace || items.last() != Some(&Item::Whitespace) {
                items.push(item);
            }
        }
        assert!(input.is_empty(), "input is left over");
    }
    Ok(items)
}

fn opened(budget: Budget) -> Framer {
    let mut framer = Framer::new(budget);
    let open = items(&mut framer, &[HEADER.as_bytes()]).expect("a good header");
    assert!(matches!(open[..], [Item::Open(_)]));
    framer
}

/// The only item in `xml`, sent after the usual header.
fn one(xml: &str) -> Result<Item, FramingError> {
    let mut framer = opened(Budget::AFTER_AUTH);
    let mut found = items(&mut framer, &[xml.as_bytes()])?;
    assert_eq!(found.len(), 1, "{xml}: {found:?}");
    assert!(!framer.is_midway(), "{xml}");
    Ok(found.remove(0))
}

fn stanza(xml: &str) -> Stanza {
    match one(xml) {
        Ok(Item::Stanza(stanza)) => stanza,
        other => panic!("{xml}: {other:?}"),
    }
}

fn malformed(xml: &str) -> MalformedStanza {
    match one(xml) {
        Ok(Item::Malformed(stanza)) => *stanza,
        other => panic!("{xml}: {other:?}"),
    }
}

#[test]
fn cut_anywhere_the_items_are_the_same() {
    let stream = format!(
        "{HEADER} <starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>\r\n\
         <message to='größe@example.com' id='&#x1F600;'><body>a &gt; b <![CDATA[]] ]>]]]>é€😀\
         </body><x xmlns:f=\"u:f'>\" f:a='/' b='>'/></message>\
         <stream:message xmlns:stream='jabber:client'><streams/></stream:message>\
         <iq type='get' id='1'/><r xmlns='urn:xmpp:sm:3'/><presence/></stream:stream>\n"
    );
    let bytes = stream.as_bytes();
    let fresh = || Framer::new(Budget::BEFORE_AUTH);
    let whole = items(&mut fresh(), &[bytes]).expect("accepted");
    assert_eq!(whole.len(), 10, "{whole:?}");
    let single: Vec<&[u8]> = bytes.chunks(1).collect();
    assert_eq!(items(&mut fresh(), &single).as_ref(), Ok(&whole));
    for cut in 0..=bytes.len() {
        let (one, other) = bytes.split_at(cut);
        assert_eq!(
            items(&mut fresh(), &[one, other]).as_ref(),
            Ok(&whole),
            "cut at {cut}"
        );
    }
}
