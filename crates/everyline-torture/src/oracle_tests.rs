//! Each kind of damage, planted into a good log: the oracle finds it, and finds nothing in the good one.

use super::*;
use crate::record::{Head, compose};

const RUN: u32 = 99;
const SECOND: u64 = 1_000_000_000;

fn record(who: u32, seq: u64, size: usize) -> Vec<u8> {
    let mut out = Vec::new();
    compose(&mut out, Head { run: RUN, who, seq, stamp: seq * SECOND, foreign: false }, size, false);
    out
}

/// Two writers, twenty records each, in turns, over two files.
fn good() -> (Vec<Vec<u8>>, Vec<Account>) {
    let all: Vec<Vec<u8>> =
        (0..40).map(|i| record(i % 2, u64::from(i / 2), [7, 20, 33, 700][i as usize % 4])).collect();
    let account = Account { begun: 20, acked: 20, ..Account::default() };
    (all, vec![account; 2])
}

fn judge(expect: &Expect, accounts: &[Account], records: &[Vec<u8>]) -> Found {
    let half = records.len() / 2;
    let files = [records[..half].concat(), records[half..].concat()];
    judge_files(expect, accounts, &files)
}

fn judge_files(expect: &Expect, accounts: &[Account], files: &[Vec<u8>]) -> Found {
    let mut oracle = Oracle::new(expect, accounts);
    for (i, bytes) in files.iter().enumerate() {
        oracle.file(&LogFile { name: ["one", "two"][i], bytes, ends_ns: None, copy: false });
    }
    oracle.finish()
}

fn expect() -> Expect {
    Expect { run: RUN, ..Expect::default() }
}

fn only(found: &Found) -> &Damage {
    assert_eq!(found.damage.len(), 1, "{:?}", found.damage);
    &found.damage[0]
}

#[test]
fn a_good_log_is_good() {
    let (all, accounts) = good();
    let found = judge(&expect(), &accounts, &all);
    assert_eq!((found.records, found.files, found.damage), (40, 2, vec![]));
}

/// Short records carry twelve bits of their number.
#[test]
fn the_numbers_of_short_records_are_known_also_when_the_beginning_is_gone() {
    let all: Vec<Vec<u8>> = (0..5000).map(|i| record(0, i, if i == 4500 { 700 } else { 7 })).collect();
    let accounts = [Account { begun: 5000, acked: 5000, ..Account::default() }];
    let expires = Expect { expires: true, ..expect() };
    assert_eq!(judge(&expires, &accounts, &all[4200..]).damage, vec![]);
    assert_eq!(judge(&expires, &accounts, &all[4600..]).damage, vec![]);
    let lost = [&all[4200..4300], &all[4301..]].concat();
    assert_eq!(*only(&judge(&expires, &accounts, &lost)), Damage::Lost { who: 0, first: 4300, count: 1 });
}

#[test]
fn a_lost_record_is_found_and_an_unacknowledged_one_is_not_missed() {
    let (mut all, mut accounts) = good();
    all.remove(10);
    assert_eq!(*only(&judge(&expect(), &accounts, &all)), Damage::Lost { who: 0, first: 5, count: 1 });
    let (mut all, _) = good();
    all.pop();
    accounts[1].acked = 19;
    assert_eq!(judge(&expect(), &accounts, &all).damage, []);
    accounts[1].acked = 20;
    assert!(matches!(only(&judge(&expect(), &accounts, &all)), Damage::Lost { who: 1, first: 19, count: 1 }));
}

#[test]
fn a_doubled_record_is_found_in_every_form() {
    for i in 0..40 {
        let (mut all, accounts) = good();
        let again = all[i].clone();
        all.insert(i + 1, again);
        let found = judge(&expect(), &accounts, &all);
        assert!(matches!(only(&found), Damage::Doubled { seq, .. } if *seq == i as u64 / 2), "{i}: {:?}", found.damage);
    }
}

#[test]
fn a_torn_record_is_found_and_what_follows_is_read() {
    let (mut all, accounts) = good();
    let cut = all[7].len() / 2;
    all[7].truncate(cut);
    let found = judge(&expect(), &accounts, &all);
    assert!(found.damage.iter().any(|d| matches!(d, Damage::Torn { .. })), "{:?}", found.damage);
    assert!(found.damage.iter().any(|d| matches!(d, Damage::Lost { who: 1, first: 3, count: 1 })));
    assert_eq!((found.damage.len(), found.records), (2, 39));
}

#[test]
fn a_fragment_beside_the_whole_record_is_allowed_where_it_is_expected() {
    let (mut all, accounts) = good();
    let fragment = [&all[7][..20], b"\n"].concat();
    all.insert(7, fragment);
    assert!(matches!(only(&judge(&expect(), &accounts, &all)), Damage::Torn { .. }));
    assert_eq!(judge(&Expect { fragments: 1, ..expect() }, &accounts, &all).damage, []);
}

#[test]
fn two_records_changed_over_are_found() {
    let (mut all, accounts) = good();
    // Full records, whose numbers are whole.
    all.swap(2, 6);
    let found = judge(&expect(), &accounts, &all);
    assert!(found.damage.iter().any(|d| matches!(d, Damage::Order { who: 0, .. })), "{:?}", found.damage);
}

#[test]
fn a_record_that_nobody_logged_is_found() {
    let (mut all, accounts) = good();
    all.push(record(1, 20, 50));
    assert!(matches!(only(&judge(&expect(), &accounts, &all)), Damage::Unknown { who: 1, seq: 20, .. }));
    all.pop();
    all.push(record(2, 0, 50));
    assert!(matches!(only(&judge(&expect(), &accounts, &all)), Damage::Unknown { who: 2, .. }));
}

#[test]
fn a_file_over_the_limit_is_found_unless_it_is_one_record() {
    let (all, accounts) = good();
    let most = all[..20].concat().len() as u64;
    assert_eq!(judge(&Expect { max_bytes: Some(most), ..expect() }, &accounts, &all).damage, []);
    let found = judge(&Expect { max_bytes: Some(most - 1), ..expect() }, &accounts, &all);
    assert!(found.damage.iter().all(|d| matches!(d, Damage::Oversize { .. })) && !found.damage.is_empty());
    let one = [Account { begun: 1, acked: 1, ..Account::default() }];
    let large = [record(0, 0, 9000)];
    assert_eq!(judge_files(&Expect { max_bytes: Some(100), ..expect() }, &one, &large).damage, []);
}

#[test]
fn an_early_record_is_found_and_a_late_one_is_not() {
    let accounts = [Account { begun: 3, acked: 3, ..Account::default() }];
    let files = [record(0, 0, 50), [record(0, 1, 50), record(0, 2, 50)].concat()];
    let check = |ends: [u64; 2]| {
        let expect = expect();
        let mut oracle = Oracle::new(&expect, &accounts);
        for (i, bytes) in files.iter().enumerate() {
            oracle.file(&LogFile { name: "x", bytes, ends_ns: Some(ends[i] * SECOND), copy: false });
        }
        oracle.finish().damage
    };
    assert_eq!(check([1, 3]), []);
    assert_eq!(check([9, 10]), [], "late");
    assert!(matches!(check([1, 2])[..], [Damage::Early { seq: 2, by_ns: 0, .. }]));
}

#[test]
fn with_retention_only_a_beginning_may_be_missing() {
    let (all, accounts) = good();
    let expires = Expect { expires: true, ..expect() };
    assert_eq!(judge(&expires, &accounts, &all[9..]).damage, []);
    let mut holed = all[8..].to_vec();
    holed.remove(4);
    assert!(matches!(only(&judge(&expires, &accounts, &holed)), Damage::Lost { count: 1, .. }));
}

#[test]
fn drops_must_be_announced_as_often_as_they_happened() {
    let (mut all, mut accounts) = good();
    accounts[0].dropped = 12;
    let expect = Expect { announced: true, ..expect() };
    let missing = Damage::Announced { announced: 0, dropped: 12 };
    assert_eq!(*only(&judge(&expect, &accounts, &all)), missing);
    all.insert(3, b"everyline: 12 records of process 5 were dropped: no room\n".to_vec());
    assert_eq!(judge(&expect, &accounts, &all).damage, []);
}

#[test]
fn lines_of_others_are_counted() {
    let (mut all, accounts) = good();
    let mut line = Vec::new();
    compose(&mut line, Head { run: RUN, who: 0, seq: 0, stamp: 0, foreign: true }, 40, false);
    all.insert(5, line);
    assert_eq!(judge(&Expect { foreign: 1, ..expect() }, &accounts, &all).damage, []);
    assert!(matches!(
        only(&judge(&Expect { foreign: 2, ..expect() }, &accounts, &all)),
        Damage::ForeignLost { count: 1 }
    ));
}
