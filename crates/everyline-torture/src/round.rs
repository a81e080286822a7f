//! One round: a log in a directory of its own, the processes that write it, and the verdict in the end.

use std::fs::{self, File};
use std::io;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Pid, Signal, kill_process};

use crate::files;
use crate::ledger::Ledger;
use crate::oracle::{Damage, Expect, Found};
use crate::plan::Plan;
use crate::watch::Watch;

/// A process that was asked to end must do so within this, counted from the last change in the log's directory: a slow
/// disk may have hundreds of archives to compress and to sync before.
const PATIENCE: Duration = Duration::from_secs(30);
/// Environment variable of the engine's hook.
const CRASH: &str = "EVERYLINE_CRASH";

/// A round under way.
#[derive(Debug)]
pub struct Round {
    pub dir: PathBuf,
    pub plan: Plan,
    pub ledger: Ledger,
    pub children: Vec<Running>,
    pub kills: u64,
    pub spawned: u64,
    damage: Vec<Damage>,
    watch: Option<Watch>,
}

/// A producer.
#[derive(Debug)]
pub struct Running {
    child: Child,
    /// A SIGKILL from outside, or from the hook, is what we want of it.
    doomed: bool,
}

/// What came out.
#[derive(Debug, Default)]
pub struct Outcome {
    pub kills: u64,
    pub processes: u64,
    pub archives: u64,
    pub found: Found,
    pub dropped: u64,
    pub slowest: Duration,
}

impl Round {
    /// A round in a new directory.
    pub fn new(dir: PathBuf, plan: Plan) -> io::Result<Self> {
        let logs = dir.join("log");
        Self::with_logs(dir, &logs, plan)
    }

    /// A round whose log is elsewhere, on a file system of its own.
    pub fn with_logs(dir: PathBuf, logs: &Path, mut plan: Plan) -> io::Result<Self> {
        let private = dir.join("private");
        fs::create_dir_all(logs)?;
        fs::create_dir_all(&private)?;
        plan.log = logs.join("app.log");
        plan.ledger = private.join("ledger");
        plan.private = private;
        let ledger = Ledger::create(&plan.ledger)?;
        let watch = Some(Watch::start(&plan.log));
        Ok(Self { dir, plan, ledger, children: Vec::new(), kills: 0, spawned: 0, damage: Vec::new(), watch })
    }

    /// Files change in ways that are not the engine's doing.
    pub fn unwatched(mut self) -> Self {
        if let Some(watch) = self.watch.take() {
            watch.finish();
        }
        self
    }

    /// Starts several producers.
    pub fn spawn_all(&mut self, count: u32) -> io::Result<()> {
        (0..count).try_for_each(|_| self.spawn(|_| {}, None).map(drop))
    }

    /// Starts a producer. `crash`: a step and a count at which it dies.
    pub fn spawn(&mut self, tune: impl FnOnce(&mut Plan), crash: Option<&str>) -> io::Result<usize> {
        let mut plan = self.plan.clone();
        self.spawned += 1;
        plan.seed = plan.seed.wrapping_mul(31).wrapping_add(self.spawned);
        tune(&mut plan);
        let errors = File::options().append(true).create(true).open(self.plan.private.join("errors"))?;
        let mut command = Command::new(std::env::current_exe()?);
        command.args(plan.args()).stdin(Stdio::null()).stdout(Stdio::null()).stderr(errors).env_remove(CRASH);
        if let Some(crash) = crash {
            command.env(CRASH, crash);
        }
        self.children.push(Running { child: command.spawn()?, doomed: crash.is_some() });
        Ok(self.children.len() - 1)
    }

    pub fn pid(&self, index: usize) -> Pid {
        Pid::from_child(&self.children[index].child)
    }

    pub fn signal(&self, index: usize, signal: Signal) {
        // Gone already: then `reap` finds out why.
        let _ = kill_process(self.pid(index), signal);
    }

    /// True if every thread of a producer stands still, or has ended.
    pub fn has_stopped(&self, index: usize) -> bool {
        let tasks = format!("/proc/{}/task", self.children[index].child.id());
        let stands = |task: fs::DirEntry| {
            let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
            // The state stands behind the name, which is in brackets and may hold anything.
            stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with(['T', 't', 'Z', 'X']))
        };
        fs::read_dir(tasks).is_ok_and(|tasks| tasks.flatten().all(stands))
    }

    /// Kills one producer and waits for its end.
    pub fn kill(&mut self, index: usize) {
        let mut running = self.children.swap_remove(index);
        running.doomed = true;
        self.end(running, true);
    }

    /// Kills all producers at once.
    pub fn kill_all(&mut self) {
        self.keep_status();
        for index in 0..self.children.len() {
            self.signal(index, Signal::KILL);
        }
        while !self.children.is_empty() {
            self.kill(0);
        }
    }

    fn end(&mut self, mut running: Running, kill: bool) {
        if kill {
            self.kills += u64::from(running.child.kill().is_ok());
        }
        if let Ok(status) = running.child.wait() {
            self.judge(running.doomed, status);
        }
    }

    fn judge(&mut self, doomed: bool, status: ExitStatus) {
        let killed = doomed && status.signal() == Some(Signal::KILL.as_raw());
        if !killed && !status.success() {
            self.conduct(format!("a producer ended with {status}; see private/errors"));
        }
    }

    pub fn conduct(&mut self, text: impl Into<String>) {
        self.damage.push(Damage::Conduct(text.into()));
    }

    /// Takes producers that have ended out of the list. True if one of them died by SIGKILL.
    pub fn reap(&mut self) -> bool {
        let mut died = false;
        let mut index = 0;
        while index < self.children.len() {
            match self.children[index].child.try_wait() {
                Ok(Some(status)) => {
                    let running = self.children.swap_remove(index);
                    let killed = running.doomed && status.signal() == Some(Signal::KILL.as_raw());
                    died |= killed;
                    self.kills += u64::from(killed);
                    self.judge(running.doomed, status);
                }
                _ => index += 1,
            }
        }
        died
    }

    /// Asks all producers to end, and waits.
    pub fn stop(&mut self) {
        self.keep_status();
        self.ledger.stop();
        let mut idle = Idle::new(&self.plan.log);
        while !self.children.is_empty() && idle.time() < PATIENCE {
            self.reap();
            std::thread::sleep(Duration::from_millis(1));
        }
        if !self.children.is_empty() {
            let pids: Vec<_> = self.children.iter().map(|c| c.child.id()).collect();
            self.conduct(format!(
                "stuck: {pids:?} do not end, nothing happens for {PATIENCE:?}; {}",
                self.stuck_at(&pids)
            ));
            self.kill_all();
        }
        self.ledger.go_on();
    }

    /// What the engine says of itself, for whoever looks into a failure: afterwards the journal is gone.
    fn keep_status(&self) {
        if !self.children.is_empty() {
            let status = format!("{:#?}\n", everyline::status(&self.plan.log));
            let _ = fs::write(self.plan.private.join("status"), status);
        }
    }

    /// Where the processes hang, and what the journal says.
    fn stuck_at(&self, pids: &[u32]) -> String {
        let at = |pid| fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
        let places: Vec<_> = pids.iter().map(at).collect();
        format!("in {places:?}; {:?}", everyline::status(&self.plan.log))
    }

    /// `everyline::recover`, in a process of its own.
    pub fn recover(&mut self) -> io::Result<()> {
        self.recover_with(None)
    }

    /// As `recover`, killed at a step.
    pub fn recover_with(&mut self, crash: Option<&str>) -> io::Result<()> {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("recover").arg(&self.plan.log).env_remove(CRASH);
        command.stdout(Stdio::null()).stderr(File::create(self.plan.private.join("recover"))?);
        if let Some(crash) = crash {
            command.env(CRASH, crash);
        }
        let mut child = command.spawn()?;
        let mut idle = Idle::new(&self.plan.log);
        loop {
            if let Some(status) = child.try_wait()? {
                self.judge(crash.is_some(), status);
                if !status.success() && crash.is_none() {
                    let said = fs::read_to_string(self.plan.private.join("recover"))?;
                    self.conduct(format!("recover: {}", said.trim()));
                }
                return Ok(());
            }
            if idle.time() > PATIENCE {
                self.conduct(format!("recover does not end, nothing happens for {PATIENCE:?}"));
                child.kill()?;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Waits for a condition. False: it did not come about in time.
    pub fn wait_for(&mut self, limit: Duration, mut done: impl FnMut(&mut Self) -> bool) -> bool {
        let until = Instant::now() + limit;
        while Instant::now() < until {
            if done(self) {
                return true;
            }
            std::thread::sleep(Duration::from_micros(500));
        }
        false
    }

    /// Reads everything and judges it.
    pub fn finish(mut self, expect: Expect) -> io::Result<Outcome> {
        self.kill_all();
        let (archives, changed) = self.watch.take().map_or((0, Vec::new()), Watch::finish);
        let accounts = self.ledger.accounts();
        let expect = Expect { run: self.plan.run, ..expect };
        let mut found = files::judge(&self.plan, &expect, &accounts)?;
        found.damage.append(&mut self.damage);
        found.damage.extend(changed);
        let failed: u64 = accounts.iter().map(|a| a.failed).sum();
        if failed > 0 {
            found.damage.push(Damage::Conduct(format!("{failed} calls failed; see private/errors")));
        }
        Ok(Outcome {
            kills: self.kills,
            processes: self.spawned,
            archives,
            found,
            dropped: accounts.iter().map(|a| a.dropped).sum(),
            slowest: Duration::from_nanos(accounts.iter().map(|a| a.slowest_ns).max().unwrap_or(0)),
        })
    }
}

/// How long nothing has been made, renamed or removed in the log's directory.
struct Idle {
    directory: PathBuf,
    changed: Option<SystemTime>,
    since: Instant,
}

impl Idle {
    fn new(log: &Path) -> Self {
        let directory = log.parent().map_or_else(PathBuf::new, Path::to_owned);
        Self { directory, changed: None, since: Instant::now() }
    }

    fn time(&mut self) -> Duration {
        let changed = fs::metadata(&self.directory).and_then(|m| m.modified()).ok();
        if changed != self.changed {
            (self.changed, self.since) = (changed, Instant::now());
        }
        self.since.elapsed()
    }
}

/// Processes must not be left behind, whatever happens.
impl Drop for Round {
    fn drop(&mut self) {
        for running in &mut self.children {
            let _ = running.child.kill();
            let _ = running.child.wait();
        }
    }
}

/// The directory of a log's journal.
pub fn journal_of(log: &Path) -> PathBuf {
    let name = log.file_name().and_then(|n| n.to_str()).unwrap_or_default();
    log.with_file_name(format!(".{name}.everyline"))
}
