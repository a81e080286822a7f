//! Values in the file that are text: sizes, durations, addresses. Errors say what was expected; the key is put before
//! them by the caller.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use everyline::{Compress, Fsync};

use super::Address;
use super::raw::Size;

/// No wait of the server is longer.
const WAIT_MAX: Duration = Duration::from_secs(24 * 3600);
/// `sun_path` of Linux, with its NUL.
const UNIX_PATH_MAX: usize = 108;

/// Bytes: a number, or text with K, M or G.
pub fn size(size: Option<Size>, default: u64) -> Result<u64, String> {
    let expected = || "expected a number of bytes, or text such as \"64K\", \"10M\" or \"1G\"".to_owned();
    match size {
        None => Ok(default),
        Some(Size::Bytes(bytes)) => Ok(bytes),
        Some(Size::Text(text)) => {
            let (count, unit) = count_and_unit(&text).ok_or_else(expected)?;
            let shift = match unit {
                "K" | "KiB" => 10,
                "M" | "MiB" => 20,
                "G" | "GiB" => 30,
                "" => 0,
                _ => return Err(expected()),
            };
            count.checked_mul(1 << shift).filter(|bytes| i64::try_from(*bytes).is_ok()).ok_or_else(expected)
        }
    }
}

/// A duration of the server's own.
pub fn wait(text: Option<String>, default: Duration) -> Result<Duration, String> {
    match text.map(|text| duration(&text)).transpose()? {
        None => Ok(default),
        Some(wait) if wait.is_zero() || wait > WAIT_MAX => Err("expected more than nothing and at most 24h".into()),
        Some(wait) => Ok(wait),
    }
}

/// `500ms`, `30s`, `5m`, `1h`, `7d`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let expected = || "expected a whole number with ms, s, m, h or d, such as \"30s\"".to_owned();
    let (count, unit) = count_and_unit(text).ok_or_else(expected)?;
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(expected()),
    };
    count.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(expected)
}

/// Permission bits.
pub fn mode(text: &str) -> Result<u32, String> {
    u32::from_str_radix(text, 8)
        .ok()
        .filter(|bits| bits & !0o777 == 0)
        .ok_or_else(|| "expected permission bits in octal, as text, such as \"660\"".into())
}

/// `none`, `gzip`, `gzip:9`.
pub fn compress(text: &str) -> Result<Compress, String> {
    match text {
        "none" => Ok(Compress::None),
        "gzip" => Ok(Compress::Gzip { level: 6 }),
        _ => text
            .strip_prefix("gzip:")
            .and_then(|level| level.parse().ok())
            .map(|level| Compress::Gzip { level })
            .ok_or_else(|| "expected none, gzip, or gzip:0 to gzip:9".into()),
    }
}

/// When a file is forced to disk.
pub fn fsync(text: &str) -> Result<Fsync, String> {
    match text {
        "never" => Ok(Fsync::Never),
        "rotation" => Ok(Fsync::OnRotation),
        "always" => Ok(Fsync::Always),
        _ => match text.strip_prefix("level:") {
            Some(level) => level.parse().map(Fsync::AtLevel).map_err(|_| "expected level:0 to level:255".into()),
            None => duration(text)
                .map(Fsync::Interval)
                .map_err(|_| "expected never, rotation, always, level:N, or a duration".into()),
        },
    }
}

/// Where to listen.
pub fn address(text: &str) -> Result<Address, String> {
    let (kind, place) = text.split_once("://").ok_or_else(expected_address)?;
    match kind {
        "tcp" => loopback(place).map(Address::Tcp),
        "udp" => loopback(place).map(Address::Udp),
        "unix" => unix_path(place).map(Address::Unix),
        "unixgram" => unix_path(place).map(Address::UnixDatagram),
        _ => Err(expected_address()),
    }
}

fn expected_address() -> String {
    "expected tcp://127.0.0.1:9020, udp://127.0.0.1:514, unix:///path or unixgram:///path".into()
}

/// Nothing here proves who sends, or hides what is sent: so nothing is taken from outside of the machine.
/// Where counters are given away; they say how much is logged, and are for this machine, too.
pub fn metrics(place: &str) -> Result<SocketAddr, String> {
    loopback(place).map_err(|_| "expected an address of this machine, such as \"127.0.0.1:9187\"".into())
}

fn loopback(place: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr = place.parse().map_err(|_| expected_address())?;
    if !address.ip().is_loopback() {
        return Err(format!(
            "{} is not of this machine alone, and what is sent there is neither proven nor hidden: expected 127.0.0.1 or \
             [::1]; let a tunnel (ssh, stunnel, WireGuard) end there",
            address.ip()
        ));
    }
    Ok(address)
}

fn unix_path(place: &str) -> Result<PathBuf, String> {
    let path = Path::new(place);
    if !path.is_absolute() || place.ends_with('/') || place.contains('\0') {
        return Err(expected_address());
    }
    if place.len() >= UNIX_PATH_MAX {
        return Err(format!("{} bytes are too long for the path of a Unix socket: at most 107", place.len()));
    }
    Ok(path.to_owned())
}

fn count_and_unit(text: &str) -> Option<(u64, &str)> {
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    Some((text[..text.len() - unit.len()].parse().ok()?, unit))
}
