//! What a disk holds after a power failure, computed from what a process did.
//!
//! Strict, as POSIX lets a disk be: octets are durable when a sync of their file that began after the
//! write has succeeded; a name, when a sync of its directory has. After a failed sync the octets that it
//! was about are taken for written by nobody: a later sync that succeeds does not bring them back.

use std::{
    collections::{BTreeMap, HashMap},
    fs,
    os::unix::fs::{FileExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

use crate::{
    common::Seeded,
    log::{Event, Outcome},
    shim::copy_file,
};

/// What a disk writes at once, octets.
const SECTOR: u64 = 512;

/// What the kernel writes back at once, octets.
const PAGE: u64 = 4096;

/// What becomes of changes that no sync was about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unsynced {
    /// All are lost.
    Lost,
    /// Of each file the first ones are kept, as many as chance has it, the last of them in part.
    Torn,
    /// Of each file some pages are kept and others are not.
    Scattered,
}

/// Files and directories as they were when the process started, and what it did to them.
#[derive(Debug)]
pub struct Image {
    nodes: Vec<Node>,
    /// The node that has an inode now.
    inodes: HashMap<u64, usize>,
    /// What the process sees under a name.
    names: BTreeMap<String, usize>,
    /// How many events came before.
    time: u64,
    /// The time at which a sync began, by its number.
    syncs: HashMap<u64, u64>,
}

#[derive(Debug)]
struct Node {
    /// The file with the octets from before the process.
    base: Option<PathBuf>,
    mode: u32,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    File(Vec<Change>),
    Directory {
        /// Durable names.
        entries: BTreeMap<String, usize>,
        /// Changes of names that are not durable, and their times.
        pending: Vec<(u64, Naming)>,
    },
}

#[derive(Debug)]
struct Change {
    time: u64,
    state: State,
    what: What,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    Pending,
    Durable,
    Lost,
}

#[derive(Debug)]
enum What {
    Write { offset: u64, data: Vec<u8> },
    SetLength(u64),
}

/// A change of the names in one directory.
#[derive(Clone, Debug)]
enum Naming {
    Add(String, usize),
    Remove(String),
    Move(String, String, usize),
}

impl Image {
    /// What `directory` holds, of which `copy` has a copy.
    pub fn of(directory: &Path, copy: &Path) -> Self {
        let (inodes, names, syncs) = (HashMap::new(), BTreeMap::new(), HashMap::new());
        let mut image = Self { nodes: Vec::new(), inodes, names, time: 0, syncs };
        image.take(directory, copy, "");
        image
    }

    fn take(&mut self, path: &Path, copy: &Path, name: &str) -> usize {
        let status = fs::metadata(path).unwrap();
        let base = Some(copy.to_owned());
        if status.is_file() {
            let kind = Kind::File(Vec::new());
            let node = Node { base, mode: status.mode(), kind };
            return self.add(node, status.ino(), name);
        }
        let node = Node { base: None, mode: status.mode(), kind: Kind::directory() };
        let id = self.add(node, status.ino(), name);
        for entry in fs::read_dir(path).unwrap() {
            let file_name = entry.unwrap().file_name().into_string().unwrap();
            let below = join(name, &file_name);
            let child = self.take(&path.join(&file_name), &copy.join(&file_name), &below);
            if let Kind::Directory { entries, .. } = &mut self.nodes[id].kind {
                entries.insert(file_name, child);
            }
        }
        id
    }

    fn add(&mut self, node: Node, inode: u64, name: &str) -> usize {
        let id = self.nodes.len();
        self.nodes.push(node);
        self.inodes.insert(inode, id);
        self.names.insert(name.to_owned(), id);
        id
    }

    /// Takes in what the process did next.
    pub fn apply(&mut self, event: &Event) {
        self.time += 1;
        match event {
            Event::Create { inode, mode, name } => {
                self.create(*inode, *mode, name, Kind::File(Vec::new()));
            }
            Event::MakeDirectory { inode, mode, name } => {
                self.create(*inode, *mode, name, Kind::directory());
            }
            Event::Write { inode, offset, data } => {
                self.change(*inode, What::Write { offset: *offset, data: data.clone() });
            }
            Event::SetLength { inode, length } => self.change(*inode, What::SetLength(*length)),
            Event::Rename { from, to } => self.rename(from, to),
            Event::Link { from, to } => {
                let id = self.names[from];
                self.names.insert(to.clone(), id);
                self.name(to, |name| Naming::Add(name, id));
            }
            Event::Remove { name } => {
                self.names.remove(name);
                self.name(name, Naming::Remove);
            }
            Event::SyncBegin { number, .. } => {
                self.syncs.insert(*number, self.time);
            }
            Event::SyncEnd { inode, began, outcome } => self.sync(*inode, *began, *outcome),
            Event::Received { .. } | Event::Sent { .. } | Event::Cut { .. } | Event::Note(_) => {}
        }
    }

    fn create(&mut self, inode: u64, mode: u32, name: &str, kind: Kind) {
        let id = self.add(Node { base: None, mode, kind }, inode, name);
        self.name(name, |name| Naming::Add(name, id));
    }

    fn change(&mut self, inode: u64, what: What) {
        let change = Change { time: self.time, state: State::Pending, what };
        match &mut self.nodes[self.inodes[&inode]].kind {
            Kind::File(changes) => changes.push(change),
            Kind::Directory { .. } => panic!("a directory was written to"),
        }
    }

    fn rename(&mut self, from: &str, to: &str) {
        let id = self.names[from];
        let below = format!("{from}/");
        let moved: Vec<_> = self
            .names
            .keys()
            .filter(|name| *name == from || name.starts_with(&below))
            .cloned()
            .collect();
        for name in moved {
            let id = self.names.remove(&name).unwrap();
            self.names.insert(format!("{to}{}", &name[from.len()..]), id);
        }
        let (directory, old) = split(from);
        let (new_directory, new) = split(to);
        if directory == new_directory {
            let old = old.to_owned();
            self.name(to, |new| Naming::Move(old, new, id));
        } else {
            let new = new.to_owned();
            self.name(to, |_| Naming::Add(new, id));
            self.name(from, Naming::Remove);
        }
    }

    /// Adds a change of `path` to those of its directory.
    fn name(&mut self, path: &str, naming: impl FnOnce(String) -> Naming) {
        let (directory, name) = split(path);
        let time = self.time;
        match &mut self.nodes[self.names[directory]].kind {
            Kind::Directory { pending, .. } => pending.push((time, naming(name.to_owned()))),
            Kind::File(_) => panic!("{directory} is no directory"),
        }
    }

    fn sync(&mut self, inode: u64, began: u64, outcome: Outcome) {
        let began = self.syncs.remove(&began).expect("a sync begins before it ends");
        let reached = match outcome {
            Outcome::Done => State::Durable,
            Outcome::Failed => State::Lost,
            Outcome::Dropped => return,
        };
        match &mut self.nodes[self.inodes[&inode]].kind {
            Kind::File(changes) => {
                let about = changes.iter_mut().filter(|change| change.time < began);
                for change in about.filter(|change| change.state == State::Pending) {
                    change.state = reached;
                }
            }
            Kind::Directory { entries, pending } if reached == State::Durable => {
                let count = pending.iter().take_while(|(time, _)| *time < began).count();
                for (_, naming) in pending.drain(..count) {
                    naming.apply(entries);
                }
            }
            Kind::Directory { .. } => {}
        }
    }

    /// Writes what the disk holds to a new directory.
    pub fn write(&self, to: &Path, unsynced: Unsynced, seeded: &mut Seeded) {
        self.write_node(self.names[""], to, unsynced, seeded);
    }

    fn write_node(&self, id: usize, to: &Path, unsynced: Unsynced, seeded: &mut Seeded) {
        let node = &self.nodes[id];
        match &node.kind {
            Kind::File(changes) => {
                match &node.base {
                    Some(base) => copy_file(base, to),
                    None => fs::write(to, []).unwrap(),
                }
                write_changes(to, changes, unsynced, seeded);
            }
            Kind::Directory { entries, pending } => {
                fs::create_dir(to).unwrap();
                let mut entries = entries.clone();
                let kept = match unsynced {
                    Unsynced::Lost => 0,
                    Unsynced::Torn | Unsynced::Scattered => seeded.below(pending.len() as u64 + 1),
                };
                for (_, naming) in pending.iter().take(kept as usize) {
                    naming.clone().apply(&mut entries);
                }
                for (name, child) in entries {
                    self.write_node(child, &to.join(name), unsynced, seeded);
                }
            }
        }
        fs::set_permissions(to, fs::Permissions::from_mode(node.mode & 0o7777)).unwrap();
    }
}

impl Kind {
    fn directory() -> Self {
        Self::Directory { entries: BTreeMap::new(), pending: Vec::new() }
    }
}

impl Naming {
    fn apply(self, entries: &mut BTreeMap<String, usize>) {
        match self {
            Self::Add(name, id) => {
                entries.insert(name, id);
            }
            Self::Remove(name) => {
                entries.remove(&name);
            }
            Self::Move(from, to, id) => {
                entries.remove(&from);
                entries.insert(to, id);
            }
        }
    }
}

fn write_changes(to: &Path, changes: &[Change], unsynced: Unsynced, seeded: &mut Seeded) {
    let file = fs::OpenOptions::new().write(true).open(to).unwrap();
    let pending = changes.iter().filter(|change| change.state == State::Pending).count() as u64;
    let mut left = match unsynced {
        Unsynced::Lost => 0,
        Unsynced::Torn => seeded.below(pending + 1),
        Unsynced::Scattered => pending,
    };
    for change in changes {
        let is_pending = change.state == State::Pending;
        if change.state == State::Lost || (is_pending && left == 0) {
            continue;
        }
        left -= u64::from(is_pending);
        match &change.what {
            What::SetLength(length) => file.set_len(*length).unwrap(),
            What::Write { offset, data } if !is_pending => {
                file.write_all_at(data, *offset).unwrap()
            }
            What::Write { offset, data } if unsynced == Unsynced::Torn => {
                let end = offset + data.len() as u64;
                let sectors = end.div_ceil(SECTOR) - offset / SECTOR;
                let kept = (offset / SECTOR + seeded.below(sectors + 1)) * SECTOR;
                let kept = if left == 0 { kept.clamp(*offset, end) } else { end };
                file.write_all_at(&data[..(kept - offset) as usize], *offset).unwrap();
            }
            What::Write { offset, data } => {
                let mut rest = &data[..];
                let mut offset = *offset;
                while !rest.is_empty() {
                    let (page, after) =
                        rest.split_at(rest.len().min((PAGE - offset % PAGE) as usize));
                    if seeded.below(2) == 0 {
                        file.write_all_at(page, offset).unwrap();
                    }
                    offset += page.len() as u64;
                    rest = after;
                }
            }
        }
    }
}

fn join(directory: &str, name: &str) -> String {
    if directory.is_empty() { name.to_owned() } else { format!("{directory}/{name}") }
}

/// The directory of a path, and the name in it.
fn split(path: &str) -> (&str, &str) {
    path.rsplit_once('/').unwrap_or(("", path))
}
