//! Hostile XML from strangers: what the framer must refuse, and how little it may cost.

use crate::harness::attack::{STRANGER, before_login, cut_off, first_bytes, under_attack};
use crate::harness::client::{Client, STREAM, header};

const POLICY: &[&str] = &["policy-violation"];
const RESTRICTED: &[&str] = &["restricted-xml"];
const MALFORMED: &[&str] = &["not-well-formed"];

/// A list of inputs, each on a connection of its own, before the stream header and after it.
fn refused_anywhere(inputs: &[&[u8]], conditions: &[&str]) {
    let connections = u64::try_from(inputs.len()).expect("a small number") * 2;
    under_attack(connections, STRANGER, |server| {
        for input in inputs {
            first_bytes(server, input, conditions);
            before_login(server, input, conditions);
        }
    });
}

/// A list of inputs, each on an open stream of its own.
fn refused_in_stream(inputs: &[&[u8]], conditions: &[&str]) {
    let connections = u64::try_from(inputs.len()).expect("a small number");
    under_attack(connections, STRANGER, |server| {
        for input in inputs {
            before_login(server, input, conditions);
        }
    });
}

#[test]
fn a01_a03_document_types_are_refused() {
    let mut laughs = String::from("<!DOCTYPE lolz [<!ENTITY lol0 \"ha\">");
    for level in 1..10 {
        let before = format!("&lol{};", level - 1).repeat(10);
        laughs.push_str(&format!("<!ENTITY lol{level} \"{before}\">"));
    }
    laughs.push_str("]><lolz>&lol9;</lolz>");
    refused_anywhere(
        &[
            b"<!DOCTYPE x [<!ENTITY a \"aa\">]>",
            laughs.as_bytes(),
            b"<!DOCTYPE x [<!ENTITY e SYSTEM \"file:///etc/passwd\">]><x>&e;</x>",
            b"<!DOCTYPE x PUBLIC \"-//X//Y\" \"http://nowhere.example/x.dtd\">",
            b"<!ENTITY a \"aa\">",
        ],
        RESTRICTED,
    );
}

#[test]
fn a06_children_without_end_are_refused() {
    under_attack(2, STRANGER, |server| {
        let children = format!("<iq type='set' id='1'>{}", "<a/>".repeat(40));
        before_login(server, children.as_bytes(), POLICY);
        // Few elements, but more bytes than a stranger may send.
        let text = format!("<iq type='set' id='1'><a>{}", "x".repeat(8 * 1024));
        before_login(server, text.as_bytes(), POLICY);
    });
}

#[test]
fn a06_children_without_end_do_not_fill_the_memory() {
    under_attack(1, STRANGER, |server| {
        let mut client = Client::connect(server.c2s);
        client.open("montague.lit");
        let children = format!("<iq type='set' id='1'>{}", "<a/>".repeat(1_000_000));
        cut_off(client, children.as_bytes());
    });
}

#[test]
fn a07_deep_nesting_is_refused() {
    under_attack(2, STRANGER, |server| {
        before_login(server, "<a>".repeat(10).as_bytes(), POLICY);
        let mut client = Client::connect(server.c2s);
        client.open("montague.lit");
        cut_off(client, "<a>".repeat(100_000).as_bytes());
    });
}

#[test]
fn a08_many_attributes_are_refused() {
    let tag = |count: usize| {
        let list: String = (0..count).map(|number| format!(" a{number}='1'")).collect();
        format!("<iq{list}/>")
    };
    under_attack(2, STRANGER, |server| {
        before_login(server, tag(17).as_bytes(), POLICY);
        let mut client = Client::connect(server.c2s);
        client.open("montague.lit");
        cut_off(client, tag(80_000).as_bytes());
    });
}

#[test]
fn a09_many_namespaces_are_refused() {
    let tag = |count: usize| {
        let list: String = (0..count)
            .map(|number| format!(" xmlns:p{number}='u:{number}'"))
            .collect();
        format!("<iq{list}/>")
    };
    under_attack(2, STRANGER, |server| {
        before_login(server, tag(9).as_bytes(), POLICY);
        let mut client = Client::connect(server.c2s);
        client.open("montague.lit");
        cut_off(client, tag(20_000).as_bytes());
    });
}

#[test]
fn a10_long_tokens_are_refused() {
    let long = "x".repeat(9 * 1024);
    let inputs = [
        format!("<iq id='{long}"),
        format!("<iq id='{long}'/>"),
        format!("<{long}"),
        format!("<iq {long}"),
        format!("<iq><a>{long}"),
        format!("<iq><a><![CDATA[{long}"),
        format!("</{long}"),
    ];
    let inputs: Vec<&[u8]> = inputs.iter().map(String::as_bytes).collect();
    refused_in_stream(&inputs, POLICY);
    under_attack(3, STRANGER, |server| {
        let huge = "x".repeat(4 * 1024 * 1024);
        for input in [
            format!("<iq id='{huge}"),
            format!("<{huge}"),
            format!("<iq><a>{huge}"),
        ] {
            let mut client = Client::connect(server.c2s);
            client.open("montague.lit");
            cut_off(client, input.as_bytes());
        }
    });
}

#[test]
fn a11_comments_and_processing_instructions_are_refused() {
    refused_anywhere(
        &[b"<!-- -->", b"<?php ?>", b"<?xml-stylesheet href='x'?>"],
        RESTRICTED,
    );
    refused_in_stream(
        &[
            b"<iq type='get' id='1'><!-- --><ping xmlns='urn:xmpp:ping'/></iq>",
            b"<iq type='get' id='1'><?php ?><ping xmlns='urn:xmpp:ping'/></iq>",
            b"<iq type='get' id='1'><!DOCTYPE x><ping xmlns='urn:xmpp:ping'/></iq>",
        ],
        RESTRICTED,
    );
}

#[test]
fn a12_unknown_entities_are_not_expanded() {
    refused_in_stream(
        &[
            b"<iq type='get' id='1'><a>&lol;</a></iq>",
            b"<iq type='get' id='&lol;'/>",
            b"<iq type='get' id='1'><a>&nbsp;</a></iq>",
        ],
        &["restricted-xml", "not-well-formed"],
    );
}

#[test]
fn a13_characters_that_xml_does_not_allow_are_refused() {
    refused_in_stream(
        &[
            b"<iq type='get' id='1'><a>&#0;</a></iq>",
            b"<iq type='get' id='1'><a>&#x0;</a></iq>",
            b"<iq type='get' id='1'><a>&#xFFFE;</a></iq>",
            b"<iq type='get' id='1'><a>&#xD800;</a></iq>",
            b"<iq type='get' id='1'><a>&#x110000;</a></iq>",
            b"<iq type='get' id='1'><a>&#99999999999999999999;</a></iq>",
            b"<iq type='get' id='1'><a>&#;</a></iq>",
            b"<iq type='get' id='&#1;'/>",
            b"<iq type='get' id='1'><a>\x00</a></iq>",
            b"<iq type='get' id='1'><a>\x0b</a></iq>",
            b"<iq type='get' id='\x00'/>",
            b"<iq type='get' id='1'><a>\xef\xbf\xbe</a></iq>",
        ],
        MALFORMED,
    );
}

#[test]
fn a14_bytes_that_are_not_utf_8_are_refused() {
    refused_in_stream(
        &[
            b"<iq type='get' id='1'><a>\xc0\x80</a></iq>",
            b"<iq type='get' id='1'><a>\xed\xa0\x80</a></iq>",
            b"<iq type='get' id='1'><a>\xeb\x3c</a></iq>",
            b"<iq type='get' id='1'><a>\xf8\x88\x80\x80\x80</a></iq>",
            b"<iq type='get' id='1'><a>\xf4\x90\x80\x80</a></iq>",
            b"<iq type='get' id='\xff'/>",
            b"<\xc3/>",
            b"<iq type='get' id='1'><a b\xff='1'/></iq>",
        ],
        MALFORMED,
    );
}

#[test]
fn a15_other_encodings_are_refused() {
    let declared = |encoding: &str| {
        header("montague.lit").replace(
            "version='1.0'?>",
            &format!("version='1.0' encoding='{encoding}'?>"),
        )
    };
    let utf_16 = |bom: [u8; 2], swap: bool| {
        let mut bytes = bom.to_vec();
        for unit in header("montague.lit").encode_utf16() {
            let unit = if swap {
                unit.to_be_bytes()
            } else {
                unit.to_le_bytes()
            };
            bytes.extend_from_slice(&unit);
        }
        bytes
    };
    under_attack(4, STRANGER, |server| {
        for encoding in ["iso-8859-1", "utf-16"] {
            first_bytes(
                server,
                declared(encoding).as_bytes(),
                &["unsupported-encoding"],
            );
        }
        first_bytes(
            server,
            &utf_16([0xff, 0xfe], false),
            &["unsupported-encoding"],
        );
        first_bytes(
            server,
            &utf_16([0xfe, 0xff], true),
            &["unsupported-encoding"],
        );
        let mut client = Client::connect(server.c2s);
        client.send(&declared("utf-8"));
        client.expect_header();
        client.cut();
    });
}

#[test]
fn a16_other_versions_of_xml_are_refused() {
    let declared = |declaration: &str| {
        let header = header("montague.lit");
        header.replace("<?xml version='1.0'?>", declaration)
    };
    under_attack(4, STRANGER, |server| {
        for declaration in [
            "<?xml version='1.1'?>",
            "<?xml version='1.0' standalone='no'?>",
            "<?xml?>",
            "<?xml version='1.0'?><?xml version='1.0'?>",
        ] {
            let conditions = ["not-well-formed", "restricted-xml"];
            first_bytes(server, declared(declaration).as_bytes(), &conditions);
        }
    });
}

#[test]
fn a17_duplicate_attributes_are_refused() {
    refused_in_stream(
        &[
            b"<iq id='1' id='2' type='get'/>",
            b"<iq id='1' type='get'><a xmlns:p='u' xmlns:q='u' p:b='1' q:b='2'/></iq>",
            b"<iq id='1' type='get'><a xmlns='u' xmlns='u'/></iq>",
        ],
        MALFORMED,
    );
}

#[test]
fn a18_prefixes_without_meaning_are_refused() {
    refused_in_stream(
        &[
            b"<p:iq type='get' id='1'/>",
            b"<iq type='get' id='1'><p:a/></iq>",
            b"<iq type='get' id='1'><a p:b='1'/></iq>",
            b"<iq type='get' id='1' xmlns:p=''/>",
            b"<iq type='get' id='1' xmlns:xml='urn:x'/>",
            b"<iq type='get' id='1' xmlns:p='http://www.w3.org/XML/1998/namespace'/>",
            b"<iq type='get' id='1' xmlns:xmlns='urn:x'/>",
            b"<iq type='get' id='1' xmlns:p='http://www.w3.org/2000/xmlns/'/>",
            b"<a:b:c xmlns:a='urn:x'/>",
            b"<:a/>",
            b"<a:/>",
        ],
        &["not-well-formed", "bad-namespace-prefix"],
    );
}

#[test]
fn a19_other_malformed_xml_is_refused() {
    refused_in_stream(
        &[
            b"<iq type='get' id='<'/>",
            b"<iq type='get' id='1'><a>]]></a></iq>",
            b"<iq type='get' id='1'><a></b></iq>",
            b"<iq type='get' id=1/>",
            b"<iq type='get'id='1'/>",
            b"<iq type/>",
            b"<1a/>",
            b"<a!b/>",
            b"< a/>",
            b"<iq type='get' id='1'><a>&</a></iq>",
            b"<iq type='get' id='1'><a>&amp</a></iq>",
            b"text",
            b"</iq>",
            b"<a//>",
            b"<![CDATA[x]]>",
        ],
        MALFORMED,
    );
}

#[test]
fn a20_headers_in_other_namespaces_are_refused() {
    let stream = |prefix: &str, ns: &str, content: &str| {
        format!(
            "<{prefix}:stream xmlns='{content}' xmlns:{prefix}='{ns}' to='montague.lit' \
             version='1.0'>"
        )
    };
    under_attack(4, STRANGER, |server| {
        let wrong = ["invalid-namespace"];
        let bytes = stream("stream", STREAM, "jabber:server");
        first_bytes(server, bytes.as_bytes(), &wrong);
        let bytes = stream("stream", "http://etherx.jabber.org/stream", "jabber:client");
        first_bytes(server, bytes.as_bytes(), &wrong);
        let bytes = stream("stream", STREAM, "urn:example");
        first_bytes(server, bytes.as_bytes(), &wrong);
        // Any prefix means the same.
        let mut client = Client::connect(server.c2s);
        client.send(&stream("s", STREAM, "jabber:client"));
        client.expect_header();
        assert_eq!(client.next().name, "features");
        client.send("</s:stream>");
        assert_eq!(client.read_to_end(), None);
        // A stream that is none.
        first_bytes(
            server,
            b"<html xmlns='jabber:client'>",
            &["bad-format", "invalid-namespace"],
        );
    });
}

#[test]
fn a21_headers_for_nobody_are_refused() {
    let with = |attributes: &str| {
        format!("<stream:stream xmlns='jabber:client' xmlns:stream='{STREAM}' {attributes}>")
    };
    under_attack(8, STRANGER, |server| {
        let unknown = ["host-unknown"];
        first_bytes(
            server,
            with("to='nope.example' version='1.0'").as_bytes(),
            &unknown,
        );
        first_bytes(server, with("to='' version='1.0'").as_bytes(), &unknown);
        first_bytes(server, with("to='a b' version='1.0'").as_bytes(), &unknown);
        let missing = ["host-unknown", "improper-addressing"];
        first_bytes(server, with("version='1.0'").as_bytes(), &missing);
        let version = ["unsupported-version"];
        first_bytes(server, with("to='montague.lit'").as_bytes(), &version);
        first_bytes(
            server,
            with("to='montague.lit' version='x'").as_bytes(),
            &version,
        );
        let mut client = Client::connect(server.c2s);
        client.send(&with("to='montague.lit' version='9.0'"));
        assert_eq!(client.expect_header().get("version"), Some("1.0"));
        client.cut();
    });
}

#[test]
fn a22_other_protocols_are_turned_away() {
    under_attack(4, STRANGER, |server| {
        let hello = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03";
        let inputs: [&[u8]; 4] = [
            b"GET / HTTP/1.1\r\nHost: montague.lit\r\n\r\n",
            hello,
            b"SSH-2.0-OpenSSH_9.9\r\n",
            b"EHLO montague.lit\r\n",
        ];
        for input in inputs {
            let mut client = Client::connect(server.c2s);
            let _ = client.send_bytes(input);
            client.ends_with("not-well-formed");
            assert!(client.transcript().len() < 1024, "{}", client.transcript());
        }
    });
}

#[test]
fn a23_whitespace_counts_before_login() {
    under_attack(2, STRANGER, |server| {
        before_login(server, " ".repeat(9 * 1024).as_bytes(), POLICY);
        first_bytes(
            server,
            " ".repeat(9 * 1024).as_bytes(),
            &["policy-violation", "not-well-formed"],
        );
        let mut client = Client::connect(server.c2s);
        client.open("montague.lit");
        cut_off(client, " \n".repeat(25_000).as_bytes());
    });
}
