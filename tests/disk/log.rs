//! The log of the shim.

/// One thing that the process did, or that happened to it.
#[derive(Clone, Debug)]
pub struct Record {
    /// Its place in the order of all, from 1 for each process.
    pub number: u64,
    /// When, nanoseconds of a clock that never goes back.
    pub nanoseconds: u64,
    /// The thread that did it.
    pub thread: u64,
    pub event: Event,
}

/// What happened. Names are paths below the directory.
#[derive(Clone, Debug)]
pub enum Event {
    Create { inode: u64, mode: u32, name: String },
    MakeDirectory { inode: u64, mode: u32, name: String },
    Write { inode: u64, offset: u64, data: Vec<u8> },
    SetLength { inode: u64, length: u64 },
    Rename { from: String, to: String },
    Link { from: String, to: String },
    Remove { name: String },
    SyncBegin { inode: u64, number: u64 },
    SyncEnd { inode: u64, began: u64, outcome: Outcome },
    Received { socket: u64, length: u64, data: Vec<u8> },
    Sent { socket: u64, length: u64, data: Vec<u8> },
    Cut { operation: u64 },
    Note(String),
}

/// How a sync ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Outcome {
    Done,
    /// It said so, but nothing was done.
    Dropped,
    Failed,
}

/// Octets of a record's head.
const HEAD: usize = 64;

/// Takes the log apart. What a killed process did not write to its end is left out.
pub fn parse(mut octets: &[u8]) -> Vec<Record> {
    let mut records = Vec::new();
    while octets.len() >= HEAD {
        let length = number(octets, 0, 4) as usize;
        let Some((record, rest)) = octets.split_at_checked(length) else { break };
        records.push(read(record));
        octets = rest;
    }
    records
}

fn number(octets: &[u8], at: usize, length: usize) -> u64 {
    let mut all = [0; 8];
    all[..length].copy_from_slice(&octets[at..at + length]);
    u64::from_le_bytes(all)
}

fn read(record: &[u8]) -> Record {
    let (inode, a, b) = (number(record, 32, 8), number(record, 40, 8), number(record, 48, 8));
    let (text, data) = record[HEAD..].split_at(number(record, 56, 4) as usize);
    let text = String::from_utf8(text.to_vec()).unwrap();
    let data = data.to_vec();
    let pair = || {
        let (from, to) = text.split_once('\0').unwrap();
        (from.to_owned(), to.to_owned())
    };
    let place = number(record, 8, 8);
    let event = match number(record, 4, 4) {
        1 => Event::Create { inode, mode: a as u32, name: text },
        2 => Event::MakeDirectory { inode, mode: a as u32, name: text },
        3 => Event::Write { inode, offset: a, data },
        4 => Event::SetLength { inode, length: a },
        5 => {
            let (from, to) = pair();
            Event::Rename { from, to }
        }
        6 => {
            let (from, to) = pair();
            Event::Link { from, to }
        }
        7 => Event::Remove { name: text },
        8 => Event::SyncBegin { inode, number: place },
        9 => {
            let outcome = match b {
                0 => Outcome::Done,
                1000 => Outcome::Dropped,
                _ => Outcome::Failed,
            };
            Event::SyncEnd { inode, began: a, outcome }
        }
        10 => Event::Received { socket: inode, length: a, data },
        11 => Event::Sent { socket: inode, length: a, data },
        12 => Event::Cut { operation: a },
        13 => Event::Note(text),
        kind => panic!("a record of kind {kind}"),
    };
    Record {
        number: place,
        nanoseconds: number(record, 16, 8),
        thread: number(record, 24, 8),
        event,
    }
}
