//! What the database's journal cannot see to itself: a sync that failed, and a batch that was cut in two.
//!
//! **A failed sync.** The operating system reports it once and then takes the pages for clean. Whoever
//! opens the file again reads octets that are not on the disk, and a further sync of them succeeds. A
//! journal that a sync failed on is therefore written anew, octet by octet, before anything relies on it.
//! That a sync failed is known by a file that is *missing*: removing one needs no room on a full disk,
//! and the removal lives exactly as long as the pages that lie do.
//!
//! **A torn batch.** Power fails while a batch is synced: any of its pages may be there. The database
//! drops a last batch without an end, but refuses to open at one with an end and a hole in the middle.
//! Such a batch was never acknowledged, since its sync did not return, and nothing comes after it. That a
//! disk lost what it had confirmed looks the same, and cannot be told from it.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::database::sync_directory;

/// The file in the store's directory that is missing after a failed sync.
pub(super) const INTACT: &str = "intact";

/// What the end of a batch ends with.
const BATCH_END: &[u8] = b"FJL\x03";

/// Octets copied at a time.
const CHUNK_OCTETS: usize = 1 << 20;

/// Notes that a sync failed.
pub(super) fn distrust(directory: &Path) {
    // If even this fails then the file system takes no changes at all until it is mounted again.
    let _ = fs::remove_file(directory.join(INTACT));
}

/// Writes the newest journal in `store` anew if a sync of it failed.
///
/// # Errors
///
/// Why it cannot be written; the journal is as before.
pub(super) fn renew_distrusted(directory: &Path, store: &Path) -> io::Result<()> {
    let intact = directory.join(INTACT);
    if intact.try_exists()? {
        return Ok(());
    }
    if let Some((path, end)) = newest(store)? {
        tracing::warn!("an earlier sync of the store failed: writing its newest journal anew");
        replace_by_first_octets(&path, end)?;
        sync_parent(&path)?;
    }
    trust(directory)
}

/// Notes that no sync has failed since all in the store was synced.
///
/// # Errors
///
/// Why that cannot be noted.
pub(super) fn trust(directory: &Path) -> io::Result<()> {
    File::create(directory.join(INTACT))?.sync_all()?;
    sync_directory(directory)
}

/// A journal that lost its last batch, until it is known whether that helped.
pub(super) struct Cut {
    path: PathBuf,
    original: PathBuf,
}

/// Takes the last batch away from the newest journal in `store`; `None` if it is not the last one that
/// is broken.
///
/// # Errors
///
/// Why it cannot be written; the journal is as before.
pub(super) fn cut_last_batch(store: &Path) -> io::Result<Option<Cut>> {
    let Some((path, end)) = newest(store)? else { return Ok(None) };
    let mut octets = fs::read(&path)?;
    octets.truncate(usize::try_from(end).unwrap_or(usize::MAX));
    let Some(keep) = start_of_last_batch(&octets) else { return Ok(None) };
    let original = path.with_extension("torn");
    let copied = fs::copy(&path, &original);
    if let Err(error) = copied.and_then(|_| replace_by_first_octets(&path, keep as u64)) {
        let _ = fs::remove_file(&original);
        return Err(error);
    }
    let cut = Cut { path, original };
    if let Err(error) = sync_parent(&cut.path) {
        cut.undo()?;
        return Err(error);
    }
    Ok(Some(cut))
}

impl Cut {
    /// It helped.
    pub(super) fn keep(self) {
        let shown = self.path.display();
        tracing::warn!("{shown}: the last batch was torn, as by a crash during its sync: dropped");
        // A copy of something without worth.
        let _ = fs::remove_file(&self.original);
    }

    /// It did not help: puts everything back.
    pub(super) fn undo(self) -> io::Result<()> {
        fs::rename(&self.original, &self.path)
    }
}

/// Where the last batch begins, which may be broken in any way; `None` if something comes after a broken
/// one.
fn start_of_last_batch(octets: &[u8]) -> Option<usize> {
    let mut last = 0;
    let mut rest = octets;
    while let Some(after) = skip_batch(rest) {
        last = octets.len() - rest.len();
        rest = after;
    }
    if rest.is_empty() {
        return Some(last);
    }
    let ends = rest.windows(BATCH_END.len()).position(|window| window == BATCH_END);
    let is_last = ends.is_none_or(|at| at + BATCH_END.len() == rest.len());
    is_last.then_some(octets.len() - rest.len())
}

/// What follows a batch that has all of its parts: a start with the number of items, the items, and an
/// end. Their contents are not looked at: the database has a checksum of those.
fn skip_batch(octets: &[u8]) -> Option<&[u8]> {
    /// Tag, number of items (32 bits), sequence number (64 bits).
    const START_OCTETS: usize = 13;
    /// Tag, type, compression, keyspace (64 bits).
    const ITEM_OCTETS: usize = 11;
    /// Tag, checksum (64 bits).
    const END_OCTETS: usize = 9;
    let (start, mut rest) = octets.split_at_checked(START_OCTETS)?;
    let [1, a, b, c, d, ..] = *start else { return None };
    for _ in 0..u32::from_le_bytes([a, b, c, d]) {
        let (item, lengths) = rest.split_at_checked(ITEM_OCTETS)?;
        let [2, _, 0, ..] = *item else { return None };
        let (key, lengths) = lengths.split_first_chunk()?;
        let (value, lengths) = lengths.split_first_chunk()?;
        let (stored, contents) = lengths.split_first_chunk()?;
        if value != stored {
            return None;
        }
        let length = usize::from(u16::from_le_bytes(*key)) + u32::from_le_bytes(*stored) as usize;
        rest = contents.get(length..)?;
    }
    let (end, rest) = rest.split_at_checked(END_OCTETS)?;
    if end.first() != Some(&3) {
        return None;
    }
    rest.strip_prefix(BATCH_END)
}

/// The newest journal with something in it, and where that ends. What is after it are zeros, which the
/// database sets the length of a file to before it writes.
fn newest(store: &Path) -> io::Result<Option<(PathBuf, u64)>> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(store)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok());
        if let (Some(number), Some("jnl")) = (number, path.extension().and_then(|it| it.to_str())) {
            journals.push((number, path));
        }
    }
    journals.sort();
    while let Some((_, path)) = journals.pop() {
        let end = written_octets(&path)?;
        if end > 0 {
            return Ok(Some((path, end)));
        }
    }
    Ok(None)
}

/// How many octets a file has before only zeros follow.
fn written_octets(path: &Path) -> io::Result<u64> {
    let mut file = File::open(path)?;
    let mut chunk = vec![0; CHUNK_OCTETS];
    let mut end = file.metadata()?.len();
    while end > 0 {
        let start = end.saturating_sub(CHUNK_OCTETS as u64);
        let count = usize::try_from(end - start).unwrap_or(CHUNK_OCTETS);
        let part = chunk.get_mut(..count).unwrap_or_default();
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(part)?;
        if let Some(last) = part.iter().rposition(|octet| *octet != 0) {
            return Ok(start + last as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Replaces a file by a new one with its first `count` octets, read and written: a copy made by the file
/// system would share the very blocks that are in doubt. After an error it is as before. [`sync_parent`]
/// follows.
fn replace_by_first_octets(path: &Path, count: u64) -> io::Result<()> {
    let partial = path.with_extension("new");
    let written = write_first_octets(path, count, &partial);
    written.and_then(|()| fs::rename(&partial, path)).inspect_err(|_| {
        // Of no use, and it takes room on a disk that may be full.
        let _ = fs::remove_file(&partial);
    })
}

fn write_first_octets(path: &Path, count: u64, partial: &Path) -> io::Result<()> {
    let mut from = File::open(path)?.take(count);
    let mut to = File::create(partial)?;
    let mut chunk = vec![0; CHUNK_OCTETS];
    loop {
        let read = from.read(&mut chunk)?;
        if read == 0 {
            break;
        }
        to.write_all(chunk.get(..read).unwrap_or_default())?;
    }
    to.sync_all()
}

/// Makes the name of a file durable.
fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), sync_directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_journal_with_something_in_it_is_written_anew_without_the_zeros_after_it() {
        let directory = std::env::temp_dir().join(format!("{}-journal", std::process::id()));
        let store = directory.join("store");
        fs::create_dir_all(&store).unwrap();
        let mut octets = vec![7; CHUNK_OCTETS + 5];
        octets.extend([0, 9]);
        let written = octets.clone();
        octets.resize(3 * CHUNK_OCTETS, 0);
        fs::write(store.join("9.jnl"), b"old").unwrap();
        fs::write(store.join("10.jnl"), &octets).unwrap();
        fs::write(store.join("11.jnl"), [0; 64]).unwrap();

        fs::write(directory.join(INTACT), b"").unwrap();
        renew_distrusted(&directory, &store).unwrap();
        assert_eq!(fs::read(store.join("10.jnl")).unwrap().len(), 3 * CHUNK_OCTETS);
        distrust(&directory);
        renew_distrusted(&directory, &store).unwrap();
        assert!(fs::read(store.join("10.jnl")).unwrap() == written);
        assert!(directory.join(INTACT).exists());
        fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn what_was_written_of_a_journal_is_gone_after_an_error() {
        let directory = std::env::temp_dir().join(format!("{}-partial", std::process::id()));
        // One that opens, and then cannot be read.
        fs::create_dir_all(directory.join("1.jnl")).unwrap();
        replace_by_first_octets(&directory.join("1.jnl"), 9).unwrap_err();
        assert!(!directory.join("1.new").exists());
        fs::remove_dir_all(&directory).unwrap();

        // One that nothing can be written in the place of.
        fs::create_dir_all(directory.join("1.new")).unwrap();
        fs::write(directory.join("1.jnl"), b"torn").unwrap();
        assert!(cut_last_batch(&directory).is_err());
        assert!(!directory.join("1.torn").exists());
        assert_eq!(fs::read(directory.join("1.jnl")).unwrap(), b"torn");
        fs::remove_dir_all(&directory).unwrap();
    }
}
