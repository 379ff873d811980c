//! Cuts a torn end off the database's journal.
//!
//! A batch is appended to the journal and then synchronised. When power is lost in between, any of
//! its blocks may be on the disk and any may be missing. If the last one is there and one in the
//! middle is not, the database finds a batch that is whole in its outline but has another
//! checksum, and refuses to open for good. Nobody was told that such a batch is stored, and the
//! next is appended only when it is, so it is the last: we cut it off, and keep what was cut beside
//! the journal. A batch that is damaged with others behind it is real damage and left alone.
//!
//! ```text
//! batch   01 count:4 seqno:8 (item | clear)… 03 checksum:8 "FJL" 03      little-endian
//! item    02 type:1 compression:1 keyspace:8 key_len:2 value_len:4 stored_len:4 key stored
//! clear   04 keyspace:8
//! ```
//!
//! The checksum is XXH3 over the items and clears as they stand.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use tracing::warn;
use xxhash_rust::xxh3::Xxh3;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: &[u8] = b"FJL\x03";

/// What one batch in a journal turned out to be.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    Whole,
    /// Whole in its outline, but not what was written.
    Torn,
    /// The end of what was written; the database copes with a batch that stops short.
    End,
}

/// Cuts the last batch off the newest journal in `folder` if it is torn. Tells whether it was.
pub(super) fn cut_torn_end(folder: &Path) -> io::Result<bool> {
    let Some(journal) = newest_journal(folder)? else {
        return Ok(false);
    };
    let mut file = OpenOptions::new().read(true).write(true).open(&journal)?;
    let Some(start) = torn_end(&file)? else {
        return Ok(false);
    };
    file.seek(SeekFrom::Start(start))?;
    let aside = journal.with_extension("torn");
    let mut copy = File::create(&aside)?;
    let bytes = io::copy(&mut file, &mut copy)?;
    copy.sync_all()?;
    file.set_len(start)?;
    file.sync_all()?;
    warn!(
        journal = %journal.display(),
        aside = %aside.display(),
        bytes,
        "the end of the journal was torn: a batch that was not stored when power was lost"
    );
    Ok(true)
}

fn newest_journal(folder: &Path) -> io::Result<Option<PathBuf>> {
    let mut newest = None;
    for entry in folder.read_dir()? {
        let path = entry?.path();
        let number = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse::<u64>().ok());
        if let Some(number) = number {
            newest = newest.max(Some((number, path)));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

/// Where the last batch begins, if it is torn and nothing stands behind it.
fn torn_end(file: &File) -> io::Result<Option<u64>> {
    let mut reader = BufReader::with_capacity(64 << 10, file);
    loop {
        let start = reader.stream_position()?;
        match read_batch(&mut reader)? {
            Found::Whole => {}
            Found::End => return Ok(None),
            Found::Torn => {
                let is_last = read_batch(&mut reader)? == Found::End;
                return Ok(is_last.then_some(start));
            }
        }
    }
}

fn read_batch(reader: &mut impl Read) -> io::Result<Found> {
    match outline(reader) {
        Ok(true) => Ok(Found::Whole),
        Ok(false) => Ok(Found::Torn),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData
            ) =>
        {
            Ok(Found::End)
        }
        Err(error) => Err(error),
    }
}

/// Reads one batch; whether its checksum holds.
fn outline(reader: &mut impl Read) -> io::Result<bool> {
    let [tag] = take(reader)?;
    if tag != START {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let items = u32::from_le_bytes(take(reader)?);
    let _seqno: [u8; 8] = take(reader)?;
    let mut hasher = Xxh3::new();
    for _ in 0..items {
        let [tag] = take(reader)?;
        hasher.update(&[tag]);
        match tag {
            ITEM => item(reader, &mut hasher)?,
            CLEAR => hasher.update(&take::<8>(reader)?),
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
    let [tag] = take(reader)?;
    let checksum = u64::from_le_bytes(take(reader)?);
    let trailer: [u8; 4] = take(reader)?;
    if tag != END || trailer != TRAILER {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(hasher.digest() == checksum)
}

fn item(reader: &mut impl Read, hasher: &mut Xxh3) -> io::Result<()> {
    let head: [u8; 20] = take(reader)?;
    hasher.update(&head);
    let [.., k0, k1, _, _, _, _, s0, s1, s2, s3] = head;
    let key = u64::from(u16::from_le_bytes([k0, k1]));
    let stored = u64::from(u32::from_le_bytes([s0, s1, s2, s3]));
    let mut left = key + stored;
    let mut buffer = [0; 4096];
    while left > 0 {
        let part = buffer
            .len()
            .min(usize::try_from(left).unwrap_or(usize::MAX));
        reader.read_exact(&mut buffer[..part])?;
        hasher.update(&buffer[..part]);
        left -= part as u64;
    }
    Ok(())
}

fn take<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}
