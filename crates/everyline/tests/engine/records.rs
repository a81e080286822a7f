//! What a record may be: any length, any bytes, in the order it was logged.

use std::io::Write;

use everyline::{ErrorKind, Full};

use crate::support::{Dir, assert_exactly, record};

#[test]
fn records_of_1_to_5000_bytes_arrive_whole_and_in_order() {
    let dir = Dir::new();
    let log = dir.open();
    let mut expected = Vec::new();
    for len in (1..5000).step_by(7).chain([5000, 1, 2, 3]) {
        let bytes: Vec<u8> = (0..len).map(|i| (len + i * 31) as u8).collect();
        log.append(&bytes).unwrap();
        expected.extend_from_slice(&bytes);
    }
    assert!(std::fs::read(dir.log()).unwrap() == expected, "byte for byte, also without line ends");
}

#[test]
fn records_over_the_buffer_over_the_ring_and_of_16_mib_keep_their_place_among_small_ones() {
    for ring in [4 << 10, 256 << 10] {
        let dir = Dir::new();
        let log = dir.builder().ring_bytes(ring).open().unwrap();
        let sizes = [60, 64 << 10, 61, (64 << 10) + 1, 62, 300_001, 63, 16 << 20, 64, 4072, 4073, 4096, 65, 66];
        for (seq, len) in sizes.into_iter().enumerate() {
            log.append(&record(1, seq as u64, len)).unwrap();
        }
        log.flush().unwrap();
        let bytes = std::fs::read(dir.log()).unwrap();
        assert_eq!(bytes.len(), sizes.iter().sum::<usize>());
        assert_exactly(&bytes, [(1, sizes.len() as u64)]);
        log.close().unwrap();
        assert!(!dir.journal().exists());
    }
}

#[test]
fn large_records_of_several_threads_stay_whole() {
    let dir = Dir::new();
    let log = dir.builder().ring_bytes(16 << 10).open().unwrap();
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let log = &log;
            let len = |seq: u64| if seq.is_multiple_of(3) { 200_003 } else { 999 };
            scope.spawn(move || (0..30).for_each(|seq| log.append(&record(writer, seq, len(seq))).unwrap()));
        }
    });
    log.flush().unwrap();
    assert_exactly(&dir.all(), (0..3).map(|w| (w, 30)));
}

#[test]
fn an_empty_record_is_accepted_and_changes_nothing() {
    let dir = Dir::new();
    let log = dir.open();
    log.append(b"").unwrap();
    log.append(b"one\n").unwrap();
    log.append(b"").unwrap();
    log.append(b"two\n").unwrap();
    log.flush().unwrap();
    assert_eq!(dir.text(), "one\ntwo\n");
}

#[test]
fn a_record_over_the_overflow_bound_is_dropped_and_announced_and_the_log_goes_on() {
    let dir = Dir::new();
    // Waiting would not make room for it.
    let log = dir.builder().overflow_bytes(1 << 20).full(Full::Block).open().unwrap();
    log.append(b"before\n").unwrap();
    let e = log.append(&vec![b'x'; (1 << 20) + 1]).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::RecordTooLarge);
    let text = e.to_string();
    assert!(text.contains("app.log") && text.contains("overflow_bytes, which bounds one record, too, is 1048576"));
    log.append(b"after\n").unwrap();
    let lines = dir.text();
    let lines: Vec<&str> = lines.lines().collect();
    assert!(lines[0] == "before" && lines[1].starts_with("everyline: 1 record") && lines[2] == "after", "{lines:?}");
    assert_eq!((log.counters().records, log.counters().dropped, log.counters().failed), (2, 1, 0));
}

#[test]
fn one_write_is_one_record() {
    let dir = Dir::new();
    let mut log = dir.open();
    assert_eq!(log.write(b"a line\n").unwrap(), 7);
    (&log).write_all(b"another\n").unwrap();
    Write::flush(&mut log).unwrap();
    assert_eq!(log.counters().records, 2);
    assert_eq!(dir.text(), "a line\nanother\n");
}

#[test]
fn records_in_the_log_before_are_left_alone_and_truncate_empties_it_for_the_first_process_only() {
    let dir = Dir::new();
    std::fs::write(dir.log(), "old\n").unwrap();
    let log = dir.open();
    log.append(b"new\n").unwrap();
    assert_eq!(dir.text(), "old\nnew\n");
    let child = crate::support::fork(|| {
        let log = dir.builder().truncate(true).open().unwrap();
        log.append(b"not the first\n").unwrap();
    });
    child.join();
    assert_eq!(dir.text(), "old\nnew\nnot the first\n");
    drop(log);
    let log = dir.builder().truncate(true).open().unwrap();
    log.append(b"first\n").unwrap();
    assert_eq!(dir.text(), "first\n");
}
