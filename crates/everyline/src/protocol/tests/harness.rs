//! Runs a script in a world: processes attach, log, die as planned, and others recover what they left.
//!
//! Promise: a run is a function of script, plan and way of recovery alone. A process that dies loses everything but its
//! slot and what it wrote.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::rc::Rc;
use std::sync::atomic::Ordering;

use super::super::commit::{Committer, Effort, Looked, pack_at};
use super::super::dirty::Slots;
use super::super::env::{Env, Settings};
use super::super::sim::{Crash, LOG, Mutation, Plan, Process, SLOTS, World};
use super::oracle::{Rules, audit};
use crate::journal::layout::Phase;
use crate::options::{Fsync, Options};
use crate::rotation::{Naming, Schedule, When};

/// One act of a script.
#[derive(Clone, Copy, Debug)]
pub enum Act {
    /// A log call: slot, bytes.
    Log(u16, usize),
    /// A log call that found somebody else at work.
    Publish(u16, usize),
    /// The clock moves on, ms.
    Tick(u64),
    /// Somebody asks for a rotation.
    Rotate(u16),
    /// Upkeep: the newest archive that is not compressed gets compressed.
    Zip(u16),
    /// Upkeep: the oldest archive goes.
    Retire(u16),
    /// The application renames the live file in a step of its own.
    Step(u16),
}

/// Who takes over from a process that died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// A process that was there all the time.
    Other,
    /// A new process, in the same slot.
    Same,
}

/// The slot whose process publishes only when a plan says so, and takes over when no other is left.
pub const BYSTANDER: u16 = 3;

struct Member {
    env: Process,
    committer: Committer<Process>,
}

/// A world with processes in it.
pub struct Run {
    /// The world.
    pub world: Rc<World>,
    members: Vec<Option<Member>>,
    recovery: Recovery,
    /// The second process to die: so many points after it began to recover, and who takes over then.
    pub second: Option<(u64, Recovery)>,
    /// Deaths so far.
    pub deaths: u32,
    /// Records whose call has returned are looked for after each recovery.
    pub check_recovery: bool,
    /// Done to the world between a death and the recovery.
    pub after_death: Option<fn(&World)>,
    /// It is a panic that comes as planned, not a death: the process lives on, with what it has in memory.
    pub survives: bool,
}

impl Run {
    /// A world in which every slot has a process.
    pub fn new(settings: Settings, plan: Plan, recovery: Recovery, mutation: Option<Mutation>) -> Self {
        let world = World::new(settings, mutation);
        world.plan.set(plan);
        let members = (0..SLOTS).map(|_| None).collect();
        let mut run = Self {
            world,
            members,
            recovery,
            second: None,
            deaths: 0,
            check_recovery: true,
            after_death: None,
            survives: false,
        };
        (0..SLOTS).for_each(|slot| run.attach(slot));
        run
    }

    /// ATTACH.
    pub fn attach(&mut self, slot: u16) {
        let (world, control) = (Rc::clone(&self.world), self.world.control());
        world.traced(|| format!("slot {slot} attaches"));
        world.dead.borrow_mut()[usize::from(slot)] = false;
        if !world.breaks(Mutation::TrustDirtyBits) {
            control.wishes.high_water.fetch_max(u64::from(slot) + 1, Ordering::AcqRel);
        }
        let env = Process { world: Rc::clone(&world), me: slot };
        if world.breaks(Mutation::AttachResetsNote) {
            world.slot(slot).note().set_phase(Phase::Idle);
        }
        Committer::attached(&env);
        if world.breaks(Mutation::AttachDoesNotMark) {
            let mut bits = Slots::default();
            control.dirty.take(&mut bits);
            bits.remove(slot);
            control.dirty.put_back(&bits);
        }
        let committer = Committer::new(&env);
        self.members[usize::from(slot)] = Some(Member { env, committer });
    }

    /// Lets the process of a slot do something. False: it died.
    fn guarded(&mut self, slot: u16, act: impl FnOnce(&mut Member)) -> bool {
        self.world.traced(|| format!("slot {slot} acts"));
        let new = self.members[usize::from(slot)].is_none();
        if new {
            self.attach(slot);
        }
        let mut member = self.members[usize::from(slot)].take().expect("attached");
        let acts = || {
            if new {
                // Part of attaching: the lease may name this slot, and then nobody else can go on.
                member.committer.look(&member.env, Effort::Drain);
            }
            act(&mut member);
        };
        match catch_unwind(AssertUnwindSafe(acts)) {
            Ok(()) => {
                self.members[usize::from(slot)] = Some(member);
                true
            }
            Err(payload) if payload.is::<Crash>() && self.survives => {
                self.members[usize::from(slot)] = Some(member);
                self.deaths += 1;
                false
            }
            Err(payload) if payload.is::<Crash>() => {
                drop(member);
                self.world.disk.borrow_mut().forget_unreachable();
                self.world.dead.borrow_mut()[usize::from(slot)] = true;
                self.deaths += 1;
                false
            }
            Err(payload) => resume_unwind(payload),
        }
    }

    /// One look with all force. False: it died.
    pub fn look(&mut self, slot: u16, expect_clean: bool) -> bool {
        self.guarded(slot, |m| {
            let looked = m.committer.look(&m.env, Effort::Force);
            if expect_clean && looked != Looked::Clean {
                m.env.world.violation(format!("slot {} looked: {looked:?}", m.env.me));
            }
        })
    }

    /// Acts. The slot, and false if its process died.
    pub fn act_without_recovery(&mut self, act: Act) -> (u16, bool) {
        let survives = self.survives;
        let publish = move |m: &mut Member, slot, len| {
            let plan = m.env.world.plan.get();
            // Publishing calls nothing that could panic.
            m.env.world.plan.set(Plan { crash_at: plan.crash_at.filter(|_| !survives), ..plan });
            m.env.world.publish(slot, len);
            if survives {
                m.env.world.plan.set(plan);
            }
        };
        match act {
            Act::Tick(ms) => {
                self.world.clock_ms.set(self.world.clock_ms.get() + ms);
                (0, true)
            }
            Act::Publish(slot, len) => (
                slot,
                self.guarded(slot, |m| {
                    publish(m, slot, len);
                    m.env.world.acknowledge(slot);
                }),
            ),
            Act::Log(slot, len) => (
                slot,
                self.guarded(slot, |m| {
                    publish(m, slot, len);
                    m.committer.look(&m.env, Effort::Call);
                    m.env.world.acknowledge(slot);
                }),
            ),
            Act::Zip(slot) | Act::Retire(slot) => (
                slot,
                self.guarded(slot, |m| {
                    let zip = matches!(act, Act::Zip(_));
                    // Whoever does the upkeep sees to it first that nothing is left to finish.
                    m.committer.look(&m.env, Effort::Force);
                    let chore = if zip { m.env.world.zip() } else { m.env.world.retire() };
                    m.committer.chore = chore;
                    m.committer.look(&m.env, Effort::Force);
                    m.committer.chore = None;
                }),
            ),
            Act::Step(slot) => {
                // The dead do nothing on their way out; those who panic end their step.
                let is_dead = move || !survives && std::thread::panicking();
                let acts = |m: &mut Member| {
                    let env = m.env.clone();
                    let rename = || {
                        // Nothing is ever deleted in such a script, so each name is later than all before.
                        let archives = env.world.disk.borrow().names.len();
                        env.rename(LOG, &format!("{LOG}.2000.{archives}"))
                    };
                    let _ = m.committer.exclusive(&m.env, rename, is_dead);
                    m.committer.look(&m.env, Effort::Call);
                };
                (slot, self.guarded(slot, acts))
            }
            Act::Rotate(slot) => (
                slot,
                self.guarded(slot, |m| {
                    m.env.world.control().wishes.rotate.fetch_add(1, Ordering::AcqRel);
                    m.committer.look(&m.env, Effort::Call);
                }),
            ),
        }
    }

    /// Acts, and recovers if the actor dies.
    pub fn act(&mut self, act: Act) {
        let (slot, done) = self.act_without_recovery(act);
        if !done {
            let world = Rc::clone(&self.world);
            if let Some(happens) = self.after_death {
                happens(&world);
            }
            if let Some((after, _)) = self.second {
                let crash_at = Some(world.points.get() + after);
                world.plan.set(Plan { crash_at, ..world.plan.get() });
            }
            self.recover(slot, self.recovery);
        }
    }

    /// Somebody takes over from `dead`; if that one dies too, the next one does.
    fn recover(&mut self, dead: u16, how: Recovery) {
        self.mutate(dead);
        let slot = match how {
            Recovery::Same => dead,
            Recovery::Other => {
                // Until the holder counts as one without progress.
                self.act(Act::Tick(20));
                let alive = |s: &u16| self.members[usize::from(*s)].is_some();
                (0..SLOTS).filter(|s| *s != dead).find(alive).unwrap_or(BYSTANDER)
            }
        };
        if !self.look(slot, self.check_recovery) {
            let (_, next) = self.second.take().expect("a second death was planned");
            return self.recover(slot, next);
        }
        if self.second.is_some() {
            // It did not come to the second death: not in what follows, either.
            self.world.plan.set(Plan { crash_at: None, ..self.world.plan.get() });
        }
        if self.check_recovery
            && let Err(text) = audit(&self.world, Rules { all_published: false, ..Rules::default() })
        {
            self.world.violation(format!("after recovery: {text}"));
        }
    }

    /// The mutations that concern what a dead process left.
    fn mutate(&self, dead: u16) {
        let note = self.world.slot(dead).note();
        let forget = match note.phase() {
            Phase::Write => self.world.breaks(Mutation::ForgetNote),
            Phase::Written => self.world.breaks(Mutation::ForgetWritten),
            _ => false,
        };
        if forget {
            note.set_phase(Phase::Idle);
        }
        if self.world.breaks(Mutation::ForgetChore) {
            self.world.control().chores.form.store(0, Ordering::Relaxed);
        }
        if note.phase() == Phase::Write && self.world.breaks(Mutation::BelieveWritten) {
            note.set_phase(Phase::Written);
        }
        if note.phase() == Phase::Write && self.world.breaks(Mutation::WriteAgain) {
            let size = self.world.disk.borrow().at(LOG).map_or(0, |i| i.bytes.len());
            note.at.store(pack_at(size as u64, 0), Ordering::Relaxed);
        }
    }

    /// Nothing goes wrong any more; every slot gets a process, and looks.
    pub fn finish(&mut self) {
        self.world.plan.set(Plan::default());
        self.act(Act::Tick(3000));
        for slot in 0..SLOTS {
            self.look(slot, true);
        }
    }

    /// A last record from everybody, late enough for a look at the path: a deletion in the last few ms before a log falls
    /// silent is noticed by nobody, and what was written after it is lost with the file.
    pub fn farewell(&mut self) {
        self.world.plan.set(Plan { crash_at: None, ..self.world.plan.get() });
        for slot in 0..SLOTS {
            self.act(Act::Tick(20));
            self.act(Act::Log(slot, 29));
        }
    }

    /// A whole script, to the end.
    pub fn script(&mut self, script: &[Act]) {
        script.iter().for_each(|act| self.act(*act));
        self.finish();
    }
}

/// Rotation by size, numbered.
pub fn numbered() -> Settings {
    Settings { max_bytes: Some(6000), keep: Some(2), mode: 0o640, ..Settings::of(&Options::default()) }
}

/// Rotation by time and size, dated.
pub fn dated() -> Settings {
    let schedule = Schedule::new(When::Second, 10).expect("a schedule").utc(true);
    Settings {
        max_bytes: Some(9000),
        schedule: Some(schedule),
        naming: Naming::Dated,
        fsync: Fsync::OnRotation,
        ..numbered()
    }
}

/// Sequence names; archives go for their size, too.
pub fn sequence() -> Settings {
    Settings { naming: Naming::Sequence, keep: Some(3), keep_total_bytes: Some(1), ..numbered() }
}

/// Archives are compressed and deleted between rotations that shift, count and drop them.
pub const UPKEEP: &[Act] = &[
    Act::Log(0, 4003),
    Act::Log(1, 3001),
    Act::Zip(2),
    Act::Publish(2, 2999),
    Act::Log(0, 3500),
    Act::Zip(1),
    Act::Zip(1),
    Act::Log(1, 4001),
    Act::Tick(2000),
    Act::Log(2, 3777),
    Act::Zip(0),
    Act::Rotate(0),
    Act::Log(0, 59),
];

/// No rotation but by the application.
pub fn by_steps() -> Settings {
    Settings { max_bytes: None, naming: Naming::Dated, keep: None, ..numbered() }
}

/// Steps of the application's among log calls, within the few ms in which nobody looks at the path, and after them.
pub const STEPS: &[Act] = &[
    Act::Log(0, 7),
    Act::Log(1, 133),
    Act::Publish(2, 1001),
    Act::Step(0),
    Act::Log(1, 9),
    Act::Log(2, 47),
    Act::Step(2),
    Act::Publish(0, 501),
    Act::Step(1),
    Act::Step(1),
    Act::Log(0, 13),
    Act::Tick(30),
    Act::Log(1, 3001),
    Act::Step(0),
    Act::Log(1, 77),
];

/// Odd sizes, three processes, size and time rotations, a full ring, records larger than ring and buffer.
pub const LONG: &[Act] = &[
    Act::Log(0, 7),
    Act::Log(1, 133),
    Act::Publish(2, 1001),
    Act::Publish(1, 501),
    Act::Log(0, 2999),
    Act::Tick(11),
    Act::Publish(0, 1500),
    Act::Publish(0, 1400),
    Act::Publish(0, 1301),
    Act::Publish(0, 33),
    Act::Log(1, 9),
    Act::Log(0, 47),
    Act::Tick(7000),
    Act::Publish(1, 77),
    Act::Log(2, 5000),
    Act::Rotate(1),
    Act::Tick(4000),
    Act::Publish(2, 311),
    Act::Log(0, 70_001),
    Act::Log(2, 13),
    Act::Publish(1, 2500),
    Act::Log(0, 3333),
    Act::Tick(12_000),
    Act::Log(1, 99),
];

/// The same things, each once: for what goes over all pairs.
pub const SHORT: &[Act] = &[
    Act::Log(0, 2003),
    Act::Publish(1, 3001),
    Act::Publish(2, 901),
    Act::Publish(0, 3499),
    Act::Publish(0, 1101),
    Act::Log(1, 31),
    Act::Tick(11_000),
    Act::Log(2, 17),
];

/// What goes over pairs takes every third first point, shifted from case to case; all of them with `EVERYLINE_SIM=full`.
pub fn stride() -> u64 {
    if std::env::var_os("EVERYLINE_SIM").is_some() { 1 } else { 3 }
}
