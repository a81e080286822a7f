//! `tracing` events through the `MakeWriter`: one event, one record, at its level.
#![cfg(feature = "tracing")]

use everyline::Appender;
use tracing_subscriber::fmt;

#[test]
fn events_arrive_whole_and_in_order() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("app.log");
    let log = Appender::builder(&path).open().unwrap();
    let subscriber = fmt().with_writer(log).with_ansi(false).without_time().finish();
    tracing::subscriber::with_default(subscriber, || {
        for n in 0..100 {
            tracing::info!(n, "request served");
        }
        tracing::error!("an error is in the file when the call returns");
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.ends_with("an error is in the file when the call returns\n"), "{text}");
    });
    let text = std::fs::read_to_string(&path).unwrap();
    let numbers: Vec<u32> =
        text.lines().filter_map(|l| l.split("n=").nth(1)).map(|n| n.trim().parse().unwrap()).collect();
    assert_eq!(numbers, (0..100).collect::<Vec<_>>());
}
