//! What is refused, and with which condition.

use couplet_proto::xmpp::error::StreamCondition as Stream;

use super::*;

/// Checks that `bytes` are refused with `condition`, whole and byte by byte.
fn refused(before: &str, bytes: &[u8], condition: Stream) {
    let shown = String::from_utf8_lossy(bytes);
    let whole = items(&mut Framer::new(TIGHT), &[before.as_bytes(), bytes]);
    let cut: Vec<&[u8]> = bytes.chunks(1).collect();
    let mut framer = Framer::new(TIGHT);
    items(&mut framer, &[before.as_bytes()]).expect("a good beginning");
    let cut = items(&mut framer, &cut);
    assert_eq!(whole.map_err(|e| e.condition), Err(condition), "{shown}");
    assert_eq!(cut.map_err(|e| e.condition), Err(condition), "cut: {shown}");
    assert!(!framer.is_midway());
}

#[test]
fn beginnings_that_are_no_stream_are_refused() {
    for (bytes, condition) in [
        (&b"GET / HTTP/1.1\r\n\r\n"[..], Stream::NotWellFormed),
        (b"\x16\x03\x01\x02\x00\x01", Stream::NotWellFormed),
        (b"SSH-2.0-OpenSSH_9.6\r\n", Stream::NotWellFormed),
        (b"\xEF\xBB\xBF<?xml version='1.0'?>", Stream::NotWellFormed),
        (b"\xFE\xFF\0<\0?", Stream::UnsupportedEncoding),
        (b"\xFF\xFE<\0?\0", Stream::UnsupportedEncoding),
        (b"<\0?\0x\0", Stream::UnsupportedEncoding),
        (b"\0<\0?", Stream::UnsupportedEncoding),
        (
            b"<?xml version='1.0' encoding='iso-8859-1'?>",
            Stream::UnsupportedEncoding,
        ),
        (
            b"<?xml version='1.0' encoding='UTF-16'?>",
            Stream::UnsupportedEncoding,
        ),
        (b"<?xml version='1.1'?>", Stream::NotWellFormed),
        (b"<?xml encoding='UTF-8'?>", Stream::NotWellFormed),
        (
            b"<?xml version='1.0'encoding='UTF-8'?>",
            Stream::NotWellFormed,
        ),
        (
            b"<?xml encoding='UTF-8' version='1.0'?>",
            Stream::NotWellFormed,
        ),
        (
            b"<?xml version='1.0' standalone='no'?>",
            Stream::RestrictedXml,
        ),
        (b"<?xml ?>", Stream::NotWellFormed),
        (
            b"<?xml version='1.0'?><?xml version='1.0'?>",
            Stream::NotWellFormed,
        ),
        (b"<?php ?>", Stream::RestrictedXml),
        (b"<?xml-stylesheet ?>", Stream::RestrictedXml),
        (b"<!DOCTYPE x [<!ENTITY a 'aa'>]>", Stream::RestrictedXml),
        (b"<!-- -->", Stream::RestrictedXml),
        (b"<![CDATA[x]]>", Stream::NotWellFormed),
        (b"</stream:stream>", Stream::NotWellFormed),
        (b"<message/>", Stream::BadFormat),
        (
            b"<stream:stream xmlns:stream='http://etherx.jabber.org/streams'/>",
            Stream::BadFormat,
        ),
        (b"<html>", Stream::BadFormat),
        (b"<stream:stream>", Stream::NotWellFormed),
        (
            b"<stream:stream xmlns:stream='a' xmlns:stream='a'>",
            Stream::NotWellFormed,
        ),
    ] {
        refused("", bytes, condition);
    }
    let long = format!("<stream:stream a='{}'>", "x".repeat(9000));
    refused("", long.as_bytes(), Stream::PolicyViolation);
    let mut framer = Framer::new(Budget::AFTER_AUTH);
    let error = items(&mut framer, &[long.as_bytes()]).expect_err("too long at any time");
    assert_eq!(error.condition, Stream::PolicyViolation);
}

#[test]
fn restricted_xml_is_refused() {
    for xml in [
        "<!DOCTYPE x>",
        "<!DOCTYPE x SYSTEM 'file:///etc/passwd'>",
        "<!-- -->",
        "<?php ?>",
        "<message><!-- --></message>",
        "<message><?xml version='1.0'?></message>",
        "<message><!ENTITY a 'b'></message>",
        "<message><body>&lol;</body></message>",
        "<message><body a='&lol;'/></message>",
        "<message id='&lol;'/>",
        "<message><x xml:id='&lol;'/></message>",
        "<message odd='&lol;' xmlns:p='&lol;'/>",
    ] {
        refused(HEADER, xml.as_bytes(), Stream::RestrictedXml);
    }
}

#[test]
fn what_is_not_well_formed_is_refused() {
    for xml in NOT_WELL_FORMED {
        refused(HEADER, xml.as_bytes(), Stream::NotWellFormed);
    }
    for bytes in [
        &b"<message>\xC0\x80</message>"[..],
        b"<message>\xED\xA0\x80</message>",
        b"<message>\xEB</message>",
        b"<message>\xEB<x/></message>",
        b"<message>\xF8\x88\x80\x80\x80</message>",
        b"<message>\xF4\x90\x80\x80</message>",
        b"<message a='\xFF'/>",
        b"<m\xFF/>",
        // Refused without waiting for the end of the element.
        b"<message><body>\xC0",
        b"<message><body>\x00",
        b"<message to='\x0B",
        b"<message><body>\xEF\xBF\xBE ",
    ] {
        refused(HEADER, bytes, Stream::NotWellFormed);
    }
}

const NOT_WELL_FORMED: &[&str] = &[
    "text",
    "<message/>text",
    "<![CDATA[ ]]>",
    "</message>",
    "</stream:streams>",
    "</ stream:stream>",
    "<message></iq>",
    "<message><a></b></message>",
    "<message></message b='c'>",
    "<message></ message>",
    "<message><a></message></a>",
    "< message/>",
    "<message / ></message>",
    "<message/ ></message/>",
    "<>",
    "<1/>",
    "<-a/>",
    "<message><1a/></message>",
    "<message><a!b/></message>",
    "<message><a;b/></message>",
    "<message><a\u{d7}/></message>",
    "<message><a\u{2c00}/></message>",
    "<message><:a/></message>",
    "<message><a:/></message>",
    "<message xmlns:a='u:a'><a:b:c/></message>",
    "<message xmlns:a='u:a'><a:1/></message>",
    "<message a/>",
    "<message a=b/>",
    "<message a='b'c='d'/>",
    "<message'a'/>",
    "<message 'a'='b'/>",
    "<message a='b' a='c'/>",
    "<message a='<'/>",
    "<message a='&'/>",
    "<message a='&;'/>",
    "<message a='&amp'/>",
    "<message 1='b'/>",
    "<message a:b='c'/>",
    "<message><a:b/></message>",
    "<message xmlns:p='u:p' xmlns:q='u:p' p:b='1' q:b='2'/>",
    "<message a1='' a2='' a3='' a4='' a5='' a6='' a7='' a8='' a9='' a1=''/>",
    "<message xmlns:p=''/>",
    "<message xmlns:p='u' xmlns:p='u'/>",
    "<message xmlns='jabber:client' xmlns='jabber:client'/>",
    "<message xmlns:xml='u'/>",
    "<message xmlns:p='http://www.w3.org/XML/1998/namespace'/>",
    "<message xmlns='http://www.w3.org/2000/xmlns/'/>",
    "<message xmlns:xmlns='u'/>",
    "<message><xmlns:a/></message>",
    "<message><xml:a/></message>",
    "<message>]]></message>",
    "<message>&</message>",
    "<message>& </message>",
    "<message>&amp</message>",
    "<message>&#0;</message>",
    "<message>&#1;</message>",
    "<message>&#xFFFE;</message>",
    "<message>&#xD800;</message>",
    "<message>&#x110000;</message>",
    "<message>&#X41;</message>",
    "<message>&#+65;</message>",
    "<message>&#;</message>",
    "<message>&#x;</message>",
    "<message>&1;</message>",
    "<message a='&#0;'/>",
    "<message>\u{0}</message>",
    "<message>\u{b}</message>",
    "<message>\u{ffff}</message>",
    "<message><![cdata[ ]]></message>",
    "<message><![CDATA [ ]]></message>",
    "<message><!1",
    "<message><a<b/></message>",
    "<message></message<",
];

#[test]
fn a_second_header_is_refused() {
    for xml in [
        HEADER,
        "<stream:stream>",
        "<stream:stream to='a' version='1.0'>",
        "<stream:stream/>",
        "<stream xmlns='http://etherx.jabber.org/streams'>",
        "<message><stream:stream/></message>",
    ] {
        refused(HEADER, xml.as_bytes(), Stream::BadFormat);
    }
}
