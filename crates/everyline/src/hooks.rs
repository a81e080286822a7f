//! What happens at a fork, through `pthread_atfork`: threads end before it, borrowed locks are let go in the child.
//!
//! Nothing depends on these hooks for safety (a raw `clone` runs none): the authority is `fork::generation`. They keep
//! background threads from being alive at a fork, and a lock that was held for a moment from living on in a child.

use std::sync::atomic::{AtomicBool, Ordering};

static INSTALLED: AtomicBool = AtomicBool::new(false);

/// Registers the hooks. Not by a `Once`: a child forked while another thread is in it would wait for that thread for ever.
/// Two threads that come at the same time register them twice, which does no harm.
pub fn install() {
    if INSTALLED.load(Ordering::Relaxed) {
        return;
    }
    // SAFETY: the functions have the right signature and stay for the life of the process. The child hook only
    // stores to atomics and closes descriptors, which is allowed there.
    unsafe { libc::pthread_atfork(Some(before), None, Some(in_child)) };
    INSTALLED.store(true, Ordering::Relaxed);
}

/// Before: ends the background threads. They come back with the next record. No lock is held when this returns.
extern "C" fn before() {
    for engine in crate::attach::engines() {
        engine.stop_threads();
    }
}

extern "C" fn in_child() {
    crate::os::close_transient();
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use crate::{Appender, Commit};

    /// Its journal was replaced and another appender has left it, but one that has not noticed is in a call.
    #[test]
    fn an_engine_that_was_left_has_no_thread_at_a_fork_either() {
        let dir = tempfile::tempdir().expect("a directory");
        let open = || Appender::builder(dir.path().join("app.log")).commit(Commit::Deferred).open().expect("a log");
        let (idle, other) = (open(), open());
        let left = idle.engine().expect("attached");
        std::fs::remove_dir_all(dir.path().join(".app.log.everyline")).expect("a journal");
        let started = Instant::now();
        while other.engine().is_none_or(|engine| std::sync::Arc::ptr_eq(&engine, &left)) {
            assert!(started.elapsed() < Duration::from_secs(20), "the other never noticed");
            other.append(b"x\n").expect("accepted");
            std::thread::sleep(Duration::from_millis(1));
        }
        // What a call under way does.
        left.thread.notify(&left);
        assert!(left.thread.is_started());
        super::before();
        assert!(!left.thread.is_started());
    }
}
