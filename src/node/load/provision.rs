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

/// Writes one JSON line.
type WriteRow = fn(&Subscribers, usize, &mut NameBuffers, &mut Vec<u8>) -> io::Result<()>;

/// What is put into a system.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    /// Of the SIP database.
    Subscribers,
    /// Of the configuration management server.
    Users,
}

/// Puts all subscribers into the system whose management interface is at `url`.
///
/// # Errors
///
/// It cannot be reached, or does not want them.
pub(super) async fn put(
    kind: Kind,
    subscribers: &Subscribers,
    url: &str,
    quiet: bool,
) -> Result<(), LoadError> {
    let (path, write_row, name): (_, WriteRow, _) = match kind {
        Kind::Subscribers => ("/v1/subscribers", write_subscriber, "subscribers"),
        Kind::Users => ("/v1/users", write_user, "users"),
    };
    let client = ManagementClient::new(url);
    let progress = progress_bar(if quiet { 0 } else { subscribers.len() }, name);
    let mut next = 0;
    while next < subscribers.len() {
        let end = (next + ROWS).min(subscribers.len());
        let mut rows = Zeroizing::new(Vec::with_capacity((end - next) * 256));
        let mut names = NameBuffers::default();
        for number in next..end {
            write_row(subscribers, number, &mut names, &mut rows)
                .map_err(|error| LoadError::Rejected(error.to_string()))?;
        }
        let refused = client.put_many(path, std::mem::take(&mut *rows), false).await?;
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
    file.write_all(b"impi,impu,k,opc,mc_service_id,token\n")?;
    let mut names = NameBuffers::default();
    for number in 0..subscribers.len() {
        let Some(Keys { k, opc }) = named(subscribers, number, &mut names) else { continue };
        let (k, opc) = (k.to_hex(), opc.to_hex());
        write!(file, "{},{},{},{}", names.impi, names.impu, k.as_str(), opc.as_str())?;
        let user = u32::try_from(number).ok().and_then(|number| subscribers.user(number));
        match user {
            Some((id, token)) => writeln!(file, ",{},{}", id.as_str(), token.expose())?,
            None => writeln!(file, ",,")?,
        }
    }
    file.flush()?;
    private_file::replace(file.get_ref(), partial, path)
}

fn write_user(
    subscribers: &Subscribers,
    number: usize,
    names: &mut NameBuffers,
    rows: &mut Vec<u8>,
) -> io::Result<()> {
    if named(subscribers, number, names).is_none() {
        return Ok(());
    }
    let user = u32::try_from(number).ok().and_then(|number| subscribers.user(number));
    let Some((id, token)) = user else {
        let why = format!("subscriber {} has no mc_service_id and token", number + 1);
        return Err(io::Error::other(why));
    };
    let user = serde_json::json!({
        "impi": names.impi, "impu": names.impu, "may_migrate": true, "token": token.expose(),
    });
    writeln!(rows, "{}", serde_json::json!({ "mc_service_id": id, "user": user }))
}

fn write_subscriber(
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
