//! Names up to what the file system takes: the journal and other hidden files find a shorter one; an archive's name that is
//! too long is a rotation that fails, and no record is lost.

use everyline::{Appender, Naming};

use crate::support::Dir;

fn open(dir: &Dir, name: &str, naming: Naming) -> Appender {
    Appender::builder(dir.file(name)).max_bytes(20).naming(naming).keep(Some(3)).open().unwrap()
}

fn read(dir: &Dir, name: &str) -> String {
    std::fs::read_to_string(dir.file(name)).unwrap_or_default()
}

#[test]
fn a_log_with_a_long_name_is_shared_rotated_and_recovered_as_any_other() {
    let dir = Dir::new();
    // Two names that begin alike; the second is of letters of two bytes.
    let names = [format!("{}a", "x".repeat(251)), format!("{}b", "x".repeat(251)), "\u{e4}".repeat(126)];
    let logs: Vec<Appender> = names.iter().map(|name| open(&dir, name, Naming::Numbered)).collect();
    for (name, log) in names.iter().zip(&logs) {
        for n in 0..3 {
            log.append(format!("{} record {n} .\n", &name[name.len() - 2..]).as_bytes()).unwrap();
        }
        let status = everyline::status(&dir.file(name)).unwrap();
        assert_eq!((status.processes.len(), status.rotations), (1, 2), "{status:?}");
    }
    for name in &names {
        let kept: Vec<String> = [".2", ".1", ""].iter().map(|end| read(&dir, &format!("{name}{end}"))).collect();
        let expected = [0, 1, 2].map(|n| format!("{} record {n} .\n", &name[name.len() - 2..]));
        assert_eq!(kept, expected);
    }
    drop(logs);
    // Nothing hidden is left, and `clean` finds none.
    assert!(
        std::fs::read_dir(dir.path()).unwrap().all(|e| !e.unwrap().file_name().as_encoded_bytes().starts_with(b"."))
    );
    let cleaned = everyline::clean(&dir.file(&names[0])).unwrap();
    assert!(cleaned.removed.is_empty() && !cleaned.in_use, "{cleaned:?}");
}

#[test]
fn an_archive_name_that_is_too_long_costs_no_record_and_is_told() {
    for (length, naming) in [(255, Naming::Numbered), (254, Naming::Numbered), (250, Naming::Dated)] {
        let dir = Dir::new();
        let name = "y".repeat(length);
        let log = open(&dir, &name, naming);
        for n in 0..9 {
            log.append(format!("record {n} ...\n").as_bytes()).unwrap();
        }
        log.flush().unwrap();
        let all: String = (0..9).map(|n| format!("record {n} ...\n")).collect();
        assert_eq!(read(&dir, &name), all, "{length}");
        let e = log.rotate().unwrap_err();
        assert_eq!(e.raw_os_error(), Some(libc::ENAMETOOLONG), "{e}");
        let status = log.status().unwrap();
        assert_eq!(status.rotations, 0);
        assert!(status.rotations_failed > 0, "{status:?}");
    }
}
