//! The disk is full or fails in the middle of a load: what needs it is refused as our own trouble, what
//! was acknowledged stays, and when the disk works again the system does, without a restart.

use std::collections::{BTreeMap, HashSet};

use crate::{
    image::Unsynced,
    log::{Event, Record},
    message::{Message, messages},
    number,
    shim::{Call, Disk, Fault, Word},
    world::{A, B, World},
};

const USERS: u64 = 200;

/// Requests that are refused while the disk fails, at least.
const REFUSED: u64 = 50;

/// Diameter results: done, and cannot now (RFC 6733 clauses 7.1.2 and 7.1.3).
const SUCCESS: u32 = 2001;
const TOO_BUSY: u32 = 3004;

/// What happens to a disk.
#[derive(Clone, Copy, Debug)]
enum Trouble {
    /// It fills up in the middle of a write.
    Full,
    /// Writes fail.
    Writes,
    /// Syncs fail.
    Syncs,
}

impl Trouble {
    fn begin(self, disk: &Disk) {
        match self {
            Self::Full => disk.set_space(Some(1_000)),
            Self::Writes => disk.fail(Call::Write, Fault::Failing, 3, u64::MAX),
            Self::Syncs => disk.fail(Call::Sync, Fault::Failing, 3, u64::MAX),
        }
    }

    fn end(self, disk: &Disk) {
        match self {
            Self::Full => disk.set_space(None),
            Self::Writes => disk.lift(Call::Write),
            Self::Syncs => disk.lift(Call::Sync),
        }
    }
}

#[test]
fn a_disk_that_is_full_or_fails_is_our_own_trouble_and_passes() {
    let seed = number("MIGCORE_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::start("refusal", seed).await;
        world.load(USERS).await;
        for trouble in [Trouble::Full, Trouble::Writes, Trouble::Syncs] {
            for which in [B, A] {
                suffer(&mut world, which, trouble).await;
            }
        }
        world.rest().await;
        world.assert_nothing_lost();
    });
}

/// One disk fails for a while; then its power does, so that what the failure left is what counts.
async fn suffer(world: &mut World, which: usize, trouble: Trouble) {
    let system = ["A", "B"][which];
    let told = world.systems[which].log_tail().len();
    for disk in &world.disks {
        disk.set(Word::Trace, 1);
    }
    let begun = [A, B].map(|which| world.disks[which].log().len());
    trouble.begin(&world.disks[which]);
    until_ready(world, which, false).await;
    assert_eq!(world.metric(which, "migcore_storage_available").await, Some(0.0), "{system}");
    let refused = world.history.unavailable.get() + REFUSED;
    let history = world.history.clone();
    world.until("requests are refused", || history.unavailable.get() >= refused).await;
    trouble.end(&world.disks[which]);
    until_ready(world, which, true).await;
    assert_eq!(world.metric(which, "migcore_storage_available").await, Some(1.0), "{system}");
    world.until_registered(USERS / 2).await;
    assert!(world.history.violations().is_empty(), "{:?}", world.history.violations());
    for disk in &world.disks {
        disk.set(Word::Trace, 0);
    }
    let answers = [A, B].map(|which| {
        let log = world.disks[which].log();
        Answers::of(&log[begun[which].min(log.len())..])
    });
    println!("{trouble:?} on {system}:\n  A {}\n  B {}", answers[A], answers[B]);
    answers.iter().for_each(Answers::assert_ours);
    if which == A {
        assert!(answers[A].diameter.contains_key(&Some(TOO_BUSY)), "{}", answers[A]);
    } else {
        assert!(answers[B].sip.contains_key(&503), "{}", answers[B]);
    }
    let log = world.systems[which].log_tail();
    assert!(
        log.contains("storage"),
        "the log of {system} says it (of {told} octets before)\n{log}"
    );

    world.set_up(false);
    world.cut(which, Unsynced::Lost);
    world.spawn(which);
    world.until_ready().await;
    world.set_up(true);
    world.until_registered(USERS / 2).await;
}

async fn until_ready(world: &mut World, which: usize, wanted: bool) {
    let http = world.http.clone();
    for _ in 0..12_000 {
        world.systems[which].assert_running();
        if world.systems[which].is_ready(&http, false).await == wanted {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("readiness stays {}\n{}", !wanted, world.systems[which].log_tail());
}

/// How often which answer left.
#[derive(Debug, Default)]
struct Answers {
    sip: BTreeMap<u16, u64>,
    http: BTreeMap<u16, u64>,
    diameter: BTreeMap<Option<u32>, u64>,
    without_retry_after: u64,
}

impl Answers {
    fn of(log: &[Record]) -> Self {
        let mut answers = Self::default();
        // Connections on which readiness was asked last: that answer is for a supervisor, and counted nowhere.
        let mut about_health = HashSet::new();
        for record in log {
            let (Event::Received { socket, .. } | Event::Sent { socket, .. }) = record.event else {
                continue;
            };
            let is_sent = matches!(record.event, Event::Sent { .. });
            for message in messages(record) {
                match message {
                    Message::HttpRequest { path, .. } if path.starts_with("/health") => {
                        about_health.insert(socket);
                    }
                    Message::HttpRequest { .. } => {
                        about_health.remove(&socket);
                    }
                    message if is_sent && !about_health.contains(&socket) => answers.count(message),
                    _ => {}
                }
            }
        }
        answers
    }

    fn count(&mut self, message: Message) {
        match message {
            Message::SipResponse { status, has_retry_after, .. } => {
                *self.sip.entry(status).or_default() += 1;
                self.without_retry_after += u64::from(status == 503 && !has_retry_after);
            }
            Message::HttpResponse { status, has_retry_after, .. } => {
                *self.http.entry(status).or_default() += 1;
                self.without_retry_after += u64::from(status == 503 && !has_retry_after);
            }
            Message::DiameterAnswer { command: 303, result, .. } => {
                *self.diameter.entry(result).or_default() += 1;
            }
            _ => {}
        }
    }

    /// Nobody was told that it did something wrong, and everybody when to try again.
    fn assert_ours(&self) {
        // 401 is the challenge. A REGISTER with a pair that was revoked gets 403, a question about one 404: the
        // clients know whose pairs are, and take any other refusal down. 504: the other system is silent.
        let sip_is_ours =
            self.sip.keys().all(|status| matches!(status, 100 | 200 | 401 | 403 | 503 | 504));
        let http_is_ours = self
            .http
            .keys()
            .all(|status| matches!(status, 200 | 201 | 204 | 404 | 502 | 503 | 504));
        let diameter_is_ours =
            self.diameter.keys().all(|result| matches!(result, Some(SUCCESS | TOO_BUSY)));
        assert!(sip_is_ours && http_is_ours && diameter_is_ours, "{self}");
        assert_eq!(self.without_retry_after, 0, "a 503 without Retry-After");
    }
}

impl std::fmt::Display for Answers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "SIP {:?}, HTTP {:?}, MAA {:?}", self.sip, self.http, self.diameter)
    }
}
