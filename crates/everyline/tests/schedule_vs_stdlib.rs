//! `Schedule` against the original: `TimedRotatingFileHandler` of a real CPython 3.13 or later.
//!
//! Several thousand settings and clocks, most of them within hours of a change of the clock, go through one Python
//! process. The next rollover, the name of the archive and the recognition of suffixes must agree to the byte. The
//! Python side runs the stdlib's own code; only its clock and its last step (the renaming) are replaced.
//!
//! The interpreter is `$EVERYLINE_PYTHON313`, or `python3.13` or `python3` from the `PATH`. Without one the test says
//! "skipped" and passes.
//!
//! The zone reaches our side the way it reaches a user's: as `TZ` in the environment. A test cannot change its own
//! environment without `unsafe`, so this binary runs itself once per zone, as `answer_for_the_zone_in_the_environment`.

use std::env;
use std::fmt::Write as _;
use std::io::{self, Seek, Write as _};
use std::process::{Command, Stdio};

use everyline::{Schedule, When};

/// Zones, each with the moments in 2024 at which its clocks change.
const ZONES: [(&str, [i64; 2]); 5] = [
    ("UTC", [1_704_067_200, 1_719_792_000]), // no changes; New Year and midsummer
    ("Europe/Berlin", [1_711_846_800, 1_729_990_800]),
    ("America/New_York", [1_710_054_000, 1_730_613_600]),
    ("Australia/Lord_Howe", [1_712_415_600, 1_728_142_200]), // by half an hour
    ("EST+05EDT,M3.2.0,M11.1.0", [1_710_054_000, 1_730_613_600]),
];
const CASES_PER_ZONE: usize = 1_600;
const WHENS: [&str; 12] = ["S", "M", "H", "D", "MIDNIGHT", "W0", "W1", "W2", "W3", "W4", "W5", "W6"];

/// Reads one question per line, answers each on one line.
const PYTHON: &str = r#"
import datetime, logging.handlers, os, sys, time

class Clock:
    now = 0
    def time(self):
        return self.now
    def __getattr__(self, name):
        return getattr(time, name)

class Named(Exception):
    pass

class Handler(logging.handlers.TimedRotatingFileHandler):
    def rotation_filename(self, default_name):
        raise Named(os.path.basename(default_name).split(".", 1)[1])

clock = logging.handlers.time = Clock()
zone = None
for line in sys.stdin:
    kind, *rest = line.rstrip("\n").split(" ")
    if kind == "suffix":
        when, suffix = rest
        h = Handler("no-such-file", when=when, delay=True)
        print("=", bool(h.extMatch.fullmatch(suffix)))
        continue
    tz, when, interval, at, utc, now, late = rest
    if tz != zone:
        os.environ["TZ"] = zone = tz
        time.tzset()
    at = None if at == "-" else datetime.time(int(at) // 3600, int(at) // 60 % 60, int(at) % 60)
    h = Handler("no-such-file", when=when, interval=int(interval), atTime=at, utc=utc == "1", delay=True)
    h.rolloverAt = h.computeRollover(int(now))
    clock.now = h.rolloverAt + int(late)
    try:
        h.doRollover()
    except Named as e:
        print("=", h.rolloverAt, e)
"#;

/// xorshift: the same cases on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: i64) -> i64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as i64
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as i64) as usize]
    }
}

/// One line per case: `civil zone when interval at utc now late`.
fn civil_cases(zone: &str, changes: [i64; 2], random: &mut Random) -> String {
    let mut lines = String::new();
    for _ in 0..CASES_PER_ZONE {
        // Half of all cases are aligned ones, where the difficulties are.
        let when = if random.below(2) == 0 { random.pick(&WHENS) } else { random.pick(&WHENS[4..]) };
        let interval = random.pick(&[1, 1, 1, 2, 3, 7, 30]);
        let now = match random.below(8) {
            0 => random.below(4_000_000_000), // up to the year 2096
            1 => random.pick(&changes) + random.pick(&[-86_400, -3_600, -1_800, -1, 0, 1, 1_800, 3_600, 86_400]),
            2..=4 => random.pick(&changes) - 14_400 + random.below(28_800),
            _ => random.pick(&changes) - 8 * 86_400 + random.below(16 * 86_400),
        };
        let at = match random.below(6) {
            0 | 1 => "-".to_owned(),
            2 => "0".to_owned(),
            3 => (random.below(9) * 1_800).to_string(), // the hours in which clocks change
            4 => random.below(4 * 3_600).to_string(),
            _ => random.below(86_400).to_string(),
        };
        let utc = i32::from(random.below(6) == 0);
        let late = match random.below(4) {
            0 => 0,
            1 => random.below(7_200),
            2 => random.below(3 * 86_400),
            _ => random.below(200 * 86_400),
        };
        writeln!(lines, "civil {zone} {when} {interval} {at} {utc} {now} {late}").unwrap();
    }
    lines
}

/// One line per case: `suffix when text`. Counters and `.gz` are our own addition and tested elsewhere.
fn suffix_cases() -> String {
    let mut lines = String::new();
    for text in [
        "",
        "1",
        "2024-01-31",
        "2024-01-31_",
        "2024-01-31_10",
        "2024-01-31_10-20",
        "2024-01-31_10-20-30",
        "2024-01-31_10-20-30-",
        "0000-99-99_99-99-99",
        "12024-01-31",
        "2024-01-311",
        "2024-1-31",
        "2024-01-31T10",
        "2024_01_31",
        "x2024-01-31",
        "2024-01-31x",
        "2024-01-3١",
        "2024-01-31~",
        "2024-01-31.bak",
    ] {
        for when in WHENS {
            writeln!(lines, "suffix {when} {text}").unwrap();
        }
    }
    lines
}

/// The answer of our side to one line.
fn answer(line: &str) -> String {
    let fields: Vec<&str> = line.split(' ').collect();
    match fields[..] {
        ["suffix", when, suffix] => {
            let schedule = Schedule::new(When::parse(when).unwrap(), 1).unwrap();
            if schedule.suffix_matches(suffix) { "= True".into() } else { "= False".into() }
        }
        ["civil", _, when, interval, at, utc, now, late] => {
            let mut schedule = Schedule::new(When::parse(when).unwrap(), interval.parse().unwrap()).unwrap();
            if at != "-" {
                schedule = schedule.at_time(at.parse().unwrap()).unwrap();
            }
            let schedule = schedule.utc(utc == "1");
            let due = schedule.next_rollover(now.parse().unwrap());
            format!("= {due} {}", schedule.period_start_stamp(due, due + late.parse::<i64>().unwrap()))
        }
        _ => panic!("not a case: {line}"),
    }
}

/// Runs a command on these lines and returns the lines it marks as answers.
fn ask(command: &mut Command, lines: &str) -> Vec<String> {
    // A file, not a pipe: nobody has to read while the other still writes.
    let mut stdin = tempfile::tempfile().unwrap();
    stdin.write_all(lines.as_bytes()).unwrap();
    stdin.rewind().unwrap();
    let output = command.stdin(Stdio::from(stdin)).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().filter(|l| l.starts_with('=')).map(str::to_owned).collect()
}

fn python_313() -> Option<String> {
    let named = env::var("EVERYLINE_PYTHON313").ok();
    named.into_iter().chain(["python3.13".to_owned(), "python3".to_owned()]).find(|python| {
        Command::new(python)
            .args(["-I", "-c", "import sys; sys.exit(sys.version_info < (3, 13))"])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    })
}

#[test]
fn rollover_times_and_archive_names_equal_those_of_the_standard_library() {
    let Some(python) = python_313() else {
        println!("skipped: no Python 3.13");
        return;
    };
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut questions = suffix_cases();
    let mut ours: Vec<String> = questions.lines().map(answer).collect();
    for (zone, changes) in ZONES {
        let lines = civil_cases(zone, changes, &mut random);
        let mut this_test = Command::new(env::current_exe().unwrap());
        this_test.args(["--exact", "answer_for_the_zone_in_the_environment", "--ignored", "--nocapture"]);
        ours.extend(ask(this_test.env("TZ", zone), &lines));
        questions.push_str(&lines);
    }
    let theirs = ask(Command::new(python).args(["-I", "-c", PYTHON]).env("PYTHONIOENCODING", "utf-8"), &questions);

    assert_eq!(ours.len(), questions.lines().count());
    assert_eq!(theirs.len(), ours.len());
    let differing: Vec<String> = questions
        .lines()
        .zip(ours.iter().zip(&theirs))
        .filter(|(_, (ours, theirs))| ours != theirs)
        .map(|(question, (ours, theirs))| format!("{question}\n    ours   {ours}\n    python {theirs}"))
        .collect();
    assert!(
        differing.is_empty(),
        "{} of {} differ:\n{}",
        differing.len(),
        ours.len(),
        differing[..differing.len().min(20)].join("\n")
    );
    println!("{} cases agree", ours.len());
}

#[test]
#[ignore = "the other test runs it, once per zone"]
fn answer_for_the_zone_in_the_environment() {
    println!(); // the test harness has left the cursor behind the name of the test
    for line in io::read_to_string(io::stdin()).unwrap().lines() {
        println!("{}", answer(line));
    }
}
