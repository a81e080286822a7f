//! The handoff, explored exhaustively over the real lease and dirty map: `make test` runs it with `--cfg loom`.
//!
//! Producers publish, mark, look; whoever finds the lease free commits. In every interleaving that the memory model
//! allows, nothing that was published may be left behind once everybody has left (I2), and there is never more than one
//! holder (I1).
#![cfg(loom)]

use everyline::protocol::dirty::{Dirty, Slots};
use everyline::protocol::lease::{Lease, State};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;

struct Shared {
    lease: Lease,
    dirty: Dirty,
    head: [AtomicU64; 2],
    tail: [AtomicU64; 2],
    /// Written only by the holder, without any ordering of its own: loom reports a second holder as a data race.
    file: loom::cell::UnsafeCell<u64>,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            lease: Lease::new(),
            dirty: Dirty::new(),
            head: [AtomicU64::new(0), AtomicU64::new(0)],
            tail: [AtomicU64::new(0), AtomicU64::new(0)],
            file: loom::cell::UnsafeCell::new(0),
        })
    }

    fn publish(&self, slot: u16) {
        let head = &self.head[usize::from(slot)];
        head.store(head.load(Ordering::Relaxed) + 1, Ordering::Release);
        self.dirty.mark(slot);
        self.look(slot);
    }

    fn look(&self, me: u16) {
        loop {
            let seen = self.lease.load();
            if seen.state() != State::Free {
                return;
            }
            let Some(held) = self.lease.take(seen, me) else { continue };
            let mut mine = Slots::default();
            self.dirty.take(&mut mine);
            for slot in mine.iter() {
                let head = self.head[usize::from(slot)].load(Ordering::Acquire);
                let tail = self.tail[usize::from(slot)].load(Ordering::Relaxed);
                self.file.with_mut(|f| unsafe { *f += head - tail });
                self.tail[usize::from(slot)].store(head, Ordering::Release);
            }
            if !self.lease.release(held, &self.dirty) {
                return;
            }
        }
    }
}

#[test]
fn nothing_published_is_left_behind() {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(4);
    model.check(|| {
        let shared = Shared::new();
        let other = Arc::clone(&shared);
        let t = thread::spawn(move || {
            other.publish(1);
            other.publish(1);
        });
        shared.publish(0);
        shared.publish(0);
        t.join().unwrap();
        assert_eq!(shared.lease.load().state(), State::Free);
        for slot in 0..2 {
            assert_eq!(shared.head[slot].load(Ordering::Relaxed), shared.tail[slot].load(Ordering::Relaxed));
        }
        assert_eq!(shared.file.with(|f| unsafe { *f }), 4);
    });
}
