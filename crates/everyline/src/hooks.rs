//! What happens at a fork, through `pthread_atfork`: threads end before it, borrowed locks are let go in the child.
//!
//! Nothing depends on these hooks for safety (a raw `clone` runs none): the authority is `fork::generation`. They keep
//! background threads from being alive at a fork, and a lock that was held for a moment from living on in a child.

use std::sync::Once;

/// Registers the hooks, once.
pub fn install() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        // SAFETY: the functions have the right signature and stay for the life of the process. The child hook only
        // stores to atomics and closes descriptors, which is allowed there.
        unsafe { libc::pthread_atfork(Some(before), None, Some(in_child)) };
    });
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
