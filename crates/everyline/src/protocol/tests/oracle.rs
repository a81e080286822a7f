//! What must be in the files, judged from outside: by what was logged, and by everything that was ever live.
//!
//! Promise: [`audit`] names the first record that is missing, double, torn or out of order, the first limit that does not
//! hold, the first archive that is gone or in the wrong place, or whatever the world saw that must not happen.

use std::collections::BTreeSet;

use super::super::sim::disk::{Gone, Inode};
use super::super::sim::{SLOTS, World, archive_rank};
use crate::rotation::Naming;

/// Which promises are asked for.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// Every published record; otherwise only those whose call has returned.
    pub all_published: bool,
    /// Sizes and times at which files end.
    pub limits: bool,
    /// Records of one slot in their order.
    pub ordered: bool,
    /// No record stands there twice.
    pub once: bool,
    /// Pieces of records that may stand beside whole ones.
    pub torn: usize,
}

impl Default for Rules {
    fn default() -> Self {
        Self { all_published: true, limits: true, ordered: true, once: true, torn: 0 }
    }
}

/// A record by slot and number.
type Key = (usize, usize);

struct Audit<'a> {
    world: &'a World,
    rules: Rules,
    seen: BTreeSet<Key>,
    last: [Option<usize>; SLOTS as usize],
    torn: Vec<String>,
}

/// Judges a world.
pub fn audit(world: &World, rules: Rules) -> Result<(), String> {
    if let Some(first) = world.violations.borrow().first() {
        return Err(first.clone());
    }
    let mut audit = Audit { world, rules, seen: BTreeSet::new(), last: [None; SLOTS as usize], torn: Vec::new() };
    let disk = world.disk.borrow();
    let mut files: Vec<&Inode> = disk.inodes.iter().filter(|i| i.lives.is_some()).collect();
    files.sort_by_key(|i| i.lives);
    for file in &files {
        match file.gone {
            Some(Gone::Foreign) => {}
            Some(Gone::Replaced) => return Err("a file was renamed over another".into()),
            None | Some(Gone::Retention) => audit.file(file)?,
        }
    }
    let replaced = disk.inodes.iter().any(|i| i.gone == Some(Gone::Replaced));
    if replaced {
        return Err("a file was renamed over another".into());
    }
    if audit.torn.len() > rules.torn {
        return Err(format!("torn: {:?}", audit.torn));
    }
    let mut excused = BTreeSet::new();
    for file in &disk.inodes {
        lines(&file.taken_away).for_each(|line| excused.extend(audit.key(line)));
    }
    audit.missing(&excused)?;
    audit.names_in_order()
}

fn lines(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.split_inclusive(|b| *b == b'\n')
}

impl Audit<'_> {
    /// The record that a line is, whole.
    fn key(&self, line: &[u8]) -> Option<Key> {
        let text = std::str::from_utf8(line).ok()?;
        let (slot, rest) = text.split_once('.')?;
        let key = (slot.parse().ok()?, rest.split_once(';')?.0.parse().ok()?);
        let ledger = self.world.ledger.borrow();
        let (slot, number): Key = key;
        (ledger.get(slot)?.get(number)?.bytes == line).then_some(key)
    }

    fn file(&mut self, file: &Inode) -> Result<(), String> {
        let mut count = 0;
        for line in lines(&file.bytes) {
            count += 1;
            if let Some(key) = self.key(line) {
                self.record(key, file)?;
            } else if !line.starts_with(b"foreign ") || !line.ends_with(b"\n") {
                self.torn.push(format!("{:.40}", String::from_utf8_lossy(line)));
            }
        }
        let most = self.world.settings.max_bytes.unwrap_or(u64::MAX);
        let size = file.bytes.len() as u64;
        if self.rules.limits && size > most && count > 1 {
            return Err(format!("live file {:?} has {size} bytes in {count} lines, limit {most}", file.lives));
        }
        Ok(())
    }

    fn record(&mut self, key: Key, file: &Inode) -> Result<(), String> {
        let (slot, number) = key;
        if !self.seen.insert(key) && self.rules.once {
            return Err(format!("record {slot}.{number} stands there twice"));
        }
        let record = &self.world.ledger.borrow()[slot][number];
        if !record.published {
            return Err(format!("record {slot}.{number} was never published"));
        }
        if self.rules.ordered && self.last[slot].is_some_and(|last| last >= number) {
            return Err(format!("record {slot}.{number} comes after {:?}", self.last[slot]));
        }
        self.last[slot] = Some(number);
        let second = record.stamp / 1_000_000_000;
        if self.rules.limits && file.rollover_s != 0 && second >= file.rollover_s {
            return Err(format!("record {slot}.{number} of {second} is in a file that ends at {}", file.rollover_s));
        }
        Ok(())
    }

    fn missing(&self, excused: &BTreeSet<Key>) -> Result<(), String> {
        for (slot, records) in self.world.ledger.borrow().iter().enumerate() {
            for (number, record) in records.iter().enumerate() {
                let asked = record.acknowledged || (self.rules.all_published && record.published);
                if asked && !self.seen.contains(&(slot, number)) && !excused.contains(&(slot, number)) {
                    return Err(format!("record {slot}.{number} of {} bytes is missing", record.bytes.len()));
                }
            }
        }
        Ok(())
    }

    /// Archives, oldest first, were live in that order, each in one form; and no more of them than asked for.
    fn names_in_order(&self) -> Result<(), String> {
        let (disk, settings) = (self.world.disk.borrow(), &self.world.settings);
        for (name, i) in &disk.names {
            let twice = disk.inodes[*i].zip_of.is_some_and(|of| name.ends_with(".gz") && disk.inodes[of].links > 0);
            if twice {
                return Err(format!("the lines of {name} stand there twice: {:?}", disk.names));
            }
        }
        let mut archives: Vec<_> = disk
            .names
            .iter()
            .filter_map(|(name, i)| {
                // A compressed archive stands for the one it was made from.
                let file = disk.inodes[*i].zip_of.unwrap_or(*i);
                Some((archive_rank(settings.naming, name)?, disk.inodes[file].lives?))
            })
            .collect();
        archives.sort();
        if settings.naming == Naming::Numbered {
            archives.reverse();
        }
        if archives.windows(2).any(|two| two[0].1 >= two[1].1) {
            return Err(format!("archives are not in order: {:?}", disk.names));
        }
        if settings.naming == Naming::Numbered && archives.len() > settings.keep.unwrap_or(u32::MAX) as usize {
            return Err(format!("too many archives: {:?}", disk.names));
        }
        Ok(())
    }
}
