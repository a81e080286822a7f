//! The bytes of a journal, as they stand in its files. A change here without a new layout version is a bug: processes of
//! two releases would read each other's words wrongly.

use std::os::unix::fs::MetadataExt;

use crate::support::{Dir, fork, record, word_of};

const VERSION: u64 = 2;

/// Offsets of the words of a slot's identity, producer, consumer.
const SLOT_FIXED: &[(u64, u64, &str)] = &[
    (0, u64::from_le_bytes(*b"evryline"), "magic"),
    (8, VERSION, "layout version"),
    (32, 0, "index"),
    (56, u64::from_le_bytes(*b"READY!!\n"), "ready"),
    (128, 40, "head: one frame of 24 + 11 bytes, padded to 8"),
    (136, 0, "over_len"),
    (152, 1, "records"),
    (160, 11, "bytes"),
    (168, 0, "dropped"),
    (256, 40, "tail"),
    (264, 0, "over_tail"),
    (272, 0, "announced"),
    (384, 0, "waiters"),
    (4096, 0, "phase of the note: idle"),
    (4096 + 32, 0, "note: offset and skip of the last batch"),
    (4096 + 40, 11, "note: its length"),
    (4096 + 64, 1, "note: one entry"),
    (4096 + 72, 1, "note: one record"),
    (4096 + 352, 0, "note: slot of the entry"),
    (4096 + 360, 40, "note: its new tail"),
];

#[test]
fn a_control_file_of_layout_version_2_looks_like_this() {
    let dir = Dir::new();
    let log = dir.builder().ring_bytes(8192).max_bytes(1_000_000).open().unwrap();
    log.append_at(20, b"eleven byte").unwrap();
    let control = dir.inner("control");
    let meta = std::fs::metadata(&control).unwrap();
    assert_eq!(meta.len(), 4096);
    let directory = std::fs::metadata(dir.path()).unwrap();
    let live = std::fs::metadata(dir.log()).unwrap();
    let birth =
        |m: &std::fs::Metadata| m.created().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos() as u64;
    let boot = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap().replace('-', "");
    let half = |range: std::ops::Range<usize>| u64::from_str_radix(&boot[range], 16).unwrap();
    let fixed = [
        (0, u64::from_le_bytes(*b"evryline"), "magic"),
        (8, VERSION, "layout version"),
        (16, 0x0102_0304_0506_0708, "byte order"),
        (24, 0, "compatible features"),
        (32, 0, "incompatible features"),
        (40, meta.dev(), "own device"),
        (48, meta.ino(), "own inode"),
        (56, birth(&meta), "own birth time"),
        (80, half(0..16), "boot id"),
        (88, half(16..32), "boot id"),
        (96, directory.dev(), "device of the log's directory"),
        (104, directory.ino(), "inode of the log's directory"),
        (112, 8192, "ring size"),
        (120, 1024, "slots"),
        (136, u64::from_le_bytes(*b"READY!!\n"), "ready"),
        (512, 1, "epoch"),
        (520, live.dev(), "device of the live file"),
        (528, live.ino(), "its inode"),
        (536, birth(&live), "its birth time"),
        (544, 11, "its end"),
        (552, 0, "no rotation by time"),
        (640, 0, "no retry"),
        (656, 0, "no error"),
        (680, 0, "no rotation"),
        (768, 0, "not moved"),
        (776, 1, "settings version"),
        (816, 1, "high-water mark"),
        (896, 0, "nothing synced"),
        (1024, 0, "nothing dirty"),
        (1152, 1, "slot 0 claimed"),
        (1280, 0, "no chore pends"),
        (1336, 0, "no sequence name given"),
        (1344, 0, "nothing compressed"),
        (1352, 0, "nothing deleted for its age or size"),
    ];
    for (offset, value, what) in fixed {
        assert_eq!(word_of(&control, offset), value, "{what} at {offset}");
    }
    assert_ne!((word_of(&control, 64), word_of(&control, 72)), (0, 0), "uuid");
    assert!(
        word_of(&control, 128) >= birth(&meta) && word_of(&control, 128) - birth(&meta) < 60_000_000_000,
        "built at"
    );
    let lease = word_of(&control, 256);
    assert!(lease >> 16 > 0 && lease & 0xFFFF == 0, "generation above 16 bits; slot 0, free: {lease:#x}");
    assert_ne!(word_of(&control, 384), 0, "beat");
    let image = std::fs::read(&control).unwrap();
    assert!(image[1360..].iter().all(|b| *b == 0), "the rest is reserved");
    let text = std::fs::read_to_string(dir.inner("settings")).unwrap();
    let expected = "max_bytes=1000000\nschedule=-\nnaming=numbered\nkeep=5\nkeep_age_ms=-\nkeep_total_bytes=-\n\
                    compress=-\ncompress_after_ms=120000\nlink=-\nfsync=never\nmode=666\nowner=-\n";
    assert_eq!(text, expected);
}

#[test]
fn a_slot_of_layout_version_2_looks_like_this() {
    let dir = Dir::new();
    let log = dir.builder().ring_bytes(8192).open().unwrap();
    log.append_at(20, b"eleven byte").unwrap();
    let (control, slot) = (dir.inner("control"), dir.inner("slot-0000"));
    assert_eq!(std::fs::metadata(&slot).unwrap().len(), 90_112 + 8192);
    for (offset, value, what) in SLOT_FIXED {
        assert_eq!(word_of(&slot, *offset), *value, "{what} at {offset}");
    }
    for (ours, theirs) in [(16, 64), (24, 72)] {
        assert_eq!(word_of(&slot, ours), word_of(&control, theirs), "uuid of the journal");
    }
    assert_eq!(word_of(&slot, 40), u64::from(std::process::id()));
    let stamp = word_of(&slot, 144);
    assert!(stamp >= word_of(&slot, 48), "stamp of the last record, after the time of attach");
    let ids: Vec<u64> = [4104, 4112, 4120].map(|at| word_of(&slot, at)).into();
    assert_eq!(ids, [520, 528, 536].map(|at| word_of(&control, at)), "note: the file");
    assert_eq!(word_of(&slot, 90_112), 11 | 0xE7E1 << 32 | 20 << 48, "frame: length, mark, level");
    assert_eq!(word_of(&slot, 90_120), stamp, "frame: stamp");
    assert_eq!(word_of(&slot, 90_128), u64::from(crc32c::crc32c(b"eleven byte")), "frame: CRC32C");
    let image = std::fs::read(&slot).unwrap();
    assert_eq!(&image[90_136..90_147], b"eleven byte", "frame: record");
    assert_eq!(&image[24_576..24_587], b"eleven byte", "commit buffer");
}

#[test]
fn an_overflow_file_holds_the_same_frames() {
    let dir = Dir::new();
    let shared = crate::support::Shared::new();
    let mut holder = fork(|| {
        let log = dir.open();
        for seq in 0.. {
            log.append(&record(0, seq, 900)).unwrap();
            shared.set(0, 1);
        }
    });
    crate::support::until("the holder to log", || shared.get(0) == 1);
    holder.stop_as_holder(&dir.log());
    let log = dir.open();
    let large = record(1, 0, 70_000);
    log.append_at(30, &large).unwrap();
    let over = dir.inner("over-0001");
    let bytes = std::fs::read(&over).unwrap();
    assert_eq!(bytes.len(), 24 + 70_000);
    assert_eq!(word_of(&over, 0), 70_000 | 0xE7E1 << 32 | 30 << 48);
    assert_eq!(word_of(&over, 16), u64::from(crc32c::crc32c(&large)));
    assert_eq!(&bytes[24..], &large[..]);
    assert_eq!(word_of(&dir.inner("slot-0001"), 136), 24 + 70_000, "over_len");
    holder.kill();
}
