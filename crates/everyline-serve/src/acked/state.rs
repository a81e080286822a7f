//! What the server remembers of one client, in a file of its own: the last sequence number that is in a log (*done*), and
//! the batch that is being put there (*intent*).
//!
//! Guarantee: both survive SIGKILL of the server at any instant. Each is one `write` of a checked block: what is whole
//! by its checksum was written whole, and what is not is as if it had never been begun. An intent counts while it reaches
//! beyond *done*; nothing of it is appended before it is written.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

const MAGIC: [u8; 8] = *b"EVLNACK1";
/// Magic, done, checksum: within the first page, so no signal cuts it.
const DONE_BYTES: usize = 20;
/// Checksum and length of the intent, then the intent.
const INTENT_AT: u64 = 4096;
/// No intent is longer; more is damage.
const INTENT_BYTES_MAX: usize = 64 << 20;

/// A batch that is being put into a log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    /// The log.
    pub path: PathBuf,
    /// The file that was live, and where it ended, with nothing of ours on the way to it.
    pub inode: u64,
    /// See `inode`.
    pub at: u64,
    /// The sequence numbers and the very bytes.
    pub records: Vec<(u64, String)>,
    /// *Done* when all of it is in the log.
    pub last: u64,
}

/// What is remembered of one client.
#[derive(Debug)]
pub struct State {
    file: File,
    done: u64,
    /// An intent was written and not finished; it must not be written over.
    is_open: bool,
}

/// Where the file of a client is.
pub fn path(dir: &Path, client: &str) -> PathBuf {
    dir.join(format!("{client}.ack"))
}

impl State {
    /// Reads the file of a client; makes it.
    ///
    /// # Errors
    /// The system's, and a file that is damaged: a number that is guessed would lose or double records.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut block = [0; DONE_BYTES];
        let length = file.metadata()?.len();
        if length == 0 {
            let mut state = Self { file, done: 0, is_open: false };
            state.set_done(0)?;
            return Ok(state);
        }
        file.read_exact_at(&mut block, 0).map_err(|_| damaged(path))?;
        let (body, sum) = block.split_at(DONE_BYTES - 4);
        if body[..8] != MAGIC || crc32c::crc32c(body).to_le_bytes() != sum {
            return Err(damaged(path));
        }
        let mut done = [0; 8];
        done.copy_from_slice(&body[8..]);
        Ok(Self { file, done: u64::from_le_bytes(done), is_open: false })
    }

    /// The last sequence number that is in a log.
    pub fn done(&self) -> u64 {
        self.done
    }

    /// Remembers it.
    ///
    /// # Errors
    /// The system's; then the old number may still stand.
    pub fn set_done(&mut self, done: u64) -> io::Result<()> {
        let mut block = [0; DONE_BYTES];
        block[..8].copy_from_slice(&MAGIC);
        block[8..16].copy_from_slice(&done.to_le_bytes());
        let sum = crc32c::crc32c(&block[..16]);
        block[16..].copy_from_slice(&sum.to_le_bytes());
        self.file.write_all_at(&block, 0)?;
        self.done = done;
        self.is_open = false;
        Ok(())
    }

    /// Forces what is remembered to disk.
    ///
    /// # Errors
    /// The system's.
    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    /// Writes an intent over the last one, which must be finished.
    ///
    /// # Errors
    /// The system's, and an intent that is open; then nothing may be appended.
    pub fn intend(&mut self, intent: &Intent) -> io::Result<()> {
        if self.is_open {
            return Err(io::Error::other("a batch of this client is open"));
        }
        let body = serde_json::to_vec(intent)?;
        let length = u32::try_from(body.len()).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))?;
        let block = [&crc32c::crc32c(&body).to_le_bytes()[..], &length.to_le_bytes(), &body].concat();
        self.file.write_all_at(&block, INTENT_AT)?;
        self.is_open = true;
        Ok(())
    }

    /// Forgets the intent: it was decided how much of it was done.
    ///
    /// # Errors
    /// The system's.
    pub fn forget_intent(&mut self) -> io::Result<()> {
        self.is_open = false;
        self.file.set_len(INTENT_AT)
    }

    /// The intent, if it is whole and was not finished.
    ///
    /// # Errors
    /// The system's.
    pub fn open_intent(&self) -> io::Result<Option<Intent>> {
        let mut head = [0; 8];
        if self.file.metadata()?.len() < INTENT_AT + 8 {
            return Ok(None);
        }
        self.file.read_exact_at(&mut head, INTENT_AT)?;
        let [a, b, c, d, length @ ..] = head;
        let length = u32::from_le_bytes(length) as usize;
        if length > INTENT_BYTES_MAX || self.file.metadata()?.len() < INTENT_AT + 8 + length as u64 {
            return Ok(None);
        }
        let mut body = vec![0; length];
        self.file.read_exact_at(&mut body, INTENT_AT + 8)?;
        if crc32c::crc32c(&body) != u32::from_le_bytes([a, b, c, d]) {
            return Ok(None);
        }
        let intent: Option<Intent> = serde_json::from_slice(&body).ok();
        Ok(intent.filter(|intent| intent.last > self.done))
    }
}

fn damaged(path: &Path) -> io::Error {
    let text = format!(
        "{}: it does not say how far its client was; remove it to take that client's records anew (some may double)",
        path.display()
    );
    io::Error::new(io::ErrorKind::InvalidData, text)
}
