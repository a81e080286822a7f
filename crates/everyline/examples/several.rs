//! Several processes, one rotating file: `cargo run --example several -- /tmp/several.log`.

use everyline::Appender;

fn main() -> everyline::Result<()> {
    let path = std::env::args().nth(1).unwrap_or_else(|| "several.log".to_owned());
    let children: i32 = std::env::args().nth(2).and_then(|n| n.parse().ok()).unwrap_or(4);
    let records: u64 = std::env::args().nth(3).and_then(|n| n.parse().ok()).unwrap_or(1000);
    let log = Appender::builder(&path).max_bytes(1 << 20).keep(Some(1000)).open()?;
    let mut pids = Vec::new();
    for child in 0..children {
        // SAFETY: the child is single-threaded and ends with _exit.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            for n in 0..records {
                let line = format!("child {child} record {n:07} {}\n", "x".repeat((n % 97) as usize));
                log.append(line.as_bytes()).expect("append");
            }
            // No flush: what was returned from `append` is safe.
            // SAFETY: ends the child.
            unsafe { libc::_exit(0) };
        }
        pids.push(pid);
    }
    for pid in pids {
        let mut status = 0;
        // SAFETY: waits for a child of this process.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
        println!("{pid}: {status}");
    }
    log.close()
}
