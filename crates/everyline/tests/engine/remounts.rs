//! The file system is mounted anew: devices have other numbers, files are the same. And overlayfs, which does not keep a
//! lock with the mapping it was made through.

use std::path::Path;

use everyline::{Appender, Builder};

use crate::support::{
    Dir, Shared, assert_left_over_delivered, c_path, copy_tree, fork, leave_undelivered, mount, odd_len, patch, record,
    seen, until, with_own_mounts, word_of,
};

/// Offsets of the device numbers in `control`: its own, that of the log's directory, that of the live file.
const DEVICES: [u64; 3] = [40, 96, 520];
const LEASE: u64 = 256;
/// Offset of the note in a slot file: phase, device, inode, birth time, at, length.
const NOTE: u64 = 4096;
const BUFFER: u64 = 24_576;

/// A journal whose dead holder had noted a batch and written all of it, but had not said so.
fn leave_written_batch(dir: &Dir) -> (u64, std::path::PathBuf) {
    loop {
        let known = leave_undelivered(dir, &dir.builder(), 7, 50);
        let slot = dir.inner(&format!("slot-{:04}", word_of(&dir.inner("control"), LEASE) >> 2 & 0x3FFF));
        if word_of(&slot, NOTE) != 1 {
            // It was stopped at another moment.
            everyline::recover(&dir.log()).unwrap();
            std::fs::remove_file(dir.log()).unwrap();
            continue;
        }
        use std::os::unix::fs::FileExt;
        let (at, len) = (word_of(&slot, NOTE + 32) >> 16, word_of(&slot, NOTE + 40));
        let mut batch = vec![0; len as usize];
        std::fs::File::open(&slot).unwrap().read_exact_at(&mut batch, BUFFER).unwrap();
        let log = std::fs::File::options().write(true).open(dir.log()).unwrap();
        log.set_len(at).unwrap();
        log.write_all_at(&batch, at).unwrap();
        return (known, slot);
    }
}

#[test]
fn a_journal_on_a_device_of_another_number_is_the_same_journal() {
    for reboot in [false, true] {
        let dir = Dir::new();
        let (known, slot) = leave_written_batch(&dir);
        for offset in DEVICES {
            patch(&dir.inner("control"), offset, word_of(&dir.inner("control"), offset) + 7);
        }
        patch(&slot, NOTE + 8, word_of(&slot, NOTE + 8) + 7);
        if reboot {
            patch(&dir.inner("control"), 80, 0x1111);
        }
        let log = dir.open();
        log.append(&record(8, 0, 60)).unwrap();
        log.close().unwrap();
        let mut seen = seen(&dir.all());
        assert_eq!((seen.writers.remove(&7), seen.writers.remove(&8)), (Some((0..50).collect()), Some(vec![0])));
        let first = seen.writers[&0].len() as u64;
        assert!((known..=known + 1).contains(&first), "reboot {reboot}: {first} of {known}");
        assert_eq!(seen.writers[&0], (0..first).collect::<Vec<_>>(), "each once");
        let names = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name());
        assert_eq!(names.collect::<Vec<_>>(), ["app.log"], "nothing was set aside");
    }
}

#[test]
fn a_copy_is_told_by_inode_and_birth_time_also_on_the_same_device() {
    let dir = Dir::new();
    let known = leave_undelivered(&dir, &dir.builder(), 7, 50);
    copy_tree(&dir.journal(), &dir.file(".copy"));
    std::fs::rename(dir.journal(), dir.file(".original")).unwrap();
    std::fs::rename(dir.file(".copy"), dir.journal()).unwrap();
    drop(dir.open());
    assert!(!seen(&dir.all()).writers.contains_key(&7), "nothing out of a copy");
    std::fs::rename(dir.file(".original"), dir.journal()).unwrap();
    drop(dir.open());
    assert_left_over_delivered(&dir.all(), known, 7, 50);
}

fn umount(target: &Path) {
    // SAFETY: a string that lives through the call.
    assert_eq!(unsafe { libc::umount(c_path(target).as_ptr()) }, 0, "{}", std::io::Error::last_os_error());
}

/// An overlay at `merged`; the layers stand on a tmpfs at `base`.
fn mount_overlay(dir: &Dir) {
    let at = |name: &str| dir.file(name).to_str().unwrap().to_owned();
    let data = format!("lowerdir={},upperdir={},workdir={}", at("base/lower"), at("base/upper"), at("base/work"));
    mount("overlay", &dir.file("merged"), "overlay", 0, &data);
}

fn with_overlay(body: impl FnOnce(&Dir, &Path, &Builder)) {
    let dir = Dir::new();
    with_own_mounts(|| {
        for name in ["base", "merged", "between"] {
            std::fs::create_dir(dir.file(name)).unwrap();
        }
        mount("tmpfs", &dir.file("base"), "tmpfs", 0, "");
        for name in ["base/lower", "base/upper", "base/work"] {
            std::fs::create_dir(dir.file(name)).unwrap();
        }
        mount_overlay(&dir);
        let log = dir.file("merged/app.log");
        body(&dir, &log, &Appender::builder(&log));
    });
}

#[test]
fn a_journal_on_an_overlay_that_is_mounted_anew_is_delivered() {
    use std::os::unix::fs::MetadataExt;
    with_overlay(|dir, log, builder| {
        let shared = Shared::new();
        let mut holder = fork(|| {
            let log = builder.clone().open().unwrap();
            for seq in 0.. {
                log.append(&record(0, seq, 3000)).unwrap();
                shared.set(0, seq + 1);
            }
        });
        until("the holder to log", || shared.get(0) > 5);
        holder.stop_as_holder(log);
        let logger = fork(|| {
            let log = builder.clone().open().unwrap();
            (0..50).for_each(|seq| log.append(&record(7, seq, odd_len(seq, 300))).unwrap());
            shared.set(1, 1);
            loop {
                std::thread::park();
            }
        });
        until("the records", || shared.get(1) == 1);
        logger.kill();
        holder.kill();
        let before = std::fs::metadata(log).unwrap().dev();
        umount(&dir.file("merged"));
        // Something else takes the number.
        mount("tmpfs", &dir.file("between"), "tmpfs", 0, "");
        mount_overlay(dir);
        assert_ne!(std::fs::metadata(dir.file("merged")).unwrap().dev(), before, "another device");
        drop(builder.clone().open().unwrap());
        assert_left_over_delivered(&std::fs::read(log).unwrap(), shared.get(0), 7, 50);
    });
}

#[test]
fn on_overlayfs_a_process_whose_descriptors_were_closed_does_not_write_into_a_slot_that_is_anothers_by_now() {
    with_overlay(|_, log, builder| {
        let shared = Shared::new();
        let mut holder = fork(|| {
            let log = builder.clone().open().unwrap();
            for seq in 0.. {
                log.append(&record(0, seq, 3000)).unwrap();
                shared.set(9, seq + 1);
            }
        });
        until("the holder to log", || shared.get(9) > 5);
        let child = fork(|| {
            let log = builder.clone().open().unwrap();
            log.append(&record(1, 0, 60)).unwrap();
            shared.set(0, 1);
            until("the holder to be stopped", || shared.get(0) == 2);
            (1..50).for_each(|seq| log.append(&record(1, seq, 60)).unwrap());
            // SAFETY: this child has no descriptors of its own above 2, except the engine's: that is the test.
            assert_eq!(unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, 0) }, 0);
            shared.set(0, 3);
            until("the other one", || shared.get(0) == 4);
            (50..600).for_each(|seq| log.append(&record(1, seq, odd_len(seq, 300))).unwrap());
            shared.set(1, 1);
            until("the end", || shared.get(0) == 5);
            log.close().unwrap();
        });
        until("the child to attach", || shared.get(0) == 1);
        // Nobody writes, so nobody hears of the closed descriptors by that.
        holder.stop_as_holder(log);
        shared.set(0, 2);
        until("the descriptors to be closed", || shared.get(0) == 3);
        // Finds a slot whose owner seems to be dead, and takes it.
        let other = builder.clone().open().unwrap();
        assert_eq!(other.status().unwrap().processes.len(), 2, "it has the slot of the child");
        shared.set(0, 4);
        (0..600).for_each(|seq| other.append(&record(2, seq, odd_len(seq, 300))).unwrap());
        until("the child", || shared.get(1) == 1);
        holder.kill();
        shared.set(0, 5);
        child.join();
        other.close().unwrap();
        let mut seen = seen(&std::fs::read(log).unwrap());
        seen.writers.remove(&0);
        assert_eq!(seen.others, [""; 0]);
        assert_eq!(seen.writers.remove(&1), Some((0..600).collect()));
        assert_eq!(seen.writers.remove(&2), Some((0..600).collect()));
    });
}
