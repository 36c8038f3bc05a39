//! Builds the shim (`shim.c`), and sets it between a process and its directory.

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use crate::{
    common::Seeded,
    image::{Image, Unsynced},
    log::{self, Record},
};

/// Length of the control block, octets.
const CONTROL_OCTETS: usize = 4096;

/// A word of the control block, in the order of `shim.c`.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub enum Word {
    /// The process that runs under the shim.
    Attached,
    /// Changes so far.
    Operations,
    /// The change before which the process is killed.
    KillAt,
    /// Octets that can still be written, plus one; 0 is no limit.
    Space,
    /// Microseconds that a sync takes longer.
    SyncDelay,
    /// Whether messages on sockets are logged.
    Trace,
    /// Writes so far.
    Writes,
    /// Syncs so far.
    Syncs,
    /// Changes of names so far.
    Names,
    /// Faults so far.
    Injected,
}

/// The calls that a fault can hit.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub enum Call {
    Write = 10,
    Sync = 13,
    Name = 16,
}

/// What a fault does.
#[derive(Clone, Copy, Debug)]
#[repr(u64)]
pub enum Fault {
    /// The call fails: EIO.
    Failing = 5,
    /// The call fails: ENOSPC.
    Full = 28,
    /// The call succeeds and does nothing.
    Dropped = 1000,
    /// Half of the octets are written.
    Short = 1001,
}

/// A directory on a disk that can fail, and the process that uses it.
pub struct Disk {
    /// What the process uses.
    pub directory: PathBuf,
    /// Everything else: the control block, the log, and a copy of the directory as it was at first.
    place: PathBuf,
    control: fs::File,
    image: Option<Image>,
}

impl Disk {
    /// Makes an empty disk. `name` is unique among the tests.
    pub fn new(name: &str) -> Self {
        let place = format!("disk-{name}-{}", std::process::id());
        let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(place);
        let _ = fs::remove_dir_all(&place);
        Self::over(&place.join("disk"))
    }

    /// Makes an empty disk of `directory`, which is the only one in its parent directory.
    pub fn over(directory: &Path) -> Self {
        fs::create_dir_all(directory).unwrap();
        let directory = directory.canonicalize().unwrap();
        let place = directory.parent().unwrap().join("shim");
        fs::create_dir(&place).unwrap();
        fs::write(place.join("control"), [0; CONTROL_OCTETS]).unwrap();
        fs::write(place.join("log"), []).unwrap();
        let mut options = fs::OpenOptions::new();
        let control = options.read(true).write(true).open(place.join("control")).unwrap();
        Self { directory, place, control, image: None }
    }

    /// What puts a process on the disk: environment variables. No other process uses it. What an earlier
    /// one changed is what the disk holds, synced or not, as after `kill -9`; [`Disk::cut`] is different.
    pub fn attach(&mut self) -> Vec<(&'static str, OsString)> {
        let before = self.place.join("before");
        self.image.get_or_insert_with(|| {
            copy(&self.directory, &before);
            Image::of(&self.directory, &before)
        });
        vec![
            ("LD_PRELOAD", shim().into()),
            ("SHIM_DIRECTORY", self.directory.clone().into()),
            ("SHIM_CONTROL", self.place.join("control").into()),
            ("SHIM_LOG", self.place.join("log").into()),
        ]
    }

    /// What was done since the disk was made or the power failed.
    pub fn log(&self) -> Vec<Record> {
        log::parse(&fs::read(self.place.join("log")).unwrap())
    }

    /// The power failed: makes the directory what the disk holds, all that was synced and what
    /// `unsynced` lets through of the rest. No process uses it.
    pub fn cut(&mut self, unsynced: Unsynced, seeded: &mut Seeded) {
        let mut image = self.image.take().expect("a process ran");
        for record in self.log() {
            image.apply(&record.event);
        }
        let after = self.place.join("after");
        image.write(&after, unsynced, seeded);
        fs::remove_dir_all(self.place.join("before")).unwrap();
        fs::remove_dir_all(&self.directory).unwrap();
        fs::rename(&after, &self.directory).unwrap();
        fs::write(self.place.join("log"), []).unwrap();
        self.set(Word::KillAt, 0);
    }

    /// Makes `call` fail as `fault` says after `skip` more calls, `count` times.
    pub fn fail(&self, call: Call, fault: Fault, skip: u64, count: u64) {
        // The kind comes last: without one the shim does not look at the others.
        self.lift(call);
        self.put(call as u64 + 1, skip);
        self.put(call as u64 + 2, count);
        self.put(call as u64, fault as u64);
    }

    /// No `call` fails any more.
    pub fn lift(&self, call: Call) {
        self.put(call as u64, 0);
    }

    /// Leaves space for `octets`, or with `None` for any number.
    pub fn set_space(&self, octets: Option<u64>) {
        self.set(Word::Space, octets.map_or(0, |octets| octets + 1));
    }

    /// Kills the process before its n-th change from now on; `changes` is at least 1.
    pub fn kill_after(&self, changes: u64) {
        self.set(Word::KillAt, self.get(Word::Operations) + changes);
    }

    /// Takes back what [`Disk::kill_after`] said.
    pub fn never_kill(&self) {
        self.set(Word::KillAt, 0);
    }

    pub fn set(&self, word: Word, value: u64) {
        self.put(word as u64, value);
    }

    pub fn get(&self, word: Word) -> u64 {
        let mut octets = [0; 8];
        self.control.read_exact_at(&mut octets, word as u64 * 8).unwrap();
        u64::from_ne_bytes(octets)
    }

    fn put(&self, word: u64, value: u64) {
        self.control.write_all_at(&value.to_ne_bytes(), word * 8).unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What a failed test leaves is what explains it.
        if !std::thread::panicking() {
            let _ = fs::remove_dir_all(self.place.parent().unwrap());
        }
    }
}

/// Builds the shim once, and says where it is.
fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        compile("shim.c", "libshim.so", &["-shared", "-fPIC", "-fvisibility=hidden"])
    })
}

/// Compiles a C source beside this file, for this process.
pub fn compile(source: &str, name: &str, more: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/disk").join(source);
    let place = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cc-{}", std::process::id()));
    fs::create_dir_all(&place).unwrap();
    let output = place.join(name);
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let mut command = Command::new(compiler);
    command.args(["-std=c11", "-O1", "-Wall", "-Wextra", "-Werror"]).args(more);
    let status = command.arg("-o").arg(&output).arg(&source).arg("-pthread").status();
    let status = status.expect("a C compiler, as Rust needs one to link");
    assert!(status.success(), "{} does not compile", source.display());
    output
}

/// Copies a directory with all that is in it. Files keep their holes.
pub fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    fs::set_permissions(to, fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type().unwrap().is_dir() {
            copy(&from, &to);
        } else {
            copy_file(&from, &to);
        }
    }
}

/// Copies a file with its holes.
pub fn copy_file(from: &Path, to: &Path) {
    const BLOCK: usize = 65_536;
    let source = fs::File::open(from).unwrap();
    let status = source.metadata().unwrap();
    let target = fs::File::create(to).unwrap();
    target.set_permissions(status.permissions()).unwrap();
    target.set_len(status.len()).unwrap();
    // A file that has no blocks is a hole.
    let mut offset = if status.blocks() == 0 { status.len() } else { 0 };
    let mut block = vec![0; BLOCK];
    while offset < status.len() {
        let length = source.read_at(&mut block, offset).unwrap();
        assert_ne!(length, 0, "{} has shrunk", from.display());
        if block[..length].iter().any(|octet| *octet != 0) {
            target.write_all_at(&block[..length], offset).unwrap();
        }
        offset += length as u64;
    }
}
