//! Bytes and stanzas per second through the framer, from the socket's bytes to canonical items.

use std::hint::black_box;
use std::time::Duration;

use couplet_edge::framing::{Budget, Framer, Item};
use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};

const HEADER: &str = "<?xml version='1.0'?><stream:stream to='example.com' version='1.0' \
     xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams'>";

/// A chat message as clients send it: 426 bytes, one reference, three extensions.
const CHAT: &str = "<message xmlns=\"jabber:client\" to=\"juliet@capulet.example/balcony\" \
     type=\"chat\" id=\"3f6c2c1e-7b5e-4d6a-9b6f\" xml:lang=\"en\"><body>Wherefore art thou, Romeo \
     &amp; company? Deny thy father and refuse thy name tonight, and be a Capulet again.</body>\
     <active xmlns=\"http://jabber.org/protocol/chatstates\"/><request \
     xmlns=\"urn:xmpp:receipts\"/>\
     <origin-id xmlns=\"urn:xmpp:sid:0\" id=\"3f6c2c1e-7b5e-4d6a-9b6f-0a1b2c3d4e5f6071\"/>\
     </message>";

const PRESENCE: &str = "<presence/>";

const PING: &str = "<iq type='get' id='p1' to='example.com'><ping xmlns='urn:xmpp:ping'/></iq>";

fn opened() -> Framer {
    let mut framer = Framer::new(Budget::AFTER_AUTH);
    let open = framer.next(&mut HEADER.as_bytes());
    assert!(matches!(open, Ok(Some(Item::Open(_)))));
    framer
}

fn feed(framer: &mut Framer, mut bytes: &[u8]) -> usize {
    let mut items = 0;
    while let Some(item) = framer.next(&mut bytes).expect("accepted") {
        black_box(item);
        items += 1;
    }
    items
}

fn framing(c: &mut Criterion) {
    assert_eq!(CHAT.len(), 426);
    let pictures = format!("<message><body>{}</body></message>", "QUJD".repeat(16_000));
    let mut group = c.benchmark_group("framing");
    group.warm_up_time(Duration::from_secs(1));
    for (name, xml) in [
        ("chat", CHAT),
        ("presence", PRESENCE),
        ("ping", PING),
        ("64 KiB body", &pictures),
    ] {
        group.throughput(Throughput::Bytes(xml.len() as u64));
        group.bench_with_input(BenchmarkId::new("whole", name), xml, |b, xml| {
            let mut framer = opened();
            b.iter(|| assert_eq!(feed(&mut framer, xml.as_bytes()), 1));
        });
        group.bench_with_input(BenchmarkId::new("in three parts", name), xml, |b, xml| {
            let mut framer = opened();
            b.iter(|| {
                let parts = xml.as_bytes().chunks(xml.len().div_ceil(3));
                parts.map(|part| feed(&mut framer, part)).sum::<usize>()
            });
        });
    }
    let batch = CHAT.repeat(32);
    group.throughput(Throughput::Elements(32));
    group.bench_function("32 chats in one read", |b| {
        let mut framer = opened();
        b.iter(|| assert_eq!(feed(&mut framer, batch.as_bytes()), 32));
    });
    group.finish();
}

criterion_group!(benches, framing);
criterion_main!(benches);
