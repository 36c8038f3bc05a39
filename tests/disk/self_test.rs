//! The shim and the image of the disk do what the other tests take for granted.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::PathBuf,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::OnceLock,
};

use crate::{
    common::Seeded,
    image::Unsynced,
    log::Event,
    shim::{Call, Disk, Fault, Word, compile},
};

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
/// What a short write is told as.
const SHORTENED: i32 = -2;

/// A process that does what it is told to.
struct Script {
    child: Child,
    lines: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Script {
    fn start(disk: &mut Disk) -> Self {
        static SCRIPT: OnceLock<PathBuf> = OnceLock::new();
        let mut command = Command::new(SCRIPT.get_or_init(|| compile("script.c", "script", &[])));
        command.current_dir(&disk.directory).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.envs(disk.attach()).spawn().unwrap();
        let lines = child.stdin.take().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines, answers }
    }

    /// The error number of a command, 0 for none; `None` if the process died of it.
    fn run(&mut self, line: &str) -> Option<i32> {
        writeln!(self.lines, "{line}").ok()?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer).unwrap();
        answer.trim().parse().ok()
    }

    fn all(&mut self, lines: &[&str]) {
        for line in lines {
            assert_eq!(self.run(line), Some(0), "{line}");
        }
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Every file with what is in it.
fn files(disk: &Disk) -> Vec<(String, String)> {
    let mut files: Vec<_> = fs::read_dir(&disk.directory)
        .unwrap()
        .map(|entry| entry.unwrap())
        .map(|entry| {
            let text = fs::read(entry.path()).unwrap_or_default();
            let text = String::from_utf8(text).unwrap().replace('\0', ".");
            (entry.file_name().into_string().unwrap(), text)
        })
        .collect();
    files.sort();
    files
}

/// Runs `lines`, cuts the power, and returns what is left.
fn left_of(name: &str, lines: &[&str], unsynced: Unsynced, seed: u64) -> Vec<(String, String)> {
    let mut disk = Disk::new(name);
    Script::start(&mut disk).all(lines);
    disk.cut(unsynced, &mut Seeded(seed));
    files(&disk)
}

fn owned(files: &[(&str, &str)]) -> Vec<(String, String)> {
    files.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

#[test]
fn what_was_not_synced_is_gone_after_a_power_failure() {
    let lines = ["append a 11", "sync a", "sync .", "append a 22", "append b 33", "sync b"];
    let left = left_of("unsynced", &lines, Unsynced::Lost, 0);
    // b was synced, its name was not.
    assert_eq!(left, owned(&[("a", "11")]));
    let left = left_of("synced", &[&lines[..], &["sync .", "sync a"]].concat(), Unsynced::Lost, 0);
    assert_eq!(left, owned(&[("a", "1122"), ("b", "33")]));
}

#[test]
fn overwritten_octets_lengths_and_names_come_back() {
    let lines = ["append a 1234", "append b 5678", "sync a", "sync b", "sync ."];
    let undone =
        [&lines[..], &["write a xx", "length b 2", "raw-rename b c", "raw-unlink a"]].concat();
    let before = owned(&[("a", "1234"), ("b", "5678")]);
    assert_eq!(left_of("undone", &undone, Unsynced::Lost, 0), before);
    let data = [&undone[..4 + 4], &["raw-sync a", "raw-sync c"]].concat();
    let data: Vec<_> = data.into_iter().filter(|line| *line != "raw-unlink a").collect();
    let expected = owned(&[("a", "xx34"), ("b", "56")]);
    assert_eq!(left_of("data", &data, Unsynced::Lost, 0), expected);
    let named = [&undone[..], &["sync c", "sync ."]].concat();
    assert_eq!(left_of("named", &named, Unsynced::Lost, 0), owned(&[("c", "56")]));
}

#[test]
fn a_name_that_replaces_another_does_so_when_its_directory_is_synced() {
    let lines = ["append current 1", "sync current", "sync .", "append new 2", "sync new"];
    let renamed = [&lines[..], &["raw-rename new current"]].concat();
    let left = left_of("replaced", &renamed, Unsynced::Lost, 0);
    assert_eq!(left, owned(&[("current", "1")]));
    let synced = [&renamed[..], &["sync ."]].concat();
    let left = left_of("replaced-synced", &synced, Unsynced::Lost, 0);
    assert_eq!(left, owned(&[("current", "2")]));
}

#[test]
fn a_torn_write_keeps_a_part_that_chance_draws() {
    let lines = ["append a 1", "sync a", "sync .", "append a 22", "append a 333"];
    let mut seen: Vec<_> = (0..32)
        .map(|seed| left_of("torn", &lines, Unsynced::Torn, seed).swap_remove(0).1)
        .collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen, ["1", "122", "122333"]);
}

#[test]
fn after_a_failed_sync_a_later_one_does_not_bring_the_octets_back() {
    let mut disk = Disk::new("failed-sync");
    let mut script = Script::start(&mut disk);
    script.all(&["append a 1", "sync a", "sync .", "append a 2"]);
    disk.fail(Call::Sync, Fault::Failing, 0, 1);
    assert_eq!(script.run("sync a"), Some(EIO));
    script.all(&["append a 3", "sync a"]);
    drop(script);
    assert_eq!(files(&disk), owned(&[("a", "123")]), "the process sees all of it");
    disk.cut(Unsynced::Lost, &mut Seeded(0));
    assert_eq!(files(&disk), owned(&[("a", "1.3")]));
}

#[test]
fn a_fault_hits_the_call_it_is_for_and_is_lifted_while_the_process_runs() {
    let mut disk = Disk::new("faults");
    let mut script = Script::start(&mut disk);
    disk.fail(Call::Write, Fault::Full, 1, 2);
    let answers = ["append a 1", "append a 2", "append a 3", "append a 4"].map(|it| script.run(it));
    assert_eq!(answers, [Some(0), Some(ENOSPC), Some(ENOSPC), Some(0)]);
    disk.fail(Call::Write, Fault::Short, 0, 1);
    assert_eq!(script.run("append a 5678"), Some(SHORTENED));
    disk.fail(Call::Write, Fault::Dropped, 0, 1);
    script.all(&["append a 9"]);
    disk.fail(Call::Name, Fault::Failing, 0, u64::MAX);
    let names = ["rename a b", "raw-rename a b", "raw-unlink a", "append c 1"];
    assert_eq!(names.map(|it| script.run(it)), [Some(EIO); 4]);
    disk.lift(Call::Name);
    script.all(&["raw-rename a b"]);
    assert_eq!(files(&disk), owned(&[("b", "1456")]));
    assert_eq!(disk.get(Word::Injected), 2 + 1 + 1 + 4);
}

#[test]
fn a_disk_fills_up_in_the_middle_of_a_write() {
    let mut disk = Disk::new("full");
    let mut script = Script::start(&mut disk);
    disk.set_space(Some(5));
    let answers =
        ["append a 123", "append a 456", "append a 7", "append b 1"].map(|it| script.run(it));
    assert_eq!(answers, [Some(0), Some(SHORTENED), Some(ENOSPC), Some(ENOSPC)]);
    disk.set_space(None);
    script.all(&["append a 7"]);
    assert_eq!(files(&disk), owned(&[("a", "123457")]));
}

#[test]
fn a_cut_hits_the_instant_between_a_sync_and_its_return() {
    // Create, write, sync of the file (2), sync of the directory (2).
    for (changes, expected) in [(4, &[][..]), (6, &[]), (7, &[("a", "1")])] {
        let mut disk = Disk::new("instant");
        let mut script = Script::start(&mut disk);
        disk.kill_after(changes);
        let answers = ["append a 1", "sync a", "sync .", "append a 2"].map(|it| script.run(it));
        assert_eq!(answers.iter().flatten().count() as u64, (changes - 1) / 2, "{answers:?}");
        assert!(matches!(disk.log().last().unwrap().event, Event::Cut { .. }));
        drop(script);
        disk.cut(Unsynced::Lost, &mut Seeded(0));
        assert_eq!(files(&disk), owned(expected), "{changes}");
    }
}
