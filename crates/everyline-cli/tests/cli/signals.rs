//! SIGTERM finishes the line and leaves the rest unread; SIGHUP opens the file anew; a second signal does not wait.

use std::fs;
use std::io::{Read, Write};
use std::process::{Child, Stdio};

use rustix::process::Signal;

use crate::support::{Place, assert_exit, pipe, signal, until, until_file_is};

/// A pipe whose input the test can read, too, after it has ended.
struct Tapped {
    child: Child,
    writer: std::io::PipeWriter,
    reader: std::io::PipeReader,
}

impl Tapped {
    fn start(place: &Place, options: &[&str]) -> Self {
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = pipe(options, &place.log());
        command.stdin(Stdio::from(reader.try_clone().unwrap()));
        Self { child: command.spawn().unwrap(), writer, reader }
    }

    fn write(&mut self, bytes: &[u8]) {
        self.writer.write_all(bytes).unwrap();
    }

    /// Waits for the end, and gives what was left unread.
    fn end(self, code: i32) -> Vec<u8> {
        let Self { child, writer, mut reader } = self;
        assert_exit(&child.wait_with_output().unwrap(), code);
        drop(writer);
        let mut left = Vec::new();
        reader.read_to_end(&mut left).unwrap();
        left
    }
}

#[test]
fn sigterm_finishes_the_line_it_is_in_and_leaves_the_rest() {
    for stop in [Signal::TERM, Signal::INT] {
        let place = Place::new();
        let mut tapped = Tapped::start(&place, &[]);
        tapped.write(b"one\ntwo, ");
        until_file_is(&place.log(), b"one\n");
        signal(&tapped.child, stop);
        tapped.write(b"in two parts\nthree\nfour");
        assert_eq!(tapped.end(0), b"three\nfour");
        assert_eq!(fs::read(place.log()).unwrap(), b"one\ntwo, in two parts\n");
        assert_eq!(place.names(), ["app.log"]);
    }
}

#[test]
fn sigterm_between_lines_ends_at_once() {
    let place = Place::new();
    let mut tapped = Tapped::start(&place, &["--deferred"]);
    tapped.write(b"one\n");
    until_file_is(&place.log(), b"one\n");
    signal(&tapped.child, Signal::TERM);
    tapped.write(b"two\n");
    assert_eq!(tapped.end(0), b"two\n");
    assert_eq!(fs::read(place.log()).unwrap(), b"one\n");
}

#[test]
fn the_next_pipe_on_the_same_input_goes_on_where_the_first_ended() {
    let place = Place::new();
    let mut tapped = Tapped::start(&place, &[]);
    tapped.write(b"one\ntwo, ");
    until_file_is(&place.log(), b"one\n");
    signal(&tapped.child, Signal::TERM);
    tapped.write(b"in two parts\nthree\nfour\n");
    let Tapped { child, writer, reader } = tapped;
    assert_exit(&child.wait_with_output().unwrap(), 0);
    drop(writer);
    let mut next = pipe(&[], &place.log());
    assert_exit(&next.stdin(Stdio::from(reader)).output().unwrap(), 0);
    assert_eq!(fs::read(place.log()).unwrap(), b"one\ntwo, in two parts\nthree\nfour\n");
}

#[test]
fn a_second_signal_does_not_wait_for_the_end_of_the_line() {
    let place = Place::new();
    let mut tapped = Tapped::start(&place, &[]);
    tapped.write(b"one\ntwo, ");
    until_file_is(&place.log(), b"one\n");
    signal(&tapped.child, Signal::TERM);
    signal(&tapped.child, Signal::INT);
    assert_eq!(tapped.end(0), b"");
    assert_eq!(fs::read(place.log()).unwrap(), b"one\ntwo, \n");
}

#[test]
fn the_end_of_input_after_a_signal_ends_the_line() {
    let place = Place::new();
    let mut tapped = Tapped::start(&place, &[]);
    tapped.write(b"one\ntwo");
    until_file_is(&place.log(), b"one\n");
    signal(&tapped.child, Signal::TERM);
    let Tapped { child, writer, .. } = tapped;
    drop(writer);
    assert_exit(&child.wait_with_output().unwrap(), 0);
    assert_eq!(fs::read(place.log()).unwrap(), b"one\ntwo\n");
}

#[test]
fn sighup_opens_the_file_anew() {
    let place = Place::new();
    let mut tapped = Tapped::start(&place, &[]);
    tapped.write(b"old\n");
    until_file_is(&place.log(), b"old\n");
    fs::rename(place.log(), place.path("app.log.moved")).unwrap();
    signal(&tapped.child, Signal::HUP);
    until("the file to be made anew", || place.log().exists());
    tapped.write(b"new\n");
    until_file_is(&place.log(), b"new\n");
    let Tapped { child, writer, .. } = tapped;
    drop(writer);
    assert_exit(&child.wait_with_output().unwrap(), 0);
    assert_eq!(fs::read(place.path("app.log.moved")).unwrap(), b"old\n");
    assert_eq!(fs::read(place.log()).unwrap(), b"new\n");
}
