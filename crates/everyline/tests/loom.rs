//! The handoff, explored exhaustively over the real lease and dirty map: `make test` runs it with `--cfg loom`.
//!
//! Producers publish, mark, look; whoever finds the lease free commits. In every interleaving that the memory model
//! allows, nothing that was published may be left behind once everybody has left (I2), and there is never more than one
//! holder (I1). The second model adds what happens inside a process: its threads share one slot and one commit mutex,
//! and nobody waits for either.
#![cfg(loom)]

use everyline::protocol::dirty::{Dirty, Slots};
use everyline::protocol::lease::{Lease, State};
use loom::sync::atomic::{AtomicU64, Ordering, fence};
use loom::sync::{Arc, Mutex};
use loom::thread;

struct Shared {
    lease: Lease,
    dirty: Dirty,
    head: [AtomicU64; 2],
    tail: [AtomicU64; 2],
    /// Written only by the holder, without any ordering of its own: loom reports a second holder as a data race.
    file: loom::cell::UnsafeCell<u64>,
    /// Of the process in slot 0: ring mutex and commit mutex.
    ring: Mutex<()>,
    commit: Mutex<()>,
}

impl Shared {
    fn new() -> Arc<Self> {
        Arc::new(Self {
            lease: Lease::new(),
            dirty: Dirty::new(),
            head: [AtomicU64::new(0), AtomicU64::new(0)],
            tail: [AtomicU64::new(0), AtomicU64::new(0)],
            file: loom::cell::UnsafeCell::new(0),
            ring: Mutex::new(()),
            commit: Mutex::new(()),
        })
    }

    /// P2 to P4.
    fn store(&self, slot: u16) {
        let head = &self.head[usize::from(slot)];
        head.store(head.load(Ordering::Relaxed) + 1, Ordering::Release);
        self.dirty.mark(slot);
    }

    fn publish(&self, slot: u16) {
        self.store(slot);
        self.look(slot);
    }

    /// A thread of the process with several: the mutexes are taken as the engine takes them.
    fn publish_shared(&self) {
        {
            let _ring = self.ring.lock().unwrap();
            self.store(0);
        }
        loop {
            // Orders the mark before the try: whoever holds the commit mutex looks at the bits after it let go.
            fence(Ordering::SeqCst);
            let Ok(commit) = self.commit.try_lock() else { return };
            self.look(0);
            drop(commit);
            fence(Ordering::SeqCst);
            // Bits set while a thread of ours held the mutex, by one that found it taken. A lease that is held is the
            // other process's, and it looks after it released.
            if !(self.dirty.any() && self.lease.load().state() == State::Free) {
                return;
            }
        }
    }

    fn look(&self, me: u16) {
        loop {
            let seen = self.lease.load();
            if seen.state() != State::Free {
                return;
            }
            let Some(held) = self.lease.take(seen, me) else { continue };
            // As a real holder, which reads the file state before anything else orders it after its predecessor.
            // SAFETY: only the holder of the lease comes here; loom checks exactly that.
            let _ = self.file.with(|f| unsafe { *f });
            let mut mine = Slots::default();
            self.dirty.take(&mut mine);
            for slot in mine.iter() {
                let head = self.head[usize::from(slot)].load(Ordering::Acquire);
                let tail = self.tail[usize::from(slot)].load(Ordering::Relaxed);
                // SAFETY: only the holder of the lease comes here; loom checks exactly that.
                self.file.with_mut(|f| unsafe { *f += head - tail });
                self.tail[usize::from(slot)].store(head, Ordering::Release);
            }
            if !self.lease.release(held, &self.dirty) {
                return;
            }
        }
    }

    /// After everybody has left.
    fn nothing_is_left(&self, published: u64) {
        assert_eq!(self.lease.load().state(), State::Free);
        for slot in 0..2 {
            assert_eq!(self.head[slot].load(Ordering::Relaxed), self.tail[slot].load(Ordering::Relaxed));
        }
        // SAFETY: all other threads have been joined.
        assert_eq!(self.file.with(|f| unsafe { *f }), published);
    }
}

fn model(preemptions: usize, run: impl Fn() + Sync + Send + 'static) {
    let mut model = loom::model::Builder::new();
    model.preemption_bound = Some(preemptions);
    model.check(run);
}

#[test]
fn nothing_published_is_left_behind() {
    model(4, || {
        let shared = Shared::new();
        let other = Arc::clone(&shared);
        let t = thread::spawn(move || {
            other.publish(1);
            other.publish(1);
        });
        shared.publish(0);
        shared.publish(0);
        t.join().unwrap();
        shared.nothing_is_left(4);
    });
}

#[test]
fn two_threads_of_one_process_leave_nothing_behind() {
    model(4, || {
        let shared = Shared::new();
        let thread = Arc::clone(&shared);
        let t = thread::spawn(move || {
            thread.publish_shared();
            thread.publish_shared();
        });
        shared.publish_shared();
        t.join().unwrap();
        shared.nothing_is_left(3);
    });
}

#[test]
fn two_threads_and_another_process_leave_nothing_behind() {
    model(3, || {
        let shared = Shared::new();
        let (thread, other) = (Arc::clone(&shared), Arc::clone(&shared));
        let t = thread::spawn(move || thread.publish_shared());
        let o = thread::spawn(move || other.publish(1));
        shared.publish_shared();
        t.join().unwrap();
        o.join().unwrap();
        shared.nothing_is_left(3);
    });
}
