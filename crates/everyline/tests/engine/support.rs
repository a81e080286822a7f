//! Temporary logs, children that end with `_exit`, waiting with a deadline, and the oracle that counts every record.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use everyline::{Appender, Builder, LeaseState, Status};

/// Nothing that is waited for takes this long, also on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(20);

/// A directory with a log to be.
pub struct Dir {
    dir: tempfile::TempDir,
}

impl Dir {
    pub fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// The log.
    pub fn log(&self) -> PathBuf {
        self.file("app.log")
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn journal(&self) -> PathBuf {
        self.file(".app.log.everyline")
    }

    /// A file in the inner directory of the journal.
    pub fn inner(&self, name: &str) -> PathBuf {
        self.journal().join("shared").join(name)
    }

    pub fn builder(&self) -> Builder {
        Appender::builder(self.log())
    }

    pub fn open(&self) -> Appender {
        self.builder().open().unwrap()
    }

    pub fn status(&self) -> Status {
        everyline::status(&self.log()).unwrap()
    }

    /// Names in the directory, sorted, without the journal.
    pub fn names(&self) -> Vec<String> {
        let mut names: Vec<String> = std::fs::read_dir(self.path())
            .unwrap()
            .map(|e| e.unwrap().file_name().into_string().unwrap())
            .filter(|name| !name.starts_with('.'))
            .collect();
        names.sort();
        names
    }

    /// Names in the inner directory of the journal that begin with `prefix`.
    pub fn inner_names(&self, prefix: &str) -> Vec<String> {
        let Ok(dir) = std::fs::read_dir(self.inner("")) else { return Vec::new() };
        let name = |e: std::io::Result<std::fs::DirEntry>| e.unwrap().file_name().into_string().unwrap();
        dir.map(name).filter(|name| name.starts_with(prefix)).collect()
    }

    /// Everything logged: numbered archives from the oldest on (or dated ones, by stamp and counter), then the live file.
    pub fn all(&self) -> Vec<u8> {
        let mut files: Vec<(String, i64, PathBuf)> = Vec::new();
        for name in self.names() {
            let Some(rest) = name.strip_prefix("app.log.") else { continue };
            let (stamp, number) = match rest.parse::<i64>() {
                Ok(number) => (String::new(), -number),
                Err(_) => match rest.split_once('.') {
                    None => (rest.to_owned(), 0),
                    Some((stamp, clash)) => (stamp.to_owned(), clash.parse().unwrap()),
                },
            };
            files.push((stamp, number, self.file(&name)));
        }
        files.sort();
        let files = files.into_iter().map(|(_, _, path)| path).chain([self.log()]);
        files.flat_map(|path| std::fs::read(path).unwrap_or_default()).collect()
    }

    pub fn text(&self) -> String {
        String::from_utf8(std::fs::read(self.log()).unwrap_or_default()).unwrap()
    }
}

/// A record of `len` bytes (at least 24) that says who wrote it, which one it is, and how long it must be.
pub fn record(writer: u32, seq: u64, len: usize) -> Vec<u8> {
    let mut line = format!("w{writer:04} {seq:08} {len:08} ").into_bytes();
    assert!(len > line.len());
    let fill = b'a' + ((u64::from(writer) + seq) % 26) as u8;
    line.resize(len - 1, fill);
    line.push(b'\n');
    line
}

/// A length from 25 to `most` that never divides a page.
pub fn odd_len(seq: u64, most: usize) -> usize {
    25 + (seq as usize * 7919) % (most - 24)
}

/// What the oracle read: for each writer the numbers it saw, and the lines that are not records.
#[derive(Debug, Default)]
pub struct Seen {
    pub writers: BTreeMap<u32, Vec<u64>>,
    pub others: Vec<String>,
}

/// Reads records; panics at one that is torn.
pub fn seen(bytes: &[u8]) -> Seen {
    let mut seen = Seen::default();
    for line in bytes.split_inclusive(|b| *b == b'\n') {
        let head = std::str::from_utf8(&line[..line.len().min(24)]).unwrap_or("");
        let parsed = head.strip_prefix('w').and_then(|rest| {
            let mut words = rest.split(' ');
            Some((words.next()?.parse().ok()?, words.next()?.parse().ok()?, words.next()?.parse().ok()?))
        });
        let Some((writer, seq, len)) = parsed else {
            seen.others.push(String::from_utf8_lossy(line).into_owned());
            continue;
        };
        assert_eq!(line, record(writer, seq, len), "a torn record of writer {writer}, number {seq}");
        seen.writers.entry(writer).or_default().push(seq);
    }
    seen
}

/// Each writer's records `0..count` are there once and in order, and nothing else is.
pub fn assert_exactly(bytes: &[u8], writers: impl IntoIterator<Item = (u32, u64)>) {
    let seen = seen(bytes);
    assert_eq!(seen.others, [""; 0], "lines that nobody wrote");
    let mut left = seen.writers;
    for (writer, count) in writers {
        let numbers = left.remove(&writer).unwrap_or_default();
        let wrong = numbers.iter().zip(0..).find(|(seen, want)| **seen != *want);
        assert!(
            wrong.is_none() && numbers.len() as u64 == count,
            "writer {writer}: {} of {count} records, first one out of place (seen, expected): {wrong:?}",
            numbers.len(),
        );
    }
    assert!(left.is_empty(), "unknown writers: {:?}", left.keys());
}

/// Waits until `condition` holds; panics after a while.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let started = Instant::now();
    while !condition() {
        assert!(started.elapsed() < PATIENCE, "waited in vain for: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Numbers that a process and its children share.
pub struct Shared(*const [AtomicU64; 512]);

impl Shared {
    pub fn new() -> Self {
        let (prot, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED | libc::MAP_ANONYMOUS);
        // SAFETY: a new mapping at an address that the kernel chooses. Never unmapped: a page for each test.
        let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, prot, flags, -1, 0) };
        assert_ne!(page, libc::MAP_FAILED);
        Self(page.cast())
    }

    pub fn word(&self, i: usize) -> &AtomicU64 {
        // SAFETY: the mapping lives as long as the process and consists of atomics.
        unsafe { &(*self.0)[i] }
    }

    pub fn get(&self, i: usize) -> u64 {
        self.word(i).load(Ordering::SeqCst)
    }

    pub fn set(&self, i: usize, value: u64) {
        self.word(i).store(value, Ordering::SeqCst);
    }
}

// SAFETY: it is a pointer to atomics that are never unmapped.
unsafe impl Send for Shared {}
// SAFETY: as for Send.
unsafe impl Sync for Shared {}

/// A child process; killed if the test ends before it.
pub struct Child {
    pub pid: i32,
    reaped: bool,
}

static HOOK: std::sync::Once = std::sync::Once::new();
static IN_CHILD: AtomicBool = AtomicBool::new(false);

/// How a child is made.
#[derive(Clone, Copy)]
pub enum How {
    Fork,
    /// The system call alone: no hook of any library runs.
    RawClone,
}

/// Runs `body` in a child, which ends with `_exit(0)`, or with `_exit(101)` if it panics.
pub fn fork(body: impl FnOnce()) -> Child {
    child(How::Fork, body)
}

pub fn child(how: How, body: impl FnOnce()) -> Child {
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if IN_CHILD.load(Ordering::SeqCst) {
                // Not the usual hook: it takes locks that another thread may have held at the fork.
                let _ = std::io::stderr().write_all(format!("in a child: {info}\n").as_bytes());
            } else {
                usual(info);
            }
        }));
    });
    let pid = match how {
        // SAFETY: the child runs `body` and leaves with `_exit`; it takes no lock of the test harness.
        How::Fork => unsafe { libc::fork() },
        // SAFETY: as for fork, and only processes of one thread do it, so that no lock of a library is taken.
        How::RawClone => unsafe { libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0) as i32 },
    };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        IN_CHILD.store(true, Ordering::SeqCst);
        let ok = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)).is_ok();
        exit_now(if ok { 0 } else { 101 });
    }
    Child { pid, reaped: false }
}

/// Ends this process without a word to anybody.
pub fn exit_now(code: i32) -> ! {
    // SAFETY: does not return, runs nothing.
    unsafe { libc::_exit(code) }
}

impl Child {
    pub fn signal(&self, signal: i32) {
        // SAFETY: signals our own child, which is not reaped yet.
        assert_eq!(unsafe { libc::kill(self.pid, signal) }, 0);
    }

    fn poll(&mut self, flags: i32) -> Option<i32> {
        let mut status = 0;
        // SAFETY: `status` is one int, the child is ours.
        let pid = unsafe { libc::waitpid(self.pid, &raw mut status, flags | libc::WNOHANG) };
        (pid == self.pid).then_some(status)
    }

    /// Waits for the end; the raw status.
    #[track_caller]
    pub fn wait(&mut self) -> i32 {
        let mut status = None;
        until("the end of a child", || {
            status = self.poll(0);
            status.is_some()
        });
        self.reaped = true;
        status.unwrap()
    }

    /// Waits for the end, which must be a good one.
    #[track_caller]
    pub fn join(mut self) {
        let status = self.wait();
        assert_eq!(status, 0, "the child failed");
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(mut self) {
        self.signal(libc::SIGKILL);
        self.wait();
    }

    /// SIGSTOP, and waits until it has stopped.
    pub fn stop(&mut self) {
        self.signal(libc::SIGSTOP);
        until("a child to stop", || self.poll(libc::WUNTRACED).is_some_and(|s| libc::WIFSTOPPED(s)));
    }

    pub fn go_on(&self) {
        self.signal(libc::SIGCONT);
    }

    /// Stops the child, which must be logging all the time, at a moment when it holds the lease.
    pub fn stop_as_holder(&mut self, log: &Path) {
        until("a child to be stopped as holder", || {
            self.stop();
            let lease = everyline::status(log).unwrap().lease;
            let held = lease.state == LeaseState::Held && lease.pid == self.pid as u32;
            if !held {
                self.go_on();
            }
            held
        });
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if !self.reaped {
            // SAFETY: our own child, not reaped; waits for it below.
            unsafe {
                libc::kill(self.pid, libc::SIGKILL);
                libc::waitpid(self.pid, std::ptr::null_mut(), 0);
            }
        }
    }
}

pub fn is_root() -> bool {
    // SAFETY: only asks.
    unsafe { libc::geteuid() == 0 }
}

/// Says why a test does nothing.
pub fn skip(why: &str) {
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    let _ = writeln!(std::io::stderr(), "skipped {name}: {why}");
}

/// Runs `body` in a child with mounts of its own. Without root it is skipped.
pub fn with_own_mounts(body: impl FnOnce()) {
    if !is_root() {
        return skip("needs root for a mount namespace");
    }
    let mut here = fork(|| {
        // SAFETY: a system call that changes this child's namespace only.
        if unsafe { libc::unshare(libc::CLONE_NEWNS) } != 0 {
            exit_now(77);
        }
        mount("none", Path::new("/"), "", libc::MS_REC | libc::MS_PRIVATE, "");
        body();
    });
    match here.wait() {
        0 => {}
        status if libc::WEXITSTATUS(status) == 77 => skip("mount namespaces are not allowed here"),
        status => panic!("the child failed: {status}"),
    }
}

/// mount(2).
pub fn mount(source: &str, target: &Path, kind: &str, flags: libc::c_ulong, data: &str) {
    let text = |s: &str| CString::new(s).unwrap();
    let (source, target, kind, data) = (text(source), c_path(target), text(kind), text(data));
    // SAFETY: four strings that live through the call.
    let result = unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind.as_ptr(), flags, data.as_ptr().cast()) };
    assert_eq!(result, 0, "mount: {}", std::io::Error::last_os_error());
}

pub fn c_path(path: &Path) -> CString {
    CString::new(path.as_os_str().as_bytes()).unwrap()
}

/// A 64-bit word of a journal file.
pub fn word_of(file: &Path, offset: u64) -> u64 {
    use std::os::unix::fs::FileExt;
    let mut bytes = [0; 8];
    std::fs::File::open(file).unwrap().read_exact_at(&mut bytes, offset).unwrap();
    u64::from_ne_bytes(bytes)
}

/// Stores a 64-bit word in a journal file.
pub fn patch(file: &Path, offset: u64, value: u64) {
    use std::os::unix::fs::FileExt;
    std::fs::File::options().write(true).open(file).unwrap().write_all_at(&value.to_ne_bytes(), offset).unwrap();
}

/// `cp -a`.
pub fn copy_tree(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap();
    assert!(status.success());
}

/// Publishes `count` records as writer `writer` in a child that is killed while somebody else holds the lease, so that
/// they stand in its ring and nowhere else. The stopped holder is killed, too: all that is left is the journal.
pub fn leave_undelivered(dir: &Dir, builder: &Builder, writer: u32, count: u64) -> u64 {
    let shared = Shared::new();
    let mut holder = fork(|| {
        let log = builder.clone().open().unwrap();
        for seq in 0.. {
            log.append(&record(0, seq, 3000)).unwrap();
            shared.set(0, seq + 1);
        }
    });
    until("the holder to log", || shared.get(0) > 5);
    holder.stop_as_holder(&dir.log());
    let logger = fork(|| {
        let log = builder.clone().open().unwrap();
        for seq in 0..count {
            log.append(&record(writer, seq, odd_len(seq, 300))).unwrap();
        }
        shared.set(1, 1);
        loop {
            std::thread::park();
        }
    });
    until("the records to be published", || shared.get(1) == 1);
    logger.kill();
    holder.kill();
    shared.get(0)
}

/// The holder of `leave_undelivered` may have published one record more than it knew of.
pub fn assert_left_over_delivered(bytes: &[u8], known: u64, writer: u32, count: u64) {
    let first = seen(bytes).writers.get(&0).map_or(0, Vec::len) as u64;
    assert!((known..=known + 1).contains(&first), "{first} of {known} records of the holder");
    assert_exactly(bytes, [(0, first), (writer, count)]);
}
