//! The settings in force on a log, as a text file in the journal: `key=value` lines that any process can act on.
//!
//! Promise: readers see one whole version (it is replaced by rename). The newest process to attach with different
//! settings wins; the control file counts versions so that holders notice.

use std::io;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::fs::OFlags;

use crate::journal::layout::Control;
use crate::journal::place::Place;
use crate::options::{Compress, Fsync, Options};
use crate::os;
use crate::protocol::env::Settings;
use crate::rotation::{Naming, Schedule, is_base_name};

const NAME: &str = "settings";

impl Settings {
    /// The shared part of the options.
    pub fn of(options: &Options) -> Self {
        Self {
            max_bytes: options.max_bytes,
            schedule: options.schedule,
            naming: options.naming,
            keep: options.keep,
            keep_age: options.keep_age,
            keep_total_bytes: options.keep_total_bytes,
            compress: options.compress,
            compress_after: options.compress_after,
            link: options.link.clone(),
            fsync: options.fsync,
            mode: options.mode,
            owner: options.owner,
        }
    }

    /// Options of somebody who changes none of these settings.
    pub fn options(self) -> Options {
        Options {
            max_bytes: self.max_bytes,
            schedule: self.schedule,
            naming: self.naming,
            keep: self.keep,
            keep_age: self.keep_age,
            keep_total_bytes: self.keep_total_bytes,
            compress: self.compress,
            compress_after: self.compress_after,
            link: self.link,
            fsync: self.fsync,
            mode: self.mode,
            owner: self.owner,
            ..Options::default()
        }
    }

    /// As lines, for the file and for `status`.
    pub fn pairs(&self) -> Vec<(String, String)> {
        let number = |n: Option<u64>| n.map_or_else(|| "-".to_owned(), |n| n.to_string());
        let ms = |time: Duration| time.as_millis().to_string();
        let compress = match self.compress {
            Compress::None => "-".to_owned(),
            Compress::Gzip { level } => format!("gzip:{level}"),
            Compress::Zstd { level } => format!("zstd:{level}"),
        };
        let owner = self.owner.map_or_else(|| "-".to_owned(), |(user, group)| format!("{user}:{group}"));
        let fsync = match self.fsync {
            Fsync::Never => "never".to_owned(),
            Fsync::OnRotation => "rotation".to_owned(),
            Fsync::AtLevel(level) => format!("level:{level}"),
            Fsync::Interval(every) => format!("interval:{}", every.as_nanos()),
            Fsync::Always => "always".to_owned(),
        };
        [
            ("max_bytes", number(self.max_bytes)),
            ("schedule", self.schedule.map_or_else(|| "-".to_owned(), |s| s.to_text())),
            ("naming", self.naming.word().to_owned()),
            ("keep", number(self.keep.map(u64::from))),
            ("keep_age_ms", self.keep_age.map_or_else(|| "-".to_owned(), ms)),
            ("keep_total_bytes", number(self.keep_total_bytes)),
            ("compress", compress),
            ("compress_after_ms", ms(self.compress_after)),
            ("link", self.link.clone().unwrap_or_else(|| "-".to_owned())),
            ("fsync", fsync),
            ("mode", format!("{:o}", self.mode)),
            ("owner", owner),
        ]
        .map(|(key, value)| (key.to_owned(), value))
        .into()
    }

    fn to_text(&self) -> String {
        self.pairs().into_iter().map(|(key, value)| format!("{key}={value}\n")).collect()
    }

    /// Reads what `to_text` wrote. Unknown keys and nonsense are passed over: the file may be of a newer release, and
    /// a process that cannot read it must not stop logging.
    fn from_text(text: &str) -> Self {
        let mut settings = Self::of(&Options { keep: None, ..Options::default() });
        for (key, value) in text.lines().filter_map(|line| line.split_once('=')) {
            match key {
                "max_bytes" => settings.max_bytes = value.parse().ok().filter(|n| *n > 0),
                "schedule" => settings.schedule = Schedule::from_text(value).ok(),
                "naming" => settings.naming = Naming::from_word(value).unwrap_or(settings.naming),
                "keep" => settings.keep = value.parse().ok().filter(|n| *n > 0),
                "keep_age_ms" => settings.keep_age = parse_ms(value),
                "keep_total_bytes" => settings.keep_total_bytes = value.parse().ok().filter(|n| *n > 0),
                "compress" => settings.compress = parse_compress(value).unwrap_or_default(),
                "compress_after_ms" => {
                    settings.compress_after = parse_ms(value).unwrap_or(settings.compress_after);
                }
                "link" => settings.link = Some(value.to_owned()).filter(|name| name != "-" && is_base_name(name)),
                "owner" => {
                    settings.owner =
                        value.split_once(':').and_then(|(user, group)| Some((user.parse().ok()?, group.parse().ok()?)));
                }
                "mode" => settings.mode = u32::from_str_radix(value, 8).unwrap_or(settings.mode) & 0o777,
                "fsync" => settings.fsync = parse_fsync(value).unwrap_or_default(),
                _ => {}
            }
        }
        settings
    }

    /// What is in force now.
    ///
    /// # Errors
    /// It cannot be read, or is not there: that says nothing about what is in force.
    pub fn read(place: &Place) -> io::Result<Self> {
        Ok(Self::from_text(&os::read_text(place.shared.fd(), NAME)?))
    }

    /// As `read`, for those who look from outside: nobody has put anything in force means no rotation.
    pub fn read_or_none(place: &Place) -> io::Result<Self> {
        match Self::read(place) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Self::from_text("")),
            other => other,
        }
    }

    /// Puts these settings in force, if others are. The text that was replaced, if it said something else.
    pub fn put_in_force(&self, place: &Place, control: &Control) -> io::Result<Option<Self>> {
        let old = os::read_text(place.shared.fd(), NAME).ok();
        let new = self.to_text();
        if old.as_deref() == Some(new.as_str()) {
            return Ok(None);
        }
        let shared = place.shared.fd();
        let temporary = format!("{NAME}-{}-{:x}", std::process::id(), os::wall_ns());
        let fd = os::open_at(shared, &temporary, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, 0o666)?;
        let _ = rustix::fs::fchmod(&fd, rustix::fs::Mode::from_raw_mode(0o666));
        let written = io::Write::write_all(&mut std::fs::File::from(fd), new.as_bytes())
            .and_then(|()| Ok(rustix::fs::renameat(shared, temporary.as_str(), shared, NAME)?));
        if written.is_err() {
            let _ = rustix::fs::unlinkat(shared, temporary.as_str(), rustix::fs::AtFlags::empty());
        }
        written?;
        // Release: a holder that sees the new version reads the new file.
        control.wishes.settings_version.fetch_add(1, Ordering::Release);
        Ok(old.map(|text| Self::from_text(&text)))
    }
}

fn parse_ms(text: &str) -> Option<Duration> {
    text.parse().ok().map(Duration::from_millis)
}

fn parse_compress(text: &str) -> Option<Compress> {
    let (kind, level) = text.split_once(':')?;
    let level = level.parse().ok()?;
    match kind {
        "gzip" if level <= 9 => Some(Compress::Gzip { level }),
        "zstd" if (1..=19).contains(&level) => Some(Compress::Zstd { level }),
        _ => None,
    }
}

fn parse_fsync(text: &str) -> Option<Fsync> {
    Some(match text.split_once(':') {
        None if text == "never" => Fsync::Never,
        None if text == "rotation" => Fsync::OnRotation,
        None if text == "always" => Fsync::Always,
        Some(("level", level)) => Fsync::AtLevel(level.parse().ok()?),
        Some(("interval", ns)) => Fsync::Interval(Duration::from_nanos(ns.parse().ok()?)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rotation::When;

    #[test]
    fn settings_survive_the_file() {
        let schedule = Schedule::new(When::Weekday(6), 2).unwrap().utc(true);
        for fsync in [
            Fsync::Never,
            Fsync::OnRotation,
            Fsync::AtLevel(40),
            Fsync::Interval(Duration::from_millis(7)),
            Fsync::Always,
        ] {
            let options = Options {
                max_bytes: Some(1),
                schedule: Some(schedule),
                naming: if fsync == Fsync::Never { Naming::Staged } else { Naming::Sequence },
                keep: None,
                keep_age: Some(Duration::from_secs(90)),
                keep_total_bytes: Some(1 << 40),
                compress: Compress::Zstd { level: 19 },
                compress_after: Duration::ZERO,
                link: Some("newest of a=b".to_owned()),
                owner: Some((0, 65_534)),
                fsync,
                ..Options::default()
            };
            let settings = Settings::of(&options);
            assert_eq!(Settings::from_text(&settings.to_text()), settings);
            assert_eq!(Settings::of(&settings.clone().options()), settings);
        }
    }

    #[test]
    fn nonsense_in_the_file_means_no_rotation() {
        let settings = Settings::from_text(
            "max_bytes=lots\nschedule=\u{0}\nkeep=0\nmode=999\n=\ncompress=gzip:10\nlink=../x\nowner=1\nkeep_age_ms=-\n",
        );
        assert_eq!((settings.max_bytes, settings.schedule, settings.keep), (None, None, None));
        assert_eq!((settings.link, settings.owner, settings.keep_age), (None, None, None));
        assert_eq!(settings.compress, Compress::None);
    }
}
