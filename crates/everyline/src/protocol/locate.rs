//! Where in a file does a half-written batch stand? The comparison behind every resume.
//!
//! Promise: if the whole batch stands somewhere behind `off`, it is found there; else the longest part of its beginning
//! that does. It only reads.

use std::io;

use memchr::memmem;

use super::env::Env;

/// Bytes that are compared or searched at a time.
const CHUNK: usize = 256 << 10;
/// Bytes of the batch's beginning that are searched for; shorter leftovers are tried at the very end of the file.
const PROBE: usize = 32;

/// A batch that can be read in pieces: from the commit buffer, or from an overflow file.
pub trait Source {
    /// Length in bytes.
    fn len(&self) -> u64;
    /// Fills `out` from `at`.
    fn read(&self, at: u64, out: &mut [u8]) -> io::Result<()>;
}

/// Where the beginning of the batch stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// Offset in the file.
    pub at: u64,
    /// Equal bytes there.
    pub matched: u64,
}

/// Finds bytes `skip..` of `source` in `file`, which is `size` bytes long, at or behind `off`.
pub fn locate<E: Env>(
    env: &E,
    file: &E::File,
    size: u64,
    off: u64,
    source: &impl Source,
    skip: u64,
) -> io::Result<Found> {
    let want = source.len() - skip;
    let mut best = Found { at: off, matched: matches(env, file, size, off, source, skip)? };
    if best.matched == want || off + best.matched == size {
        return Ok(best);
    }
    // Somebody else has written here too. Look at every place where the batch could begin.
    let mut probe = vec![0; PROBE.min(want as usize)];
    source.read(skip, &mut probe)?;
    let mut window = vec![0; CHUNK + PROBE];
    let mut at = off;
    while at < size {
        let n = read_full(env, file, at, &mut window)?;
        if n == 0 {
            break;
        }
        let mut places: Vec<usize> = memmem::find_iter(&window[..n], &probe).collect();
        if at + n as u64 >= size {
            // A beginning cut short by the end of the file.
            places.extend((n.saturating_sub(probe.len() - 1)..n).filter(|i| probe.starts_with(&window[*i..n])));
        }
        for place in places {
            let place = at + place as u64;
            let matched = matches(env, file, size, place, source, skip)?;
            if matched == want {
                return Ok(Found { at: place, matched });
            }
            if matched > best.matched {
                best = Found { at: place, matched };
            }
        }
        if n < window.len() {
            break;
        }
        at += CHUNK as u64;
    }
    Ok(best)
}

/// How many bytes from `skip` on are equal to the file's from `at` on.
fn matches<E: Env>(env: &E, file: &E::File, size: u64, at: u64, source: &impl Source, skip: u64) -> io::Result<u64> {
    let most = (source.len() - skip).min(size.saturating_sub(at));
    let (mut theirs, mut ours) = (vec![0; CHUNK.min(most as usize)], vec![0; CHUNK.min(most as usize)]);
    let mut done = 0;
    while done < most {
        let n = (CHUNK as u64).min(most - done) as usize;
        let n = read_full(env, file, at + done, &mut theirs[..n])?;
        if n == 0 {
            break;
        }
        source.read(skip + done, &mut ours[..n])?;
        let equal = theirs[..n].iter().zip(&ours[..n]).take_while(|(a, b)| a == b).count();
        done += equal as u64;
        if equal < n {
            break;
        }
    }
    Ok(done)
}

/// Reads until `out` is full or the file ends.
pub fn read_full<E: Env>(env: &E, file: &E::File, at: u64, out: &mut [u8]) -> io::Result<usize> {
    let mut done = 0;
    while done < out.len() {
        match env.read_at(file, at + done as u64, &mut out[done..]) {
            Ok(0) => break,
            Ok(n) => done += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(done)
}
