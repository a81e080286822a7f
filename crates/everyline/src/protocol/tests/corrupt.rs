//! Garbage in shared memory: whatever a slot or a control word says, nobody panics, nobody goes round in circles, and
//! the records of healthy slots arrive. Seeds are fixed, so a failure can be repeated.

use std::sync::atomic::{AtomicU64, Ordering};

use super::super::sim::{LOG, Plan, RING_BYTES, World};
use super::harness::{Act, LONG, Recovery, Run, dated, numbered};

/// splitmix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    /// Most words stay; the others become something near, at the edge, or anything.
    fn spoil(&mut self, word: &AtomicU64) {
        let old = word.load(Ordering::Relaxed);
        let new = match self.below(14) {
            0 => 0,
            1 => self.below(10),
            2 => u64::MAX - self.below(3),
            3 => self.next(),
            4 => old.wrapping_add(self.below(100)),
            5 => old.wrapping_sub(self.below(100)),
            6 => 1 << self.below(64),
            _ => old,
        };
        word.store(new, Ordering::Relaxed);
    }
}

fn spoil_slot(world: &World, slot: u16, random: &mut Random) {
    let view = world.slot(slot);
    let (header, note) = (view.header(), view.note());
    let (producer, consumer) = (&header.producer, &header.consumer);
    let words = [&producer.head, &producer.over_len, &producer.dropped, &consumer.tail, &consumer.over_tail];
    words.into_iter().chain([&consumer.announced]).for_each(|w| random.spoil(w));
    let words = [&note.phase, &note.at, &note.len, &note.source, &note.source_at, &note.entries, &note.starts];
    words.into_iter().chain(&note.id).for_each(|w| random.spoil(w));
    [&note.name_len, &note.next_rollover_at].into_iter().chain(&note.name[..3]).for_each(|w| random.spoil(w));
    for entry in &note.entry[..4] {
        [&entry.slot, &entry.tail, &entry.over_tail, &entry.announced].into_iter().for_each(|w| random.spoil(w));
    }
    note.start[..4].iter().for_each(|w| random.spoil(w));
    for _ in 0..random.below(40) {
        view.ring_write(random.below(RING_BYTES), &random.next().to_ne_bytes());
    }
    let mut files = world.overflow.borrow_mut();
    let file = &mut files[usize::from(slot)];
    for _ in 0..random.below(4) {
        if !file.is_empty() {
            let at = random.below(file.len() as u64) as usize;
            file[at] = random.next() as u8;
        }
    }
    if random.below(4) == 0 {
        let len = random.below(file.len() as u64 + 1) as usize;
        file.truncate(len);
    }
}

fn spoil_control(world: &World, random: &mut Random) {
    let control = world.control();
    let (file, trouble, wishes) = (&control.file, &control.trouble, &control.wishes);
    let words = [&file.epoch, &file.end, &file.rollover_at, &file.rollover_for, &file.verified_end];
    words.into_iter().chain(&file.id).for_each(|w| random.spoil(w));
    for orphan in control.orphans.iter() {
        orphan.id.iter().chain([&orphan.from]).for_each(|w| random.spoil(w));
    }
    let words = [&trouble.retry_at_ms, &trouble.retry_wait_ms, &trouble.rotate_retry_at_ms, &trouble.path_seen_ms];
    words.into_iter().for_each(|w| random.spoil(w));
    let words = [&wishes.settings_version, &wishes.reopen, &wishes.rotate, &wishes.rotate_done, &wishes.high_water];
    words.into_iter().for_each(|w| random.spoil(w));
    random.spoil(&control.beat);
}

/// True if a record stands whole in some file.
fn arrived(world: &World, slot: usize, number: usize) -> bool {
    let bytes = &world.ledger.borrow()[slot][number].bytes;
    let disk = world.disk.borrow();
    disk.inodes.iter().any(|i| memchr::memmem::find(&i.bytes, bytes).is_some())
}

fn garbage(seed: u64, dated_names: bool, control: bool) -> Result<(), String> {
    let mut random = Random(seed);
    let settings = if dated_names { dated() } else { numbered() };
    let plan = Plan { crash_at: Some(random.below(200)), ..Plan::default() };
    let mut run = Run::new(settings, plan, Recovery::Other, None);
    run.check_recovery = false;
    run.after_death = None;
    let acts = random.below(LONG.len() as u64) as usize;
    for act in &LONG[..acts] {
        run.act_without_recovery(*act);
    }
    spoil_slot(&run.world, 0, &mut random);
    if control {
        spoil_control(&run.world, &mut random);
    }
    run.world.plan.set(Plan::default());
    let before = run.world.ledger.borrow()[1].len();
    for _ in 0..4 {
        run.act(Act::Tick(1100));
        run.act(Act::Log(1, 65));
        run.look(2, false);
    }
    run.act(Act::Tick(1100));
    run.look(1, false);
    let lost = (before..before + 4).find(|n| !arrived(&run.world, 1, *n));
    if let (Some(_), Some(trace)) = (lost, &run.world.trace) {
        println!("{}", trace.borrow().join("\n"));
    }
    let names = run.world.disk.borrow().names.len();
    match lost {
        Some(number) => Err(format!("seed {seed}: record 1.{number} has not arrived")),
        None if names > 40 || run.world.disk.borrow().at(LOG).is_none() => Err(format!("seed {seed}: {names} names")),
        None => Ok(()),
    }
}

#[test]
fn garbage_in_a_slot_harms_no_other() {
    for seed in 0..1500 {
        assert_eq!(garbage(seed, seed % 2 == 0, false), Ok(()));
    }
}

#[test]
fn garbage_in_the_control_words_stops_nobody() {
    for seed in 10_000..11_500 {
        assert_eq!(garbage(seed, seed % 2 == 0, true), Ok(()));
    }
}
