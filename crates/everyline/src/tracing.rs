//! `tracing_subscriber::fmt().with_writer(appender)`: the subscriber formats an event and writes it at once, which makes
//! one event one record. An event of level ERROR is urgent, as Python's ERROR is.

use std::io;

use tracing_subscriber::fmt::MakeWriter;

use crate::appender::Appender;

/// Writes one event at its level.
#[derive(Debug)]
pub struct Event<'a> {
    appender: &'a Appender,
    level: u8,
}

impl io::Write for Event<'_> {
    fn write(&mut self, record: &[u8]) -> io::Result<usize> {
        self.appender.append_at(self.level, record)?;
        Ok(record.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(self.appender.flush()?)
    }
}

impl<'a> MakeWriter<'a> for Appender {
    type Writer = Event<'a>;

    fn make_writer(&'a self) -> Event<'a> {
        Event { appender: self, level: 0 }
    }

    fn make_writer_for(&'a self, meta: &tracing_core::Metadata<'_>) -> Event<'a> {
        // Python's numbers, which `urgent_level` is given in.
        let level = match *meta.level() {
            tracing_core::Level::ERROR => 40,
            tracing_core::Level::WARN => 30,
            tracing_core::Level::INFO => 20,
            tracing_core::Level::DEBUG => 10,
            tracing_core::Level::TRACE => 5,
        };
        Event { appender: self, level }
    }
}
