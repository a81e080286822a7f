//! The parts of a benchmark run: the comparison, idle slots, attaching, memory.
//!
//! Every run uses a fresh directory and counts the bytes in the files afterwards: a benchmark that loses records fails.

use std::path::{Path, PathBuf};

use crate::crew::{Crew, log_bytes};
use crate::rival::{RECORD_BYTES, Rival};
use crate::rows::{Part, Row};
use crate::worker::{Job, Load};

/// Records a second of all processes together under the paced load.
const PACED_PER_MS: u64 = 80;
/// Bursts of the paced load.
const PACED_BURSTS: u64 = 1000;
/// Ring of processes that only sit there: a thousand of them shall not fill the memory.
const SMALL_RING: u64 = 4 << 10;

/// What to measure.
pub struct Plan {
    /// Directory that each run's own directory is made in.
    pub directory: PathBuf,
    /// Its file system.
    pub fs: String,
    /// Numbers of processes.
    pub processes: Vec<usize>,
    /// Records of a throughput run, in all.
    pub records: u64,
    /// How often.
    pub repeats: usize,
    /// Who is compared in what.
    pub parts: Vec<(Part, Vec<Rival>)>,
    /// Numbers of attached processes for the idle part.
    pub attached: Vec<usize>,
    /// Attaches that are measured.
    pub attaches: usize,
    /// Of the time stamp counter.
    pub ticks_per_ns: f64,
}

/// A directory for one run, removed with everything in it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(plan: &Plan, name: &str) -> Result<Self, String> {
        let path = plan.directory.join(format!("everyline-bench-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        Ok(Self(path))
    }

    fn log(&self) -> PathBuf {
        self.0.join("bench.log")
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Throughput, CPU and latency of all rivals, interleaved.
///
/// # Errors
/// A worker that failed, or records that are missing from the files.
pub fn compare(plan: &Plan, rows: &mut Vec<Row>) -> Result<(), String> {
    for repeat in 0..plan.repeats {
        for &processes in &plan.processes {
            for (part, rivals) in &plan.parts {
                for i in 0..rivals.len() {
                    // Another one first in each repeat.
                    let rival = rivals[(i + repeat) % rivals.len()];
                    rows.push(one_run(plan, *part, rival, processes, repeat)?);
                }
            }
            eprintln!("{}: repeat {} of {}, {processes} processes", plan.fs, repeat + 1, plan.repeats);
        }
    }
    Ok(())
}

fn one_run(plan: &Plan, part: Part, rival: Rival, processes: usize, repeat: usize) -> Result<Row, String> {
    let each = (plan.records / processes as u64).max(1);
    let (load, each) = match part {
        Part::Throughput | Part::Idle => (Load::Flat, each),
        Part::LatencyFlatOut => (Load::Clocked, each),
        Part::LatencyPaced => {
            let burst = (PACED_PER_MS / processes as u64).max(1);
            (Load::Paced(burst), (burst * PACED_BURSTS).min(each))
        }
    };
    let scratch = Scratch::new(plan, part.name())?;
    let job = Job { rival, path: scratch.log(), records: each, load, ring_bytes: None };
    let measured = Crew::start(&job, processes)?.measure()?;
    let records = each * processes as u64;
    check(&scratch.log(), records, rival)?;
    let counts = (processes, processes);
    Ok(Row::new(part, &plan.fs, rival, counts, repeat, records, &measured, plan.ticks_per_ns))
}

fn check(path: &Path, records: u64, rival: Rival) -> Result<(), String> {
    let (found, expected) = (log_bytes(path)?, records * RECORD_BYTES as u64);
    if found == expected {
        return Ok(());
    }
    Err(format!("{}: {expected} bytes were logged, {found} are in the files", rival.name()))
}

/// One active process, alone and among many that are attached and sleep.
///
/// # Errors
/// As [`compare`].
pub fn idle(plan: &Plan, rows: &mut Vec<Row>) -> Result<(), String> {
    for rival in [Rival::WriteThrough, Rival::Deferred] {
        let job = |path: PathBuf, records| Job {
            rival,
            path,
            records,
            load: Load::Flat,
            // The active one has the small ring too, in all three cases: the first process of a log decides.
            ring_bytes: Some(SMALL_RING.max(if rival == Rival::Deferred { 64 << 10 } else { 0 })),
        };
        // All crowds stay for all repeats, so that alone and among others follow each other closely.
        let mut crowds = Vec::new();
        for &attached in &plan.attached {
            let scratch = Scratch::new(plan, &format!("idle-{attached}"))?;
            let crowd = (attached > 1).then(|| Crew::start(&job(scratch.log(), 0), attached - 1)).transpose()?;
            crowds.push((attached, scratch, crowd));
        }
        // More repeats than elsewhere: the aim is a difference of a tenth.
        for repeat in 0..plan.repeats * 3 {
            for (attached, scratch, _) in &crowds {
                let before = log_bytes(&scratch.log())?;
                let measured = Crew::start(&job(scratch.log(), plan.records), 1)?.measure()?;
                let logged = log_bytes(&scratch.log())? - before;
                if logged != plan.records * RECORD_BYTES as u64 {
                    return Err(format!("among {attached}: {logged} bytes are in the file"));
                }
                let counts = (1, *attached);
                let row =
                    Row::new(Part::Idle, &plan.fs, rival, counts, repeat, plan.records, &measured, plan.ticks_per_ns);
                rows.push(row);
            }
        }
        for (.., crowd) in crowds {
            crowd.map_or(Ok(()), |crowd| crowd.dismiss().map(drop))?;
        }
        eprintln!("{}: idle slots, {}", plan.fs, rival.name());
    }
    Ok(())
}

/// Times of attaches in ns, each in a process of its own: to a journal that another process uses, and of one that has to
/// be built first.
pub struct Attaches {
    /// A journal is there.
    pub existing_ns: Vec<u64>,
    /// None is there.
    pub new_ns: Vec<u64>,
}

/// Measures attaching.
///
/// # Errors
/// A worker that failed.
pub fn attach(plan: &Plan) -> Result<Attaches, String> {
    let job = |path| Job { rival: Rival::WriteThrough, path, records: 0, load: Load::Flat, ring_bytes: None };
    let one = |path| Ok::<u64, String>(Crew::start(&job(path), 1)?.dismiss()?[0].0);
    let (used, fresh) = (Scratch::new(plan, "attach")?, Scratch::new(plan, "build")?);
    let other = Crew::start(&job(used.log()), 1)?;
    let mut attaches = Attaches { existing_ns: Vec::new(), new_ns: Vec::new() };
    for n in 0..plan.attaches {
        attaches.existing_ns.push(one(used.log())?);
        attaches.new_ns.push(one(fresh.0.join(format!("{n}.log")))?);
    }
    other.dismiss()?;
    eprintln!("{}: attach", plan.fs);
    Ok(attaches)
}

/// Memory by default settings.
pub struct Memory {
    /// Blocks of the journal for each attached process (slot file), in KiB.
    pub slot_kib: f64,
    /// Blocks of the journal for the log as such (control file, settings, directories), in KiB.
    pub log_kib: f64,
    /// Private, proportional and resident memory that attaching and logging added to a process, in KiB.
    pub process_kib: [f64; 3],
}

/// Measures memory, with four processes that log.
///
/// # Errors
/// A worker that failed.
pub fn memory(plan: &Plan, rival: Rival) -> Result<Memory, String> {
    const PROCESSES: usize = 4;
    let scratch = Scratch::new(plan, "memory")?;
    let job = Job { rival, path: scratch.log(), records: 20_000, load: Load::Memory, ring_bytes: None };
    let idle = Crew::start(&Job { records: 0, load: Load::Flat, ..job.clone() }, 1)?;
    let crew = Crew::start(&job, PROCESSES)?;
    let (mut slots, mut rest) = (Vec::new(), 0);
    blocks(&scratch.0.join(".bench.log.everyline"), &mut slots, &mut rest)?;
    let reports = crew.dismiss()?;
    idle.dismiss()?;
    let mean = |i: usize| reports.iter().map(|(_, kib)| kib[i] as f64).sum::<f64>() / reports.len() as f64;
    Ok(Memory {
        slot_kib: slots.iter().sum::<u64>() as f64 / slots.len().max(1) as f64 / 1024.0,
        log_kib: rest as f64 / 1024.0,
        process_kib: [mean(0), mean(1), mean(2)],
    })
}

/// Bytes of blocks of everything in a directory: of each slot file, and of all else together.
fn blocks(path: &Path, slots: &mut Vec<u64>, rest: &mut u64) -> Result<(), String> {
    use std::os::unix::fs::MetadataExt;
    let fail = |e: std::io::Error| format!("{}: {e}", path.display());
    *rest += path.metadata().map_err(fail)?.blocks() * 512;
    for entry in std::fs::read_dir(path).map_err(fail)? {
        let entry = entry.map_err(fail)?;
        let meta = entry.metadata().map_err(fail)?;
        if meta.is_dir() {
            blocks(&entry.path(), slots, rest)?;
        } else if entry.file_name().to_string_lossy().starts_with("slot-") {
            slots.push(meta.blocks() * 512);
        } else {
            *rest += meta.blocks() * 512;
        }
    }
    Ok(())
}
