//! The public face: a log that any number of processes, threads and appenders write together.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::apart::Right;
use crate::attach::{How, attach, left, prepare};
use crate::engine::{Engine, Mark};
use crate::error::{Error, ErrorKind, Result};
use crate::fork::{ForkCell, Guard};
use crate::heirloom::{self, Item};
use crate::journal::place::{Log, resolve};
use crate::options::{Commit, Compress, Fsync, Full, Options};
use crate::os;
use crate::plain::{Plain, is_degradable};
use crate::rotation::{Naming, Schedule};
use crate::status::{self, Status};

/// A degraded appender tries to attach again this often.
const RETRY_MS: u64 = 1000;
/// ... and waits this long for a journal that is just being built.
const RETRY_PATIENCE: Duration = Duration::from_millis(2);
/// Building a journal takes a few ms; whoever starts waits for that also with a `wait` of nothing.
const LEAST_PATIENCE: Duration = Duration::from_millis(100);
/// Times a record is brought to a new journal when the old one goes away under it.
const MOVES: u32 = 5;

/// Settings of an [`Appender`] to be.
///
/// ```no_run
/// # use everyline::{Appender, Naming, Schedule, When};
/// # fn main() -> everyline::Result<()> {
/// let log = Appender::builder("app.log")
///     .max_bytes(10 << 20)
///     .schedule(Schedule::new(When::Midnight, 1)?)
///     .naming(Naming::Dated)
///     .keep(Some(14))
///     .open()?;
/// log.append(b"one record, one line\n")?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Builder {
    path: PathBuf,
    options: Options,
}

macro_rules! setters {
    ($($(#[$doc:meta])* $name:ident: $type:ty => $value:expr),* $(,)?) => {
        impl Builder {
            $($(#[$doc])* #[must_use] pub fn $name(mut self, $name: $type) -> Self {
                self.options.$name = $value;
                self
            })*
        }
    };
}

setters! {
    /// No file grows over this many bytes. Default: no rotation by size.
    max_bytes: u64 => Some(max_bytes),
    /// Rotation by civil time. Default: none.
    schedule: Schedule => Some(schedule),
    /// Names of rotated files. Default: numbered.
    naming: Naming => naming,
    /// How many rotated files are kept. Default: 5. `None`: all (not with numbered names).
    keep: Option<u32> => keep,
    /// Rotated files that were last written longer ago are deleted. Looked at after each rotation and at each attach.
    /// Default: not by age.
    keep_age: Duration => Some(keep_age),
    /// Rotated files are deleted, oldest first, while they are larger than this together; the newest one stays.
    /// Default: not by size.
    keep_total_bytes: u64 => Some(keep_total_bytes),
    /// What becomes of rotated files. Default: they stay as they are.
    compress: Compress => compress,
    /// How long a rotated file is left alone before it is compressed, for those who follow the log. Default: 2 minutes.
    compress_after: Duration => compress_after,
    /// Name of a symbolic link, beside the log, to the newest rotated file. Default: none.
    link: String => Some(link),
    /// When records go to the file. Default: in the call.
    commit: Commit => commit,
    /// When the file is forced to disk. Default: never.
    fsync: Fsync => fsync,
    /// Ring size in bytes, a power of two; the first process of a log decides. Default: 256 KiB.
    ring_bytes: u64 => ring_bytes,
    /// Bound of a process's overflow file in bytes. Default: 64 MiB.
    overflow_bytes: u64 => overflow_bytes,
    /// What happens to a record for which there is no room. Default: dropped, counted, announced.
    full: Full => full,
    /// Longest wait for room or for `flush`. Default: 1 s.
    wait: Duration => wait,
    /// Records at or above this level return when they are in the file. Default: 40 (ERROR).
    urgent_level: u8 => urgent_level,
    /// Directory for the journal, if it is not to stand beside the log.
    journal_dir: PathBuf => Some(journal_dir),
    /// Permission bits of a new log file, less the umask. Default: 0666. Files after the first have those of the one before.
    mode: u32 => mode,
    /// User and group of a new log file. Default: those of the process. Files after the first have those of the one before.
    owner: (u32, u32) => Some(owner),
    /// Empties the log at start, if this is the first process on it. Default: no.
    truncate: bool => truncate,
}

impl Builder {
    /// Replaces all options.
    #[must_use]
    pub fn options(mut self, options: Options) -> Self {
        self.options = options;
        self
    }

    /// Attaches to the log.
    ///
    /// # Errors
    /// Options that cannot be; a directory that is missing; whatever keeps a journal from being used (see
    /// [`ErrorKind`]).
    pub fn open(self) -> Result<Appender> {
        self.build(false)
    }

    /// As [`open`](Self::open), but where a journal cannot be had the appender degrades: it appends whole records to
    /// the file, does not rotate it, and tries to attach again every second.
    ///
    /// # Errors
    /// Options that cannot be; a directory as log, or a directory that is missing.
    pub fn open_degraded(self) -> Result<Appender> {
        self.build(true)
    }

    fn build(self, degrade: bool) -> Result<Appender> {
        self.options.check()?;
        let device = Plain::wants(&self.path);
        let mut appender = Appender {
            // What a link of /proc leads to need not have a name.
            path: if device { self.path } else { resolve(&self.path)? },
            device,
            options: self.options,
            degrade,
            state: ForkCell::new(),
            degraded: AtomicBool::new(false),
            counters: [const { AtomicU64::new(0) }; 5],
            maintenance: ForkCell::new(),
        };
        if appender.device {
            appender.with_plain(Plain::check)?;
        } else {
            prepare(&appender.path, &appender.options)?;
            appender.target().map(drop)?;
        }
        // Emptied at the start or never: whoever attaches again later has records in the file already.
        appender.options.truncate = false;
        Ok(appender)
    }
}

/// A log. Any number of them, in any number of threads and processes, may name one file.
///
/// `&Appender` is enough for everything, and `append` may be called from any thread. A forked child may go on using the
/// appender it inherited: it attaches by itself with its first record.
#[derive(Debug)]
pub struct Appender {
    path: PathBuf,
    device: bool,
    options: Options,
    degrade: bool,
    state: ForkCell<State>,
    degraded: AtomicBool,
    counters: [AtomicU64; 5],
    /// The right to treat archives, if it has it.
    pub(crate) maintenance: ForkCell<Option<Right>>,
}

#[derive(Debug, Default)]
struct State {
    engine: Option<Arc<Engine>>,
    plain: Option<Plain>,
    retry_at_ms: u64,
}

/// What one append goes through.
enum Target {
    Engine(Arc<Engine>),
    Plain,
}

/// Where [`Appender::try_append_at`] ended.
#[derive(Debug)]
#[must_use]
pub enum Attempt {
    /// Accepted, and there is nothing more to do.
    Done,
    /// Accepted: hand it to [`Appender::settle`].
    Published(Published),
    /// Nothing was done: call [`Appender::append_at`].
    NotNow,
}

/// A record that was accepted and may still have to be committed.
#[derive(Debug)]
pub struct Published {
    engine: Arc<Engine>,
    level: u8,
    mark: Mark,
}

/// Counters of one appender, since it was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records accepted, with those that calls under way are about to hand over.
    pub records: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Records dropped by policy.
    pub dropped: u64,
    /// Calls that failed otherwise.
    pub failed: u64,
    /// Records that were appended without a journal.
    pub degraded: u64,
    /// Calls of this process that had to wait for room, on any appender of this log.
    pub waited: u64,
    /// True if there is no journal now.
    pub is_degraded: bool,
}

impl Appender {
    /// Starts building an appender for a path.
    pub fn builder(path: impl Into<PathBuf>) -> Builder {
        Builder { path: path.into(), options: Options::default() }
    }

    /// Appends one record, exactly as given: bring your own line break. Level 0.
    ///
    /// # Errors
    /// `Dropped` by policy; `RecordTooLarge`; what the system says of a plain append or of a sync that was asked for.
    pub fn append(&self, record: &[u8]) -> Result<()> {
        self.append_at(0, record)
    }

    /// Appends one record. At or above `urgent_level` it returns when the record is in the file.
    ///
    /// # Errors
    /// As [`append`](Self::append). An urgent record that is not in the file after `wait` is no error: it is safe in the
    /// journal, and the counter `waited` grows.
    pub fn append_at(&self, level: u8, record: &[u8]) -> Result<()> {
        let mut accepted = false;
        let result = self.append_once(level, record, &mut accepted);
        if let Err(e) = &result
            && !accepted
        {
            self.not_accepted(e, record.len());
        }
        result
    }

    /// The first half of [`append_at`](Self::append_at), for a caller that holds a lock of its own (an interpreter's): it
    /// neither waits nor enters the kernel. What it leaves to do, [`settle`](Self::settle) does, and that may wait.
    pub fn try_append_at(&self, level: u8, record: &[u8]) -> Attempt {
        let Some(state) = self.state.try_lock() else { return Attempt::NotNow };
        let Some(engine) = &state.engine else { return Attempt::NotNow };
        let Some(mark) = engine.publish_at_once(level, record) else { return Attempt::NotNow };
        self.count(&state, 1, record.len() as u64);
        if engine.is_settled(level, &self.options) {
            return Attempt::Done;
        }
        Attempt::Published(Published { engine: Arc::clone(engine), level, mark })
    }

    /// The second half of [`append_at`](Self::append_at).
    ///
    /// # Errors
    /// From a sync that the fsync policy asks for. The record is accepted all the same.
    pub fn settle(&self, published: Published) -> Result<()> {
        let Published { engine, level, mark } = published;
        self.settle_on(engine, level, mark)
    }

    fn settle_on(&self, engine: Arc<Engine>, level: u8, mark: Mark) -> Result<()> {
        let result = engine.settle(level, mark, &self.options);
        let leaves = engine.env.is_lost() && !engine.must_stay();
        if leaves { self.move_on(engine, level, mark) } else { result }
    }

    #[cold]
    fn not_accepted(&self, error: &Error, bytes: usize) {
        self.count(&self.state.lock(), u64::MAX, (bytes as u64).wrapping_neg());
        let [.., dropped, failed, _] = &self.counters;
        let is_counted =
            matches!(error.kind(), ErrorKind::Dropped | ErrorKind::Interrupted | ErrorKind::RecordTooLarge);
        let counter = if is_counted { dropped } else { failed };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds to the counters of accepted records. The lock makes this thread their only writer, so that two of the ten
    /// read-modify-writes of a log call can be plain stores.
    #[inline]
    fn count(&self, _locked: &Guard<'_, State>, more_records: u64, more_bytes: u64) {
        let [records, bytes, ..] = &self.counters;
        records.store(records.load(Ordering::Relaxed).wrapping_add(more_records), Ordering::Relaxed);
        bytes.store(bytes.load(Ordering::Relaxed).wrapping_add(more_bytes), Ordering::Relaxed);
    }

    fn append_once(&self, level: u8, record: &[u8], accepted: &mut bool) -> Result<()> {
        let mut bytes = Some(record.len());
        for _ in 0..MOVES {
            match self.target_for(bytes.take())? {
                Target::Plain => {
                    self.counters[4].fetch_add(u64::from(!self.device), Ordering::Relaxed);
                    return self.with_plain(|plain| plain.append(record));
                }
                Target::Engine(engine) => {
                    let mark = match engine.publish(level, record, &self.options) {
                        Ok(mark) => mark,
                        Err(_) if engine.env.is_lost() && !engine.must_stay() => {
                            self.leave(&engine);
                            continue;
                        }
                        Err(e) => return Err(e),
                    };
                    *accepted = true;
                    let result = engine.settle(level, mark, &self.options);
                    let leaves = engine.env.is_lost() && !engine.must_stay();
                    if !leaves {
                        return result;
                    }
                    if engine.reached(mark) || !engine.env.directory_is_removed() {
                        return self.move_on(engine, level, mark);
                    }
                    // Nobody can write it there any more, so here is the one that will.
                    *accepted = false;
                    self.leave(&engine);
                }
            }
        }
        Err(self.unsettled("append to"))
    }

    /// An accepted record stands in a journal that has to be left, or in the file: it must not be appended again.
    /// Leaving brings it into the file, or the next to attach does.
    #[cold]
    fn move_on(&self, engine: Arc<Engine>, level: u8, mark: Mark) -> Result<()> {
        self.leave(&engine);
        if !self.options.fsync.is_due_at(level) {
            drop(engine);
            let _ = self.target();
            return Ok(());
        }
        let arrived = |next: &Engine| {
            next.wait_until(|| engine.reached(mark), &self.options)?;
            next.sync(&self.options)
        };
        self.on_engine(arrived, Plain::sync)
    }

    /// Waits until the records of this process are in the file.
    ///
    /// # Errors
    /// `TimedOut` after the `wait` that was set; the message says what stands in the way.
    pub fn flush(&self) -> Result<()> {
        self.on_engine(|engine| engine.flush(&self.options), |_| Ok(()))
    }

    /// Waits until the records of this process are on disk.
    ///
    /// # Errors
    /// As [`flush`](Self::flush), and what `fsync` says. An `EIO` is never retried: the log goes on in a new file.
    pub fn sync(&self) -> Result<()> {
        self.on_engine(|engine| engine.sync(&self.options), Plain::sync)
    }

    /// Rotates now, under the naming in force.
    ///
    /// # Errors
    /// `NotRotatable` without a journal; `TimedOut`.
    pub fn rotate(&self) -> Result<()> {
        let refuse =
            || Error::new(ErrorKind::NotRotatable, "rotate", &self.path, "there is no journal for this target");
        self.on_engine(|engine| engine.wish(true, &self.options), |_| Err(refuse()))
    }

    /// Looks at the path again before anything more is written: for those who rotate from outside.
    ///
    /// # Errors
    /// `TimedOut`.
    pub fn reopen(&self) -> Result<()> {
        self.on_engine(|engine| engine.wish(false, &self.options), |_| Ok(()))
    }

    /// Flushes and detaches. A later append attaches again.
    ///
    /// # Errors
    /// As [`flush`](Self::flush); it is detached all the same, and what is left is safe in the journal.
    pub fn close(&self) -> Result<()> {
        let attached = self.state.lock().engine.is_some();
        let result = if attached { self.flush() } else { Ok(()) };
        let (engine, plain) = {
            let mut state = self.state.lock();
            (state.engine.take(), state.plain.take())
        };
        drop(plain);
        if let Some(engine) = engine {
            engine.leaver_waits(&self.options);
            // So that it is not the background thread that drops the engine, at some later time.
            engine.stop_threads();
        }
        result
    }

    /// The log, absolute and with symbolic links of the last component followed.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The options it was opened with.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What all processes on this log are doing.
    ///
    /// # Errors
    /// `NotAttached` if there is no journal.
    pub fn status(&self) -> Result<Status> {
        status::status(&self.path)
    }

    /// Counters of this appender.
    pub fn counters(&self) -> Counters {
        let count = |i: usize| self.counters[i].load(Ordering::Relaxed);
        let waited = self.state.lock().engine.as_ref().map_or(0, |e| e.waited.load(Ordering::Relaxed));
        Counters {
            records: count(0),
            bytes: count(1),
            dropped: count(2),
            failed: count(3),
            degraded: count(4),
            waited,
            is_degraded: self.degraded.load(Ordering::Relaxed),
        }
    }

    fn on_engine(
        &self,
        attached: impl Fn(&Engine) -> Result<()>,
        plain: impl Fn(&mut Plain) -> Result<()>,
    ) -> Result<()> {
        for _ in 0..MOVES {
            match self.target()? {
                Target::Plain => return self.with_plain(plain),
                Target::Engine(engine) => {
                    let result = attached(&engine);
                    if !engine.env.is_lost() || engine.must_stay() {
                        return result;
                    }
                    self.leave(&engine);
                }
            }
        }
        Err(self.unsettled("attach to"))
    }

    fn unsettled(&self, operation: &'static str) -> Error {
        Error::new(
            ErrorKind::JournalUnsettled,
            operation,
            &self.path,
            "its journal is removed or replaced again and again",
        )
    }

    fn with_plain(&self, act: impl FnOnce(&mut Plain) -> Result<()>) -> Result<()> {
        let mut state = self.state.lock();
        let plain = state.plain.get_or_insert_with(|| {
            // In a child that may not open the log: what its parent had open.
            let log = Log::find(&self.path).ok();
            let inherited = log.and_then(|log| heirloom::copy(heirloom::key(log.directory.id(), &log.name), Item::Log));
            Plain::new(&self.path, self.options.mode, self.options.wait).with_inherited(inherited)
        });
        act(plain)
    }

    /// Leaves an engine whose journal is gone; the next call attaches to the new one. Not before what this process has
    /// in the old one is in the file, within `wait`: what follows must not come before it (P4). Others may go on using
    /// the engine, so this does not wait for its end.
    fn leave(&self, engine: &Arc<Engine>) {
        let _ = engine.drain(&self.options);
        // What was waited for just now is not waited for again when the engine is dropped.
        engine.leaver_waits(&Options { wait: Duration::ZERO, ..self.options.clone() });
        left(engine);
        let mut state = self.state.lock();
        if state.engine.as_ref().is_some_and(|e| Arc::ptr_eq(e, engine)) {
            state.engine = None;
        }
    }

    /// The engine, if this process is attached now.
    pub(crate) fn engine(&self) -> Option<Arc<Engine>> {
        self.state.lock().engine.clone()
    }

    /// The engine; attaches. `None` without a journal.
    pub(crate) fn attached(&self) -> Result<Option<Arc<Engine>>> {
        for _ in 0..MOVES {
            match self.target()? {
                Target::Plain => return Ok(None),
                Target::Engine(engine) if !engine.env.is_lost() || engine.must_stay() => return Ok(Some(engine)),
                Target::Engine(engine) => self.leave(&engine),
            }
        }
        Err(self.unsettled("attach to"))
    }

    fn target(&self) -> Result<Target> {
        self.target_for(None)
    }

    /// Where records go now. A record of `bytes` is counted as accepted; if it is not, that is taken back.
    #[inline]
    fn target_for(&self, bytes: Option<usize>) -> Result<Target> {
        let mut state = self.state.lock();
        if let Some(bytes) = bytes {
            self.count(&state, 1, bytes as u64);
        }
        match &state.engine {
            Some(engine) => Ok(Target::Engine(Arc::clone(engine))),
            None => self.attach(&mut state),
        }
    }

    #[cold]
    fn attach(&self, state: &mut State) -> Result<Target> {
        if self.device {
            return Ok(Target::Plain);
        }
        let now = os::coarse_ms();
        let degraded = self.degraded.load(Ordering::Relaxed);
        if degraded && state.plain.is_some() && now < state.retry_at_ms {
            return Ok(Target::Plain);
        }
        // Once per incident: whoever is degraded has waited, and its log calls do not wait again.
        let patience = if degraded { RETRY_PATIENCE } else { self.options.wait.max(LEAST_PATIENCE) };
        match attach(&self.path, &self.options, How { patience, governs: true, hurried: degraded }) {
            Ok(engine) => {
                self.degraded.store(false, Ordering::Relaxed);
                state.plain = None;
                state.engine = Some(Arc::clone(&engine));
                Ok(Target::Engine(engine))
            }
            Err(e) if self.degrade && is_degradable(&e) => {
                state.retry_at_ms = os::coarse_ms() + RETRY_MS;
                self.degraded.store(true, Ordering::Relaxed);
                Ok(Target::Plain)
            }
            Err(e) => Err(e),
        }
    }
}

/// Detaches, if this is the last appender of its log in this process; what is left is flushed first, within `wait`.
impl Drop for Appender {
    fn drop(&mut self) {
        if let Some(engine) = self.state.lock().engine.take() {
            engine.leaver_waits(&self.options);
            // So that it is not the background thread that drops the engine, at some later time.
            engine.stop_threads();
        }
    }
}

/// One `write` call is one record, so write whole lines at once (`write_all(line)`, not `writeln!` in pieces).
impl io::Write for &Appender {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.append(record)?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(Appender::flush(self)?)
    }
}

/// As for `&Appender`.
impl io::Write for Appender {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        (&*self).write(record)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(Appender::flush(self)?)
    }
}
