//! Brings the subscribers of a run to those who are to know them.

use std::{
    io::{self, Write},
    path::Path,
};

use zeroize::Zeroizing;

use super::{
    LoadError,
    subscribers::{Keys, NameBuffers, Subscribers},
};
use crate::node::{client::ManagementClient, private_file, provision::progress_bar};

/// Subscribers that one request is about.
const ROWS: usize = 50_000;

/// Where many subscribers go.
const PATH: &str = "/v1/subscribers";

/// Puts all subscribers into the system whose management interface is at `url`.
///
/// # Errors
///
/// It cannot be reached, or does not want them.
pub(super) async fn put(
    subscribers: &Subscribers,
    url: &str,
    quiet: bool,
) -> Result<(), LoadError> {
    let client = ManagementClient::new(url);
    let progress = progress_bar(if quiet { 0 } else { subscribers.len() }, "subscribers");
    let mut next = 0;
    while next < subscribers.len() {
        let end = (next + ROWS).min(subscribers.len());
        let mut rows = Zeroizing::new(Vec::with_capacity((end - next) * 256));
        let mut names = NameBuffers::default();
        for number in next..end {
            write_row(subscribers, number, &mut names, &mut rows).map_err(LoadError::Show)?;
        }
        let refused = client.put_many(PATH, std::mem::take(&mut *rows), false).await?;
        if let Some(first) = refused.first() {
            let number = next + first.row;
            let why = format!("subscriber {number}: {}; {}", first.detail, first.fix);
            return Err(LoadError::Rejected(why));
        }
        progress.inc((end - next) as u64);
        next = end;
    }
    progress.finish_and_clear();
    Ok(())
}

/// Writes all subscribers as a table that [`Subscribers::read`] and `migcore provision load` take.
///
/// # Errors
///
/// The file cannot be written.
pub(super) fn write(subscribers: &Subscribers, path: &Path) -> Result<(), LoadError> {
    let partial = private_file::partial_path(path);
    let outcome = write_table(subscribers, path, &partial);
    outcome.map_err(|error| LoadError::Write { path: path.to_owned(), error })
}

fn write_table(subscribers: &Subscribers, path: &Path, partial: &Path) -> io::Result<()> {
    let mut file = io::BufWriter::new(private_file::create(partial)?);
    file.write_all(b"impi,impu,k,opc\n")?;
    let mut names = NameBuffers::default();
    for number in 0..subscribers.len() {
        let Some(Keys { k, opc }) = named(subscribers, number, &mut names) else { continue };
        let (k, opc) = (k.to_hex(), opc.to_hex());
        writeln!(file, "{},{},{},{}", names.impi, names.impu, k.as_str(), opc.as_str())?;
    }
    file.flush()?;
    private_file::replace(file.get_ref(), partial, path)
}

/// One JSON line.
fn write_row(
    subscribers: &Subscribers,
    number: usize,
    names: &mut NameBuffers,
    rows: &mut Vec<u8>,
) -> io::Result<()> {
    let Some(Keys { k, opc }) = named(subscribers, number, names) else { return Ok(()) };
    let (k, opc) = (k.to_hex(), opc.to_hex());
    let row = serde_json::json!({
        "impi": names.impi,
        "subscriber": { "impus": [names.impu], "k": k.as_str(), "opc": opc.as_str() },
    });
    writeln!(rows, "{row}")
}

fn named<'a>(
    subscribers: &'a Subscribers,
    number: usize,
    names: &mut NameBuffers,
) -> Option<&'a Keys> {
    let number = u32::try_from(number).ok()?;
    subscribers.name(number, names);
    subscribers.keys(number)
}
