//! tshark: writes down what passes on loopback.
#![allow(unreachable_pub, clippy::unwrap_used, reason = "a part of several test binaries")]

use std::{
    fs,
    io::{self, BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

/// A capture under way.
pub struct Tshark {
    file: PathBuf,
    process: Child,
}

impl Tshark {
    /// Starts a capture of what the capture filter takes, and waits until it runs.
    pub fn start(file: &Path, filter: &str) -> Self {
        let mut process = Command::new("tshark")
            .args(["-i", "lo", "-B", "64", "-f", filter, "-w"])
            .arg(file)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stderr.take().unwrap());
        let mut all = String::new();
        while !all.contains("Capture started") && !all.contains("File:") {
            assert!(said.read_line(&mut all).unwrap() > 0, "tshark does not capture: {all}");
        }
        thread::spawn(move || io::copy(&mut said, &mut io::sink()));
        thread::sleep(Duration::from_millis(300)); // the file exists a little before the filter is set
        Self { file: file.to_owned(), process }
    }

    /// Ends the capture once the kernel has handed everything over.
    pub fn stop(mut self) {
        let written = || fs::metadata(&self.file).map_or(0, |file| file.len());
        for _ in 0..15 {
            let before = written();
            thread::sleep(Duration::from_secs(2));
            if written() == before {
                break;
            }
        }
        Command::new("kill").args(["-INT", &self.process.id().to_string()]).status().unwrap();
        self.process.wait().unwrap();
    }
}
