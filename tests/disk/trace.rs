//! In what order things happened: no answer that says that something changed leaves before the sync that
//! makes the change durable has returned.

use std::{
    collections::{HashMap, HashSet},
    fmt::Write as _,
    rc::Rc,
};

use crate::{
    common::Seeded,
    log::{Event, Outcome, Record},
    message::{Message, messages},
    number,
    shim::Word,
    user::{Surroundings, User},
    wire::SipLink,
    world::{A, B, World},
};

const USERS: u64 = 4;
const ACTS: u64 = 25;

/// How much longer a sync takes than the disk needs, microseconds.
const SYNC_DELAY: u64 = 5_000;

/// What an answer is about.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum About {
    /// A REGISTER with a contact.
    Registration,
    /// A MAR; with ranges of one SQN each has a commit.
    Vector,
    /// A change by the management interface.
    Management,
}

/// An answer, with what came before it: places in the records.
#[derive(Clone, Copy, Debug)]
struct Answer {
    about: About,
    received: usize,
    /// The write, the begin and the end of the sync.
    synced: [usize; 3],
    sent: usize,
}

#[test]
fn no_answer_leaves_before_the_sync_of_its_change_returned() {
    let seed = number("MIGCORE_SEED").unwrap_or(1);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    let logs = local.block_on(&runtime, traced_run("trace", seed, None));
    let mut counts: HashMap<About, u64> = HashMap::new();
    for (log, system) in logs.iter().zip(["A", "B"]) {
        let answers = check(log).unwrap_or_else(|wrong| panic!("{system}: {wrong}"));
        for about in [About::Registration, About::Vector, About::Management] {
            let mut of_kind = answers.iter().filter(|answer| answer.about == about);
            if let Some(answer) = of_kind.next_back() {
                println!("{system}, {about:?}:\n{}", excerpt(log, answer));
            }
        }
        for answer in &answers {
            *counts.entry(answer.about).or_default() += 1;
            assert_noticed(log, answer);
        }
    }
    println!("MIGCORE_SEED={seed}: answers that left after their sync: {counts:?}");
    assert!(counts[&About::Registration] > USERS * ACTS / 2, "{counts:?}");
    assert!(counts[&About::Vector] > counts[&About::Registration], "{counts:?}");
    assert!(counts[&About::Management] >= 4 * USERS, "{counts:?}");
}

/// The test above would notice: these systems answer first.
#[cfg(feature = "planted-bugs")]
#[test]
fn replies_before_their_commit_are_noticed() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let local = tokio::task::LocalSet::new();
    let run = traced_run("planted-trace", 1, Some("reply-before-commit"));
    let logs = local.block_on(&runtime, run);
    for (log, system) in logs.iter().zip(["A", "B"]) {
        println!("{system}: {}", check(log).expect_err("answers that left too early"));
    }
}

/// Users act one after another; returns what A and B did meanwhile.
async fn traced_run(name: &str, seed: u64, planted: Option<&'static str>) -> [Vec<Record>; 2] {
    let more = "\n[sip_database]\nsqn_range = 1\n";
    let mut world = World::start_with(name, seed, more, planted).await;
    for disk in &world.disks {
        disk.set(Word::Trace, 1);
        // An answer that does not wait is well ahead of its sync then.
        disk.set(Word::SyncDelay, SYNC_DELAY);
    }
    let addresses = world.addresses();
    let link = SipLink::open(addresses.sip, 1 << 48).await;
    let mut at = Surroundings {
        link: Rc::clone(&link),
        http: world.http.clone(),
        history: world.history.clone(),
        management: addresses.management,
        csc4: addresses.csc4,
        situation: world.watch(),
    };
    let mut seeded = Seeded(seed);
    for number in 0..USERS {
        let mut user = User::new(number, link.local, &mut seeded);
        user.provision(&at).await;
        for _ in 0..ACTS {
            user.act(&mut at, &mut seeded).await;
        }
    }
    world.assert_nothing_lost();
    let logs = [A, B].map(|which| world.disks[which].log());
    for system in &mut world.systems {
        system.end();
    }
    logs
}

/// Finds the answers that say that something changed, and for each the write and the sync between the
/// arrival of the request and its departure.
///
/// # Errors
///
/// The first answer without.
fn check(log: &[Record]) -> Result<Vec<Answer>, String> {
    let mut answers = Vec::new();
    // What is not answered yet: where it was received.
    let mut sip: HashMap<String, usize> = HashMap::new();
    let mut http: HashMap<u64, (usize, bool)> = HashMap::new();
    let mut diameter: HashMap<(u64, u32), usize> = HashMap::new();
    let mut pairs = HashSet::new();
    for (place, record) in log.iter().enumerate() {
        let (Event::Received { socket, .. } | Event::Sent { socket, .. }) = record.event else {
            continue;
        };
        let is_sent = matches!(record.event, Event::Sent { .. });
        for message in messages(record) {
            let found = match message {
                Message::SipRequest { branch, has_contact: true, .. } if !is_sent => {
                    // A retransmission says nothing about when it was first asked.
                    sip.entry(branch).or_insert(place);
                    None
                }
                Message::SipResponse { status: 200, branch, .. } if is_sent => {
                    sip.remove(&branch).map(|received| (About::Registration, received))
                }
                Message::HttpRequest { method, path } if !is_sent => {
                    let changes = method != "GET" && path.starts_with("/v1/");
                    http.insert(socket, (place, changes));
                    None
                }
                Message::HttpResponse { status: 200..=299, body, .. } if is_sent => {
                    // Who asks again is told the pair that it has, without a change.
                    let told = told_pair(&body);
                    let is_repeat = told.as_ref().is_some_and(|pair| pairs.contains(pair));
                    pairs.extend(told);
                    http.remove(&socket)
                        .filter(|(_, changes)| *changes && !is_repeat)
                        .map(|(received, _)| (About::Management, received))
                }
                ref request @ Message::DiameterRequest { hop, .. } if !is_sent => {
                    if request.is_vector_request() {
                        diameter.insert((socket, hop), place);
                    }
                    None
                }
                Message::DiameterAnswer { hop, result: Some(2001), .. } if is_sent => {
                    diameter.remove(&(socket, hop)).map(|received| (About::Vector, received))
                }
                _ => None,
            };
            if let Some((about, received)) = found {
                let synced = synced(log, received, place).ok_or_else(|| {
                    let what = "left before a sync that its change needs returned";
                    format!("{about:?}: the answer {what}\n{}", lines(log, received, place))
                })?;
                answers.push(Answer { about, received, synced, sent: place });
            }
        }
    }
    Ok(answers)
}

/// The pair that an answer of the management interface tells, and until when it is lent.
fn told_pair(body: &str) -> Option<String> {
    let body: serde_json::Value = serde_json::from_str(body).ok()?;
    Some(format!("{} until {}", body["impi"].as_str()?, body["reserved_until"]))
}

/// A write to a file, and a sync of the same file that began after it and ended well, all after
/// `received` and before `sent`.
fn synced(log: &[Record], received: usize, sent: usize) -> Option<[usize; 3]> {
    let (mut written, mut begun) = (HashMap::new(), HashMap::new());
    for (place, record) in log.iter().enumerate().take(sent).skip(received) {
        match record.event {
            Event::Write { inode, .. } => {
                written.insert(inode, place);
            }
            Event::SyncBegin { inode, number } => {
                if let Some(write) = written.get(&inode) {
                    begun.insert(number, (*write, place));
                }
            }
            Event::SyncEnd { began, outcome: Outcome::Done, .. } => {
                if let Some((write, begin)) = begun.get(&began) {
                    return Some([*write, *begin, place]);
                }
            }
            _ => {}
        }
    }
    None
}

/// The check would notice if the sync of `answer` had returned after it left, or had not begun after the
/// request arrived.
fn assert_noticed(log: &[Record], answer: &Answer) {
    let (from, to) = (answer.received, answer.sent);
    let mut late = log[from..=to].to_vec();
    let ends: Vec<_> = (0..late.len())
        .filter(|place| matches!(late[*place].event, Event::SyncEnd { .. }))
        .collect();
    for place in ends.into_iter().rev() {
        let end = late.remove(place);
        late.push(end);
    }
    assert!(check(&late).is_err(), "{}", excerpt(log, answer));
    let [_, begin, _] = answer.synced;
    let mut early = log[from..=to].to_vec();
    early[..=begin - from].rotate_right(1);
    let others =
        early.iter().filter(|record| matches!(record.event, Event::SyncBegin { .. })).count();
    assert!(others > 1 || check(&early).is_err(), "{}", excerpt(log, answer));
}

fn excerpt(log: &[Record], answer: &Answer) -> String {
    lines(log, answer.received, answer.sent)
}

/// The records from one place to another, for people.
fn lines(log: &[Record], from: usize, to: usize) -> String {
    let mut text = String::new();
    for record in &log[from..=to] {
        let what = match &record.event {
            Event::Received { data, .. } => format!("received {}", first_line(data, record)),
            Event::Sent { data, .. } => format!("sent     {}", first_line(data, record)),
            Event::Write { inode, offset, data } => {
                format!("write    file {inode} at {offset}, {} octets", data.len())
            }
            Event::SyncBegin { inode, .. } => format!("sync     file {inode} begins"),
            Event::SyncEnd { inode, outcome, .. } => {
                format!("sync     file {inode} ends: {outcome:?}")
            }
            other => format!("{other:?}"),
        };
        let microseconds = (record.nanoseconds - log[from].nanoseconds) / 1_000;
        let (number, thread) = (record.number, record.thread);
        writeln!(text, "  {number:>6} {microseconds:>7} us  thread {thread}  {what}").unwrap();
    }
    text
}

fn first_line(data: &[u8], record: &Record) -> String {
    let message = messages(record).into_iter().next();
    match message {
        Some(Message::DiameterRequest { command: 303, .. }) => "Diameter MAR".to_owned(),
        Some(Message::DiameterAnswer { command: 303, result, .. }) => {
            format!("Diameter MAA, Result-Code {result:?}")
        }
        Some(
            Message::DiameterRequest { command, .. } | Message::DiameterAnswer { command, .. },
        ) => {
            format!("Diameter command {command}")
        }
        _ => String::from_utf8_lossy(data).lines().next().unwrap_or_default().to_owned(),
    }
}
