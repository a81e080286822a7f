//! What a producer does to itself while it logs: ends, forks, replaces its image, closes its descriptors.

use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use crate::plan::Act;
use crate::producer::Producer;
use crate::rng::Rng;
use crate::sys::{self, Forked};

/// Records that a forked child logs.
const CHILD_RECORDS: u64 = 7;
/// What stands in a file that must remain untouched.
const PRIVATE_TEXT: &[u8] = b"this file belongs to the application, not to its log\n";

/// Performs the act of the plan, logging meanwhile or afterwards.
pub fn perform(producer: &Producer) -> io::Result<()> {
    let mut rng = Rng::new(producer.plan.seed).part("act");
    match producer.plan.act {
        Act::Log | Act::Bare | Act::BareRotate => producer.log(u64::MAX),
        Act::Exit => {
            std::thread::sleep(moment(&mut rng));
            sys::exit_now(0);
        }
        Act::Exec => {
            std::thread::sleep(moment(&mut rng));
            if producer.ledger.stopped() {
                return Ok(());
            }
            let mut plan = producer.plan.clone();
            plan.seed = rng.next();
            // A chain of images, each of which logs for a moment; only an error returns.
            return Err(Command::new(std::env::current_exe()?).args(plan.args()).exec());
        }
        Act::Fork => {
            while !producer.ledger.stopped() {
                child(producer, sys::fork()?)?;
                std::thread::sleep(Duration::from_micros(rng.range(100, 5000)));
            }
        }
        Act::Clone => {
            while !producer.ledger.stopped() {
                child(producer, sys::raw_clone()?)?;
                producer.log(rng.range(1, 300));
            }
        }
        Act::Close => close(producer, &mut rng)?,
    }
    Ok(())
}

fn moment(rng: &mut Rng) -> Duration {
    Duration::from_micros(rng.range(200, 60_000))
}

/// In the child: logs through the inherited appender and ends. In the parent: waits for it.
fn child(producer: &Producer, forked: Forked) -> io::Result<()> {
    match forked {
        Forked::Child => {
            producer.log(CHILD_RECORDS);
            sys::exit_now(0);
        }
        Forked::Parent(pid) => {
            let pid = rustix::process::Pid::from_raw(pid).expect("pids are not 0");
            let status = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty())?;
            let code = status.and_then(|(_, s)| s.exit_status());
            if code != Some(0) && !producer.ledger.stopped() {
                return Err(io::Error::other(format!("a forked child ended with {status:?}")));
            }
            Ok(())
        }
    }
}

/// Engines keep descriptors from here on, out of the way of those that the kernel hands out.
const HIGH: i32 = 512;
/// The engine looks at the identity of its log descriptor once in a tick of the coarse clock, not at each write (that
/// would make a write 1.2 times as expensive). So a number from [`HIGH`] on that changes its meaning is noticed after
/// this long. Lower numbers are safe at once.
const NOTICED: Duration = Duration::from_millis(12);

/// Closes everything again and again; the files opened afterwards get the numbers that the engine had.
fn close(producer: &Producer, rng: &mut Rng) -> io::Result<()> {
    while !producer.ledger.stopped() {
        producer.log(rng.range(1, 200));
        let high = rng.one_in(3);
        sys::close_from(3)?;
        let mut files = Vec::new();
        for _ in 0..rng.range(1, 40) {
            let path = producer.private_file("own");
            let mut file = File::options().read(true).write(true).create_new(true).open(&path)?;
            file.write_all(PRIVATE_TEXT)?;
            let again = rustix::io::fcntl_dupfd_cloexec(&file, if high { HIGH } else { rng.range(3, 300) as i32 })?;
            files.push((path, file, again));
        }
        if high {
            std::thread::sleep(NOTICED);
        }
        producer.log(rng.range(1, 200));
        for (path, mut file, again) in files {
            let mut text = Vec::new();
            file.rewind()?;
            file.read_to_end(&mut text)?;
            let there = fs::read(&path)?;
            if text != PRIVATE_TEXT || there != PRIVATE_TEXT {
                return Err(io::Error::other(format!("{} of the application was changed", path.display())));
            }
            fs::remove_file(&path)?;
            drop(again);
        }
    }
    Ok(())
}
