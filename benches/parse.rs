//! What is done with a canonical stanza: finding a child, building a tree, writing it out.

use std::hint::black_box;
use std::time::Duration;

use bytes::BytesMut;
use couplet_edge::framing::{Budget, Framer, Item};
use couplet_proto::{Element, Jid, Stanza};
use criterion::{Criterion, criterion_group, criterion_main};

const STREAM: &str = "<stream:stream xmlns='jabber:client' \
     xmlns:stream='http://etherx.jabber.org/streams'><iq type='set' id='r1' \
     to='juliet@capulet.example'><query xmlns='jabber:iq:roster'>\
     <item jid='romeo@montague.example' \
     name='Romeo &amp; co' subscription='both'><group>Friends</group></item></query></iq>";

fn stanza() -> Stanza {
    let mut framer = Framer::new(Budget::AFTER_AUTH);
    let mut input = STREAM.as_bytes();
    assert!(matches!(framer.next(&mut input), Ok(Some(Item::Open(_)))));
    match framer.next(&mut input) {
        Ok(Some(Item::Stanza(stanza))) => stanza,
        other => panic!("{other:?}"),
    }
}

fn parse(c: &mut Criterion) {
    let stanza = stanza();
    let mut group = c.benchmark_group("parse");
    group.warm_up_time(Duration::from_secs(1));
    group.bench_function("find a child", |b| {
        b.iter(|| {
            black_box(&stanza)
                .payload
                .find("query", "jabber:iq:roster")
                .is_some()
        });
    });
    group.bench_function("a child as a tree", |b| {
        b.iter(|| black_box(&stanza).first().map(|child| child.element()));
    });
    let tree: Element = stanza.first().expect("a child").element();
    group.bench_function("a tree as a child", |b| {
        b.iter(|| Stanza::new(stanza.kind, stanza.type_).child(black_box(&tree)));
    });
    group.bench_function("write", |b| {
        let mut out = BytesMut::with_capacity(1024);
        b.iter(|| {
            out.clear();
            black_box(&stanza).write(&mut out);
        });
    });
    for (name, jid) in [
        ("address", "juliet@capulet.example/balcony"),
        ("address to prepare", "Juliet@Capulet.example/balcony"),
        ("address beyond ASCII", "jülíet@capulet.example/balcony"),
    ] {
        group.bench_function(name, |b| b.iter(|| Jid::parse(black_box(jid))));
    }
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
