//! What the generator itself spent and lost: the evidence for its verdict on itself.

use std::{fs, net::SocketAddr, time::Duration};

use rustix::{
    thread::ClockId,
    time::{Timespec, clock_gettime},
};

/// What one thread spent in one phase.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Effort {
    /// How long the phase took.
    pub(super) wall: Duration,
    /// How long the thread computed.
    pub(super) cpu: Duration,
    /// How long it could have computed, but others had the core; zero where the kernel does not tell.
    pub(super) waited: Duration,
    /// Datagrams that the kernel dropped since its receive buffer was full.
    pub(super) dropped: u64,
}

/// Measures the calling thread.
pub(super) struct Meter {
    start: std::time::Instant,
    cpu: Duration,
    waited: Duration,
    ports: Vec<u16>,
    dropped: u64,
}

impl Meter {
    /// Starts; `locals` are the thread's sockets.
    pub(super) fn start(locals: &[SocketAddr]) -> Self {
        let ports: Vec<u16> = locals.iter().map(SocketAddr::port).collect();
        let dropped = dropped_at(&ports);
        let start = std::time::Instant::now();
        Self { start, cpu: cpu_time(), waited: waited(), ports, dropped }
    }

    pub(super) fn stop(self) -> Effort {
        Effort {
            wall: self.start.elapsed(),
            cpu: cpu_time().saturating_sub(self.cpu),
            waited: waited().saturating_sub(self.waited),
            dropped: dropped_at(&self.ports).saturating_sub(self.dropped),
        }
    }
}

fn cpu_time() -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::ThreadCPUTime);
    let part = |value: i64| u64::try_from(value).unwrap_or_default();
    Duration::from_secs(part(tv_sec)) + Duration::from_nanos(part(tv_nsec))
}

/// Resident memory of a process, `self` or its number, octets; 0 where the kernel does not tell.
pub(super) fn resident_octets(process: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes = resident.and_then(|text| text.split_ascii_whitespace().next()?.parse().ok());
    kilobytes.unwrap_or(0_u64) * 1_024
}

/// How long the thread was ready to run, but did not.
fn waited() -> Duration {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_ascii_whitespace().nth(1).and_then(|nanos| nanos.parse().ok());
    Duration::from_nanos(nanos.unwrap_or_default())
}

/// Datagrams that the kernel dropped at the UDP sockets bound to `ports` on this host, since they exist.
pub(super) fn dropped_at(ports: &[u16]) -> u64 {
    ["/proc/self/net/udp", "/proc/self/net/udp6"]
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .map(|text| text.lines().skip(1).filter_map(|line| drops_in(line, ports)).sum::<u64>())
        .sum()
}

/// The drops in a line of that table, if it is about one of `ports`.
fn drops_in(line: &str, ports: &[u16]) -> Option<u64> {
    let mut fields = line.split_ascii_whitespace();
    let (_, port) = fields.nth(1)?.rsplit_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    ports.contains(&port).then_some(())?;
    fields.next_back()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;

    #[test]
    fn drops_are_those_of_the_sockets_named() {
        let line = "  12: 0100007F:13C4 00000000:0000 07 00000000:00000000 00:00000000 00000000     0        0 5 2 0 17";
        assert_eq!(drops_in(line, &[5060]), Some(17));
        assert_eq!(drops_in(line, &[5061]), None);
    }

    #[test]
    fn what_a_full_socket_drops_is_seen() {
        let full = UdpSocket::bind("127.0.0.1:0").unwrap();
        let at = full.local_addr().unwrap();
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        let meter = Meter::start(&[at]);
        for _ in 0..20_000 {
            sender.send_to(&[0; 1_000], at).unwrap();
        }
        let effort = meter.stop();
        assert!(effort.dropped > 0 && effort.cpu > Duration::ZERO, "{effort:?}");
    }
}
