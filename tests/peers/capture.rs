//! tshark: what was on the wire, and what it thinks of it.
#![allow(unreachable_pub, reason = "a part of one test binary")]

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use crate::tshark::Tshark;

/// A capture under way on loopback, of the demo's twenty ports.
pub struct Capture {
    file: PathBuf,
    base_port: u16,
    tshark: Tshark,
}

/// A finished capture.
pub struct Frames {
    file: PathBuf,
    base_port: u16,
}

/// One SIP, Diameter or HTTP message.
#[derive(Clone, Debug)]
pub struct Row {
    pub from: u64,
    pub to: u64,
    pub octets: u64,
    /// REGISTER, its answers, MAR, MAA, and all on CSC-4 and CSC-17; not capabilities exchange and the like.
    pub procedure: bool,
}

impl Capture {
    /// Starts a capture and waits until it runs.
    pub fn start(file: &Path, base_port: u16) -> Self {
        let filter = format!("portrange {base_port}-{}", base_port + 19);
        let tshark = Tshark::start(file, &filter);
        Self { file: file.to_owned(), base_port, tshark }
    }

    /// Ends the capture once the kernel has handed everything over.
    pub fn stop(self) -> Frames {
        self.tshark.stop();
        Frames { file: self.file, base_port: self.base_port }
    }
}

impl Frames {
    /// How many frames match a display filter.
    pub fn count(&self, filter: &str) -> usize {
        self.fields(filter, &["frame.number"]).len()
    }

    /// How many SIP messages there are: a TCP segment may hold several.
    pub fn sip_messages(&self) -> usize {
        let rows = self.fields("sip", &["sip.Method", "sip.Status-Code"]);
        let values = rows.iter().flatten().flat_map(|values| values.split(','));
        values.filter(|value| !value.is_empty()).count()
    }

    /// What is malformed or worth a warning or an error to tshark, HTTP left out.
    pub fn faults(&self) -> Vec<String> {
        let filter = "(sip || diameter) && (_ws.malformed || _ws.expert.severity >= \"Warning\")";
        let rows = self.fields(filter, &["frame.number", "_ws.expert.message", "_ws.col.Info"]);
        let mut faults: Vec<String> = rows.into_iter().map(|row| row.join(" | ")).collect();
        // what should have been SIP or Diameter and is not
        let (sip_a, sip_b) = (self.base_port, self.base_port + 10);
        let missed =
            format!("udp.length > 12 && (udp.port == {sip_a} || udp.port == {sip_b}) && !sip");
        faults.extend(
            self.fields(&missed, &["frame.number"])
                .into_iter()
                .map(|row| format!("no SIP: {row:?}")),
        );
        faults
    }

    /// Every SIP, Diameter, CSC-4 and CSC-17 message with its ports and length; of HTTP, of its content.
    pub fn messages(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        let sip = self
            .fields("sip && udp", &["udp.srcport", "udp.dstport", "udp.length", "sip.CSeq.method"]);
        for row in sip {
            let number = |at: usize| row[at].parse::<u64>().unwrap();
            rows.push(Row {
                from: number(0),
                to: number(1),
                octets: number(2) - 8,
                procedure: row[3] == "REGISTER",
            });
        }
        for row in self.fields(
            "diameter",
            &["tcp.srcport", "tcp.dstport", "diameter.length", "diameter.cmd.code"],
        ) {
            let (lengths, codes) = (row[2].split(','), row[3].split(','));
            for (length, code) in lengths.zip(codes) {
                rows.push(Row {
                    from: row[0].parse().unwrap(),
                    to: row[1].parse().unwrap(),
                    octets: length.parse().unwrap(),
                    procedure: code == "303",
                });
            }
        }
        let csc = [4, 5, 14, 15].map(|offset| (self.base_port + offset).to_string()).join(",");
        let filter = format!("http && tcp.port in {{{csc}}}");
        for row in self.fields(&filter, &["tcp.srcport", "tcp.dstport", "http.content_length"]) {
            let [from, to, octets] = [0, 1, 2].map(|at: usize| row[at].parse().unwrap());
            rows.push(Row { from, to, octets, procedure: true });
        }
        rows
    }

    /// All octets that went to or from a TCP port, both directions, frame after frame.
    pub fn octets_of_port(&self, port: u16) -> Vec<u8> {
        let rows = self.fields(&format!("tcp.port == {port} && tcp.len > 0"), &["tcp.payload"]);
        rows.iter().flat_map(|row| unhex(&row[0])).collect()
    }

    /// All octets that went over TCP, whatever they are.
    pub fn all_octets(&self) -> Vec<u8> {
        let rows = self.fields("tcp.len > 0", &["tcp.payload"]);
        rows.iter().flat_map(|row| unhex(&row[0])).collect()
    }

    /// How many frames match a display filter once TLS is opened by the keys in a file.
    pub fn count_opened(&self, keys: &Path, filter: &str) -> usize {
        let mut command = Command::new("tshark");
        command.arg("-r").arg(&self.file).args([
            "-Y",
            filter,
            "-T",
            "fields",
            "-e",
            "frame.number",
        ]);
        command.args(["-o", &format!("tls.keylog_file:{}", keys.display())]);
        for first in [self.base_port, self.base_port + 10] {
            for (offset, within) in [(0, "sip"), (1, "diameter"), (4, "http"), (5, "http")] {
                command.args(["-d", &format!("tcp.port=={},tls", first + offset)]);
                command.args(["-d", &format!("tls.port=={},{within}", first + offset)]);
            }
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).lines().count()
    }

    fn fields(&self, filter: &str, names: &[&str]) -> Vec<Vec<String>> {
        let at = |offset: u16| self.base_port + offset;
        let mut command = Command::new("tshark");
        command.arg("-r").arg(&self.file).args(["-Y", filter, "-T", "fields"]);
        for offset in [0, 10] {
            command.args(["-d", &format!("udp.port=={},sip", at(offset))]);
            command.args(["-d", &format!("tcp.port=={},sip", at(offset))]);
            command.args(["-d", &format!("tcp.port=={},diameter", at(offset + 1))]);
            command.args(["-d", &format!("tcp.port=={},http", at(offset + 4))]);
            command.args(["-d", &format!("tcp.port=={},http", at(offset + 5))]);
        }
        for name in names {
            command.args(["-e", name]);
        }
        let output = command.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        text.lines().map(|line| line.split('\t').map(str::to_owned).collect()).collect()
    }
}

/// How an identity could be spelled on the wire: plain, percent-encoded, and in base64 at each of the
/// three alignments (the inner characters, which do not depend on what stands beside it).
pub fn spellings(text: &str) -> Vec<Vec<u8>> {
    use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
    let percent = text.bytes().fold(String::new(), |text, octet| text + &format!("%{octet:02x}"));
    let mut all =
        vec![text.as_bytes().to_vec(), percent.to_uppercase().into_bytes(), percent.into_bytes()];
    for before in 0..3 {
        let shifted = [vec![b'?'; before], text.as_bytes().to_vec()].concat();
        let encoded = STANDARD_NO_PAD.encode(shifted);
        all.push(encoded.as_bytes()[4..encoded.len() - 4].to_vec());
    }
    all
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    digits
        .chunks_exact(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap())
        .collect()
}
