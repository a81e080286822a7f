//! Named steps of commit, rotation and recovery, at which tests kill the process.
//!
//! In ordinary builds [`step!`] is nothing. With the feature `torture` it reads `EVERYLINE_CRASH=name:count` and sends
//! SIGKILL to its own process at the `count`-th passing; in the crate's own tests it asks the simulated environment.
//! [`ALL`] is the list that the torture runs go through; a step that is not in it does not compile.

macro_rules! steps {
    ($($(#[$doc:meta])* $name:ident = $text:literal),* $(,)?) => {
        /// A place in the protocol where dying matters.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Step { $($(#[$doc])* $name),* }

        /// Every step, with the name that `EVERYLINE_CRASH` knows it by.
        #[cfg(feature = "torture")]
        pub const ALL: &[(Step, &str)] = &[$((Step::$name, $text)),*];
    };
}

steps! {
    /// A record is in the ring, `head` is not stored.
    PublishCopied = "publish-copied",
    /// `head` is stored, the dirty bit is not set.
    PublishHead = "publish-head",
    /// The frame is in the overflow file, `over_len` is not stored.
    OverflowWritten = "overflow-written",
    /// The lease is ours, nothing is done yet.
    Acquired = "acquired",
    /// A dead holder's note is copied, the lease is not taken.
    NoteCopied = "note-copied",
    /// Dirty bits are taken.
    Swept = "swept",
    /// Note and buffer are filled, the phase is not stored.
    NoteFilled = "note-filled",
    /// The note says WRITE, nothing is written.
    NoteWrite = "note-write",
    /// The batch is in the file, the note does not say so.
    BatchWritten = "batch-written",
    /// The note says WRITTEN, no tail has moved.
    NoteWritten = "note-written",
    /// Some tails have moved.
    TailMoved = "tail-moved",
    /// All tails have moved, the note is not idle.
    TailsMoved = "tails-moved",
    /// Everything is done, the lease is still held.
    BeforeRelease = "before-release",
    /// One archive of the numbered shift was renamed.
    Shifted = "shifted",
    /// The oldest archive is gone.
    OldestRemoved = "oldest-removed",
    /// The note says CUT, nothing is renamed.
    NoteCut = "note-cut",
    /// The live file is renamed, the new one does not exist.
    LiveRenamed = "live-renamed",
    /// The new live file exists, the control file does not know it.
    LiveCreated = "live-created",
    /// Half of the file state is stored.
    FileStateHalf = "file-state-half",
    /// The file state is stored, the note still says CUT.
    FileStateStored = "file-state-stored",
    /// An expired archive is deleted.
    Expired = "expired",
    /// A batch was given back half written.
    Yielded = "yielded",
}

/// Marks a step. With the feature `torture` the process may end here.
#[cfg(feature = "torture")]
pub fn passed(step: Step) {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    static PLAN: OnceLock<Option<(Step, AtomicU64)>> = OnceLock::new();
    let plan = PLAN.get_or_init(|| {
        let text = std::env::var("EVERYLINE_CRASH").ok()?;
        let (name, count) = text.split_once(':').expect("EVERYLINE_CRASH=name:count");
        let step = ALL.iter().find(|(_, n)| *n == name).expect("a step of the protocol").0;
        Some((step, AtomicU64::new(count.parse().expect("a count"))))
    });
    if let Some((planned, left)) = plan
        && *planned == step
        && left.fetch_sub(1, Ordering::Relaxed) == 1
    {
        // Not abort: nothing of ours may run after this, as with a real SIGKILL.
        let _ = rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::KILL);
        loop {
            std::thread::park();
        }
    }
}

/// Marks a step: nothing, in an ordinary build.
#[cfg(not(feature = "torture"))]
#[inline(always)]
pub fn passed(_: Step) {}
