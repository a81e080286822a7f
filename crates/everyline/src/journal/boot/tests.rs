//! Journals as a reboot leaves them: a batch that was noted, in every state that file, tails and memory may be in.

use std::time::Instant;

use super::*;
use crate::Appender;
use crate::journal::claim::{Claim, claim};
use crate::journal::control::{ControlFile, store2};
use crate::protocol::env::Meta;

const OVER: [&[u8]; 2] = [b"the first in overflow\n", b"the second in overflow, longer\n"];
const RING: [&[u8]; 2] = [b"the first in the ring\n", b"the second\n"];
const OLD: &[u8] = b"written before\n";

fn frame(record: &[u8]) -> Vec<u8> {
    let head = Frame { len: record.len() as u32, level: 0, stamp: 1, crc: crc32c::crc32c(record) };
    let mut bytes = [&head.encode()[..], record].concat();
    bytes.resize(bytes.len().next_multiple_of(8), 0);
    bytes
}

/// A journal with two slots: 0 has records in its overflow file, 1 has records in its ring and holds the lease.
struct Left {
    dir: tempfile::TempDir,
    place: Place,
    control: ControlFile,
    slots: [Claim; 2],
    /// Where overflow and ring end.
    over_end: u64,
    ring_end: u64,
}

impl Left {
    fn new(overflow: &[&[u8]]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("app.log");
        std::fs::write(&path, OLD).unwrap();
        let log = Log::find(&path).unwrap();
        let find = || Place::find_or_make(&log, None, 0o666);
        // The first try makes it.
        let place = find().or_else(|_| find()).unwrap();
        let control = ControlFile::attach(&log, &place, 4096, Instant::now(), || Ok(())).unwrap().unwrap();
        let slots = [(); 2].map(|()| claim(&place, &control, true).unwrap());
        assert_eq!([slots[0].index, slots[1].index], [0, 1]);
        let over: Vec<u8> = overflow.iter().flat_map(|record| frame(record)).collect();
        let file = dir.path().join(".app.log.everyline/shared/over-0000");
        std::fs::write(&file, &over).unwrap();
        let inode = std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&file).unwrap());
        slots[0].slot.header().producer.over_inode.store(inode, Ordering::Relaxed);
        slots[0].slot.header().producer.over_len.store(over.len() as u64, Ordering::Relaxed);
        let ring: Vec<u8> = RING.iter().flat_map(|record| frame(record)).collect();
        slots[1].slot.ring_write(0, &ring);
        slots[1].slot.header().producer.head.store(ring.len() as u64, Ordering::Relaxed);
        let words = control.words();
        words.lease.take(words.lease.load(), 1).unwrap();
        let Meta { id, .. } = os::lookup(log.directory.fd(), "app.log").unwrap().unwrap();
        let note = slots[1].slot.note();
        for (word, value) in words.file.id.iter().chain(&note.id).zip(id.0.iter().chain(&id.0)) {
            word.store(*value, Ordering::Relaxed);
        }
        words.file.epoch.store(1, Ordering::Relaxed);
        note.at.store((OLD.len() as u64) << 16, Ordering::Relaxed);
        Self { dir, place, control, slots, over_end: over.len() as u64, ring_end: ring.len() as u64 }
    }

    /// Notes a batch of these records, which takes all that is there.
    fn note(&self, records: &[&[u8]], phase: Phase) -> Vec<u8> {
        let (slot, bytes) = (&self.slots[1].slot, records.concat());
        slot.buf_put(0, &bytes);
        let note = slot.note();
        let mut at = 0;
        for (i, record) in records.iter().enumerate() {
            note.start[i / 4].fetch_or(at << (i % 4 * 16), Ordering::Relaxed);
            at += record.len() as u64;
        }
        note.starts.store(records.len() as u64, Ordering::Relaxed);
        note.len.store(bytes.len() as u64, Ordering::Relaxed);
        note.entry[0].over_tail.store(self.over_end, Ordering::Relaxed);
        note.entry[1].slot.store(1, Ordering::Relaxed);
        note.entry[1].tail.store(self.ring_end, Ordering::Relaxed);
        note.entries.store(2, Ordering::Relaxed);
        note.set_phase(phase);
        bytes
    }

    fn log(&self) -> std::path::PathBuf {
        self.dir.path().join("app.log")
    }

    fn append(&self, bytes: &[u8]) {
        use std::io::Write;
        File::options().append(true).open(self.log()).unwrap().write_all(bytes).unwrap();
    }

    /// Starts the machine, and the next process. The lines that are in the log then.
    fn boot(self) -> Vec<String> {
        store2(&self.control.words().identity.boot, [1, 2]);
        let (dir, path) = (&self.dir, self.log());
        drop((self.slots, self.control, self.place));
        let log = Appender::builder(&path).open().unwrap();
        log.close().unwrap();
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
        assert_eq!(left, ["app.log"], "nothing undelivered, nothing set aside");
        let text = std::fs::read_to_string(&path).unwrap();
        let mut lines: Vec<String> =
            text.strip_prefix("written before\n").unwrap().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    }
}

/// The batch, each record once, as lines.
fn each_once(records: &[&[u8]]) -> Vec<String> {
    let mut lines: Vec<String> = records.iter().map(|r| String::from_utf8_lossy(r).trim_end().to_owned()).collect();
    lines.sort();
    lines
}

const BATCH: [&[u8]; 4] = [RING[0], OVER[0], OVER[1], RING[1]];

#[test]
fn a_batch_of_ring_and_overflow_records_is_in_the_file_once_however_much_of_it_was() {
    for phase in [Phase::Write, Phase::Written] {
        let whole: usize = BATCH.iter().map(|r| r.len()).sum();
        for written in [0, 1, 30, whole - 1, whole] {
            let left = Left::new(&OVER);
            let bytes = left.note(&BATCH, phase);
            left.append(&bytes[..written]);
            assert_eq!(left.boot(), each_once(&BATCH), "{phase:?}, {written} bytes of the batch in the file");
        }
    }
}

#[test]
fn of_a_written_batch_the_tails_that_had_not_moved_do_so_after_the_reboot() {
    for moved in [0, 1] {
        let left = Left::new(&OVER);
        let bytes = left.note(&BATCH, Phase::Written);
        left.append(&bytes);
        let consumer = |i: usize| &left.slots[i].slot.header().consumer;
        match moved {
            0 => consumer(0).over_tail.store(left.over_end, Ordering::Relaxed),
            _ => consumer(1).tail.store(left.ring_end, Ordering::Relaxed),
        }
        assert_eq!(left.boot(), each_once(&BATCH), "slot {moved}");
    }
}

#[test]
fn a_noted_batch_whose_buffer_did_not_come_to_disk_is_gathered_anew() {
    for phase in [Phase::Write, Phase::Written] {
        let left = Left::new(&OVER);
        left.note(&BATCH, phase);
        left.slots[1].slot.buf_put(5, &[0; 20]);
        if phase == Phase::Write {
            assert_eq!(left.boot(), each_once(&BATCH));
        } else {
            // It said that the batch is in the file, and nothing here says otherwise.
            assert_eq!(left.boot(), [""; 0]);
        }
    }
}

#[test]
fn an_announcement_in_the_batch_is_made_once() {
    let left = Left::new(&OVER);
    let words = left.slots[0].slot.header();
    words.producer.dropped.store(3, Ordering::Relaxed);
    let line = announcement(3, words.identity.pid.load(Ordering::Relaxed));
    let batch = [&[line.as_bytes()], &BATCH[..]].concat();
    let bytes = left.note(&batch, Phase::Write);
    left.slots[1].slot.note().entry[0].announced.store(3, Ordering::Relaxed);
    left.append(&bytes);
    assert_eq!(left.boot(), each_once(&batch));
}

/// A record that is too large for the commit buffer is noted by its place in the overflow file.
fn large_record(spoil: bool, written: usize) -> Vec<String> {
    let mut record = vec![b'x'; 70_001];
    record[70_000] = b'\n';
    let left = Left::new(&[&record]);
    let note = left.slots[1].slot.note();
    note.source.store(1, Ordering::Relaxed);
    note.source_at.store(FRAME_HEADER, Ordering::Relaxed);
    note.len.store(record.len() as u64, Ordering::Relaxed);
    note.entry[0].over_tail.store(left.over_end, Ordering::Relaxed);
    note.entries.store(1, Ordering::Relaxed);
    note.set_phase(Phase::Write);
    left.append(&record[..written]);
    if spoil {
        let path = left.dir.path().join(".app.log.everyline/shared/over-0000");
        File::options().write(true).open(path).unwrap().write_all_at(b"garbage", 50_000).unwrap();
    }
    left.boot()
}

#[test]
fn a_noted_large_record_is_in_the_file_once() {
    let line = "x".repeat(70_000);
    for written in [0, 1, 40_000, 70_001] {
        assert_eq!(large_record(false, written), each_once(&[RING[0], RING[1], line.as_bytes()]), "{written}");
    }
}

#[test]
fn of_a_noted_large_record_that_did_not_come_to_disk_whole_nothing_is_written() {
    assert_eq!(large_record(true, 0), each_once(&RING));
}
