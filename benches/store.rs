//! How many commits the embedded store makes durable: one after the other, and many at once.
//!
//! A commit is what an offline message costs: one entry of 400 bytes in a log. Every one is
//! synchronised to the disk of the folder for temporary files, so set `TMPDIR` to a folder on the
//! disk that is asked about. Reads are of a store that was just written.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use couplet_origin::store::embedded::{Embedded, Options};
use couplet_origin::store::{Batch, Log, LogId, Span, Store, Table, Write};
use couplet_proto::Jid;
use couplet_proto::link::epoch::Epoch;
use couplet_proto::slot::Slot;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tokio::runtime::Runtime;

const LOG: Log = Log {
    id: 250,
    name: "bench log",
};
const ROWS: Table = Table {
    id: 250,
    name: "bench rows",
    is_resident: true,
};
const ACCOUNTS: u64 = 1000;

struct Bench {
    runtime: Runtime,
    store: Arc<Embedded>,
    epoch: Epoch,
    next: u64,
    _folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let runtime = Runtime::new().expect("a runtime");
        let folder = tempfile::tempdir().expect("a folder");
        let store = Embedded::open(folder.path(), Options::default()).expect("opens");
        let claimed = runtime.block_on(store.claim("bench", Slot::all().collect()));
        let epoch = claimed.expect("claimed")[0].1;
        Self {
            runtime,
            store: Arc::new(store),
            epoch,
            next: 0,
            _folder: folder,
        }
    }

    /// The time `count` commits take when `at_once` are under way all the time.
    fn commits(&mut self, count: u64, at_once: u64) -> Duration {
        let first = self.next;
        self.next += count;
        let end = self.next;
        let started = Instant::now();
        let tasks: Vec<_> = (first..first + at_once)
            .map(|begin| {
                let (store, epoch) = (Arc::clone(&self.store), self.epoch);
                self.runtime.spawn(async move {
                    for number in (begin..end).step_by(at_once as usize) {
                        let batch = append(store.as_ref(), epoch, number);
                        store.commit(batch).await.expect("committed");
                    }
                })
            })
            .collect();
        for task in tasks {
            self.runtime.block_on(task).expect("done");
        }
        started.elapsed()
    }
}

fn owner(number: u64) -> Jid {
    Jid::parse(&format!("user{}@localhost", number % ACCOUNTS)).expect("valid")
}

fn append(store: &Embedded, epoch: Epoch, number: u64) -> Batch {
    let owner = owner(number);
    let id = LogId {
        millis: number,
        count: 0,
    };
    let value = Bytes::from(vec![b'x'; 400]);
    let write = Write::Append {
        log: LOG,
        id,
        value,
    };
    Batch {
        slot: Slot::of(store.seed(), &owner),
        epoch,
        writes: vec![(owner, write)],
    }
}

fn commits(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store/commit");
    group.throughput(Throughput::Elements(1));
    for at_once in [1, 64] {
        let mut bench = Bench::new();
        group.bench_function(format!("{at_once} at once"), |bencher| {
            bencher.iter_custom(|count| bench.commits(count, at_once));
        });
    }
    group.finish();
}

fn reads(criterion: &mut Criterion) {
    let mut bench = Bench::new();
    bench.commits(20_000, 64);
    let mut group = criterion.benchmark_group("store/read");
    let (store, seed) = (Arc::clone(&bench.store), bench.store.seed());
    let mut number = 0;
    group.bench_function("get, absent", |bencher| {
        bencher.iter(|| {
            number += 1;
            let owner = owner(number);
            let got = store.get(Slot::of(seed, &owner), owner, ROWS, "none".into());
            bench.runtime.block_on(got).expect("read")
        });
    });
    group.bench_function("load", |bencher| {
        bencher.iter(|| {
            number += 1;
            let owner = owner(number);
            let loaded = store.load(Slot::of(seed, &owner), owner);
            bench.runtime.block_on(loaded).expect("loaded")
        });
    });
    group.bench_function("a page of 20", |bencher| {
        bencher.iter(|| {
            number += 1;
            let owner = owner(number);
            let page = store.read_log(Slot::of(seed, &owner), owner, LOG, Span::ALL, 20);
            bench.runtime.block_on(page).expect("read")
        });
    });
    group.finish();
}

criterion_group!(benches, commits, reads);
criterion_main!(benches);
