//! What is accepted, and what it is rewritten to.

use couplet_proto::xmpp::error::Condition;
use couplet_proto::xmpp::ns;
use couplet_proto::{Element, Kind, Type};

use super::*;

/// What comes in, and what it is rewritten to.
const REWRITTEN: &[(&str, &str)] = &[
    ("<message/>", "<message/>"),
    ("<message></message >", "<message/>"),
    (
        "<message\tto=\"a@b\"\n id = 'x' type='chat'><body >hi</body\r\n></message>",
        "<message type='chat' id='x' to='a@b'><body>hi</body></message>",
    ),
    // Any prefix bound to jabber:client; prefixes become default namespaces.
    (
        "<c:message xmlns:c='jabber:client'><c:body/><x:x xmlns:x='u:x'><x:y/><c:z/></x:x>\
         </c:message>",
        "<message><body/><x xmlns='u:x'><y/><z xmlns='jabber:client'/></x></message>",
    ),
    // A prefix bound on the stream header.
    (
        "<message><stream:x/></message>",
        "<message><x xmlns='http://etherx.jabber.org/streams'/></message>",
    ),
    (
        "<message><a xmlns=''><b/></a></message>",
        "<message><a xmlns=''><b/></a></message>",
    ),
    (
        "<message><a xmlns='u:a'><b xmlns='u:b'/><a xmlns='u:a'/></a></message>",
        "<message><a xmlns='u:a'><b xmlns='u:b'/><a/></a></message>",
    ),
    // CDATA, references, line ends.
    (
        "<message><body><![CDATA[</body>&amp;]]]]><![CDATA[>\r\n]]></body></message>",
        "<message><body>&lt;/body&gt;&amp;amp;]]&gt;\n</body></message>",
    ),
    (
        "<message><body>a\r\nb\rc&#13;&#xA;&#x41;&lt;&gt;&amp;&quot;&apos;></body></message>",
        "<message><body>a\nb\nc&#13;\nA&lt;&gt;&amp;\"'&gt;</body></message>",
    ),
    (
        "<message><x a='1\r\n2\r3\n4\t5&#9;&#10;&#13;\"&lt;' b=\"'>\"/></message>",
        "<message><x a='1 2 3 4 5&#9;&#10;&#13;&quot;&lt;' b='&apos;&gt;'/></message>",
    ),
    // Attributes in foreign namespaces.
    (
        "<message xmlns:f='u:f' f:a='&lt;' xml:lang='en' xml:space='preserve' odd='1'>\
         <x f:a='1' xmlns:g='u:g' g:a='2' f:b='3' a='4' xml:lang='de'/></message>",
        "<message xml:lang='en' xmlns:ns0='u:f' ns0:a='&lt;' xml:space='preserve'>\
         <x a='4' xmlns:ns0='u:f' ns0:a='1' xmlns:ns1='u:g' ns1:a='2' ns0:b='3' \
         xml:lang='de'/></message>",
    ),
    // White space directly inside a stanza goes, text stays, and inside children all stays.
    (
        "<message>\n <body> a </body>\r\n\t<x> </x> </message>",
        "<message><body> a </body><x> </x></message>",
    ),
    (
        "<message>&lt;/message><body/><![CDATA[<message/>]]></message>",
        "<message>&lt;/message&gt;<body/>&lt;message/&gt;</message>",
    ),
    ("<message type='odd'/>", "<message/>"),
    (
        "<message xml:id='a'><x xml:id='a' xml:base='b'/></message>",
        "<message><x/></message>",
    ),
    (
        "<message xmlns:xml='http://www.w3.org/XML/1998/namespace'><x xml:lang='a'/></message>",
        "<message><x xml:lang='a'/></message>",
    ),
    (
        "<message><größe a·b='1'/></message>",
        "<message><größe a·b='1'/></message>",
    ),
];

#[test]
fn stanzas_are_rewritten_canonically() {
    for &(xml, expected) in REWRITTEN {
        let found = stanza(xml);
        assert_eq!(found.to_string(), expected, "{xml}");
        assert_eq!(
            stanza(expected),
            found,
            "{xml}: canonical form is not stable"
        );
    }
}

#[test]
fn a_head_is_parsed_and_children_are_indexed() {
    let found = stanza(
        "<iq id='&lt;1&gt;' type='set' to='Juliet@Example.COM/b' from='romeo@example.com'>\
         <q:query xmlns:q='u:q' x='>'/></iq>",
    );
    assert_eq!((found.kind, found.type_), (Kind::Iq, Type::Set));
    assert_eq!(found.id.as_deref(), Some("<1>"));
    assert_eq!(found.to.expect("to").as_str(), "juliet@example.com/b");
    assert_eq!(found.from.expect("from").as_str(), "romeo@example.com");
    let child = found.payload.find("query", "u:q").expect("indexed");
    assert_eq!(child.xml(), "<query xmlns='u:q' x='&gt;'/>");

    let found = stanza("<presence>text<show>away</show> <c xmlns='u:&amp;'><d/></c></presence>");
    let children: Vec<_> = found
        .payload
        .children()
        .map(|c| (c.name(), c.ns(), c.xml()))
        .collect();
    assert_eq!(children.len(), 2);
    assert_eq!(
        children[0],
        ("show", ns::CLIENT.into(), "<show>away</show>")
    );
    assert_eq!(
        children[1],
        ("c", "u:&".into(), "<c xmlns='u:&amp;'><d/></c>")
    );
}

#[test]
fn other_elements_are_trees() {
    for (xml, expected) in [
        (
            "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
            Element::new("starttls", ns::TLS),
        ),
        (
            "<s:auth xmlns:s='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AA==</s:auth>",
            Element::new("auth", ns::SASL)
                .attr("mechanism", "PLAIN")
                .text("AA=="),
        ),
        ("<foo/>", Element::new("foo", ns::CLIENT)),
        (
            "<message xmlns='jabber:server'/>",
            Element::new("message", ns::SERVER),
        ),
        ("<message xmlns=''/>", Element::new("message", "")),
        (
            "<message xmlns='jabber:client\nmessage'/>",
            Element::new("message", "jabber:client message"),
        ),
        ("<stream xmlns='u:s'/>", Element::new("stream", "u:s")),
    ] {
        assert_eq!(one(xml), Ok(Item::Element(expected)), "{xml}");
    }
}

#[test]
fn stanzas_that_cannot_be_accepted_are_answerable() {
    for (xml, condition) in [
        ("<message to='@' id='1'/>", Condition::JidMalformed),
        ("<message from='a b@c' id='1'/>", Condition::JidMalformed),
        (
            "<iq type='get' to='a@/r' id='1'><q/></iq>",
            Condition::JidMalformed,
        ),
        ("<iq type='get'><q/></iq>", Condition::BadRequest),
        ("<iq type='result'/>", Condition::BadRequest),
        ("<iq type='bogus' id='1'><q/></iq>", Condition::BadRequest),
        ("<iq id='1'><q/></iq>", Condition::BadRequest),
        ("<iq type='get' id='1'/>", Condition::BadRequest),
        ("<iq type='set' id='1'><a/><b/></iq>", Condition::BadRequest),
        (
            "<iq type='result' id='1'><a/><b/></iq>",
            Condition::BadRequest,
        ),
        ("<presence type='chat'/>", Condition::BadRequest),
    ] {
        assert_eq!(malformed(xml).condition, condition, "{xml}");
    }
    let found = malformed("<iq type='get' from='a@b/c' to='d' id='&apos;7'><a/><b/></iq>");
    assert_eq!(found.kind, Kind::Iq);
    assert_eq!(found.type_attribute.as_deref(), Some("get"));
    assert_eq!(found.id.as_deref(), Some("'7"));
    assert_eq!(found.from.expect("from").as_str(), "a@b/c");
    assert_eq!(found.to.expect("to").as_str(), "d");
    assert!(!found.is_from_forged_or_bad);
    assert!(malformed("<message from='@'/>").is_from_forged_or_bad);
}

#[test]
fn namespaces_that_are_no_uri_go_no_further() {
    let with = |ns: &str| format!("<message><x xmlns='{ns}'/></message>");
    for ns in [
        "",
        "u",
        "jabber:iq:roster",
        "vcard-temp",
        "urn:xmpp:sid:0",
        "http://jabber.org/protocol/disco#info",
        "http://example.com:5280/x?a=1&amp;b=%20",
        "//x",
        "./a:b",
        "mailto:a@b",
    ] {
        assert!(!stanza(&with(ns)).payload.is_empty(), "{ns}");
    }
    for ns in [
        "a&#10;b",
        "a b",
        " ",
        "a|b",
        "a}b",
        "a^b",
        "a\\b",
        "é",
        "1:b",
        ":b",
        "a#b#c",
        "a%",
        "a%z0",
        "a[",
        "http://a:b",
        "http://a:",
        "http://a@b",
        "http://a:999999",
    ] {
        assert_eq!(
            malformed(&with(ns)).condition,
            Condition::BadRequest,
            "{ns}"
        );
        let foreign = format!("<message xmlns:p='{ns}' p:a='1'/>");
        assert_eq!(malformed(&foreign).condition, Condition::BadRequest, "{ns}");
        // A declaration that nothing uses is not passed on.
        assert!(
            stanza(&format!("<message xmlns:p='{ns}'/>"))
                .payload
                .is_empty()
        );
    }
}

#[test]
fn headers_are_read() {
    let read = |xml: &str| match items(&mut Framer::new(TIGHT), &[xml.as_bytes()]) {
        Ok(items) => match &items[..] {
            [Item::Open(header)] => (**header).clone(),
            other => panic!("{xml}: {other:?}"),
        },
        Err(error) => panic!("{xml}: {error}"),
    };
    let header = read(HEADER);
    assert_eq!(header.to.as_deref(), Some("example.com"));
    assert_eq!(header.version.as_deref(), Some("1.0"));
    assert_eq!(header.content_ns, ns::CLIENT);
    assert!(header.stream_ns_ok);
    let header = read(
        "\n<?xml version=\"1.0\" encoding='utf-8' standalone='yes' ?>\n\
         <s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns='jabber:server' \
         from='a&amp;b' xml:lang='en' id='1'>",
    );
    assert_eq!(header.content_ns, ns::SERVER);
    assert_eq!(header.from.as_deref(), Some("a&b"));
    assert_eq!(header.lang.as_deref(), Some("en"));
    assert!(header.stream_ns_ok && header.to.is_none() && header.version.is_none());
    assert!(!read("<stream:stream xmlns:stream='u:other'>").stream_ns_ok);
    assert!(!read("<stream xmlns='jabber:client'>").stream_ns_ok);
    assert!(read("<stream xmlns='http://etherx.jabber.org/streams'>").stream_ns_ok);
}

#[test]
fn unusual_headers_are_honoured() {
    let header = "<s:stream xmlns:s='http://etherx.jabber.org/streams' xmlns:c='jabber:client' \
                  xmlns:f='u:f'>";
    let mut framer = Framer::new(TIGHT);
    let found = items(
        &mut framer,
        &[
            header.as_bytes(),
            b"<c:message f:a='1'><f:x/></c:message> <foo/></s:stream>junk",
        ],
    )
    .expect("accepted");
    let [
        Item::Open(_),
        Item::Stanza(stanza),
        Item::Whitespace,
        Item::Element(foo),
        Item::Close,
    ] = &found[..]
    else {
        panic!("{found:?}");
    };
    assert_eq!(
        stanza.to_string(),
        "<message xmlns:ns0='u:f' ns0:a='1'><x xmlns='u:f'/></message>"
    );
    assert!(foo.is("foo", ""));
    framer.restart();
    assert_eq!(
        items(&mut framer, &[HEADER.as_bytes()]).map(|i| i.len()),
        Ok(1)
    );
}
