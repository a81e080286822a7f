//! The one error type of the crate.
//!
//! A message always says what was attempted, on which path, what the operating system answered (with its errno), and,
//! where there is one, the way out. Callers branch on [`Error::kind`]; the text is for people.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// Result with the crate's [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, coarsely. More kinds may be added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The operating system refused an operation; [`Error::raw_os_error`] has its errno.
    Os,
    /// An option has a value that cannot be used.
    InvalidOption,
    /// The path is something that cannot be logged to (a directory, say).
    InvalidTarget,
    /// The file system cannot hold a journal safely (network file systems and the like).
    UnsupportedFileSystem,
    /// A journal is there, but belongs to another layout version, architecture or user.
    ForeignJournal,
    /// Every journal slot is taken by a live process.
    NoFreeSlot,
    /// A wait reached its bound.
    TimedOut,
    /// The hook that [`on_wait`](crate::on_wait) set ended a wait. A record that was waiting for room is dropped and counted.
    Interrupted,
    /// The record was dropped by the policy the user set, and counted.
    Dropped,
    /// The record is larger than the overflow limit.
    RecordTooLarge,
    /// The log cannot be rotated (a bind-mounted file, or no rotation set).
    NotRotatable,
    /// The journal is removed or replaced faster than this process can attach; the record was not accepted.
    JournalUnsettled,
    /// There is no journal, hence no process attached.
    NotAttached,
}

/// An error of the engine. One word wide.
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    operation: &'static str,
    path: Option<PathBuf>,
    source: Option<io::Error>,
    hint: Option<String>,
}

impl Error {
    pub(crate) fn os(operation: &'static str, path: impl AsRef<Path>, source: impl Into<io::Error>) -> Self {
        Self::build(ErrorKind::Os, operation, Some(path.as_ref()), Some(source.into()), None)
    }

    pub(crate) fn new(
        kind: ErrorKind,
        operation: &'static str,
        path: impl AsRef<Path>,
        hint: impl Into<String>,
    ) -> Self {
        Self::build(kind, operation, Some(path.as_ref()), None, Some(hint.into()))
    }

    pub(crate) fn option(operation: &'static str, hint: impl Into<String>) -> Self {
        Self::build(ErrorKind::InvalidOption, operation, None, None, Some(hint.into()))
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.0.hint = Some(hint.into());
        self
    }

    fn build(
        kind: ErrorKind,
        operation: &'static str,
        path: Option<&Path>,
        source: Option<io::Error>,
        hint: Option<String>,
    ) -> Self {
        Self(Box::new(Inner { kind, operation, path: path.map(Path::to_path_buf), source, hint }))
    }

    /// The kind to branch on.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The path the operation was about, if it was about one.
    pub fn path(&self) -> Option<&Path> {
        self.0.path.as_deref()
    }

    /// The errno, if the operating system refused.
    pub fn raw_os_error(&self) -> Option<i32> {
        self.0.source.as_ref().and_then(io::Error::raw_os_error)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.operation)?;
        if let Some(path) = &self.0.path {
            write!(f, " {}", path.display())?;
        }
        if let Some(source) = &self.0.source {
            // std prints "No space left on device (os error 28)": text and errno in one.
            write!(f, ": {source}")?;
        }
        if let Some(hint) = &self.0.hint {
            write!(f, ": {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Error({:?}: {self})", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|s| s as _)
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = error.0.source.as_ref().map_or(io::ErrorKind::Other, io::Error::kind);
        io::Error::new(kind, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_names_operation_path_errno_and_the_way_out() {
        let e = Error::os("open log", "/var/log/a.log", io::Error::from_raw_os_error(libc::EACCES))
            .with_hint("make it writable for this user");
        let text = e.to_string();
        assert_eq!(text, "open log /var/log/a.log: Permission denied (os error 13): make it writable for this user");
        assert_eq!(e.raw_os_error(), Some(libc::EACCES));
        assert_eq!(io::Error::from(e).kind(), io::ErrorKind::PermissionDenied);
    }
}
