//! What a batch of calls hands over to the committer, and what leaves.

use tokio::sync::oneshot;

use super::*;
use crate::{
    api::migration_identity::{Answer, OperatorKey, Refusal, Request, Subscriber},
    identity::Impi,
    node::{
        Options,
        park::{Answered, Parked},
        system::create_shared,
    },
    secret::Secret,
    store::{Commit, CommitSeq, Each, Engine, EngineError, MemoryEngine, ReplayError},
};

/// Counts, and fails from the batch on that it is told.
struct Counting {
    engine: MemoryEngine,
    batches: Arc<Mutex<Vec<usize>>>,
    batches_max: usize,
    waits: bool,
}

impl Engine for Counting {
    fn commit(&mut self, commits: &[Commit]) -> Result<(), EngineError> {
        let mut batches = self.batches.lock().unwrap();
        if batches.len() == self.batches_max {
            return Err(EngineError::Medium("no space".to_owned()));
        }
        batches.push(commits.len());
        self.engine.commit(commits)
    }

    fn replay(&mut self, each: &Each<'_>) -> Result<CommitSeq, ReplayError> {
        self.engine.replay(each)
    }

    fn approximate_len(&self) -> u64 {
        self.engine.approximate_len()
    }

    fn waits(&self) -> bool {
        self.waits
    }

    fn reader(&self) -> Arc<dyn Reader> {
        self.engine.reader()
    }
}

/// A system without threads and sockets, and the caller of its one worker.
struct World {
    shared: Arc<Shared>,
    caller: Caller,
    /// How many commits each batch had that the engine made durable.
    batches: Arc<Mutex<Vec<usize>>>,
}

impl World {
    fn new(waits: bool, batches_max: usize) -> Self {
        let batches = Arc::default();
        let engine = MemoryEngine::default();
        let engine = Counting { engine, batches: Arc::clone(&batches), batches_max, waits };
        let options = Options { engine: Some(Box::new(engine)), ..Options::default() };
        let config = Config::parse("[system]\ndomain = \"a.example\"\ninsecure = true\n").unwrap();
        let (worker, _) = Worker::new(0);
        let shared = create_shared(config, options, vec![Arc::clone(&worker)]).unwrap();
        let shared = Arc::new(shared);
        shared.load().unwrap();
        Self { caller: Caller::new(&shared, &worker), shared, batches }
    }

    /// Makes the commits durable that are queued, as the thread would.
    fn commit_queued(&self) {
        self.shared.committer.end();
        self.shared.run_committer();
    }

    /// Deals with what waited.
    fn take_back(&mut self) {
        let mut returned = Vec::new();
        self.shared.committer.take_returned(0, &mut returned);
        self.caller.batch(|batch| returned.drain(..).for_each(|waited| batch.take_back(waited)));
    }

    fn batches(&self) -> Vec<usize> {
        self.batches.lock().unwrap().clone()
    }
}

/// Where the answer to a management request comes.
type Asked = oneshot::Receiver<Answered<Answer>>;

/// Asks the SIP database within a batch.
fn ask(batch: &mut Batch<'_>, request: Request) -> Asked {
    let (waiting, asked) = oneshot::channel();
    let number = batch.caller().shared.park(Parked::Management(waiting)).unwrap();
    batch.call(Call::Management { to: ReplyTo::World(number), request });
    asked
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    Waits,
    Lost,
    Done,
    Shown,
    Refused,
}

fn outcome(asked: &mut Asked) -> Outcome {
    match asked.try_recv().map(|answered| answered.answer) {
        Ok(Answer::Done) => Outcome::Done,
        Ok(Answer::Subscriber { .. }) => Outcome::Shown,
        Ok(Answer::Refused(Refusal::Unavailable)) => Outcome::Refused,
        Ok(answer) => panic!("{answer:?}"),
        Err(oneshot::error::TryRecvError::Empty) => Outcome::Waits,
        Err(oneshot::error::TryRecvError::Closed) => Outcome::Lost,
    }
}

fn outcomes(asked: &mut [Asked]) -> Vec<Outcome> {
    asked.iter_mut().map(outcome).collect()
}

fn impi(number: usize) -> Impi {
    format!("user-{number}@a.example").parse().unwrap()
}

/// Changes one record.
fn put(number: usize) -> Request {
    Request::PutSubscriber(Subscriber {
        impi: impi(number),
        impus: vec![format!("sip:user-{number}@a.example").parse().unwrap()],
        k: Secret::new([1; 16]),
        operator: OperatorKey::Opc(Secret::new([2; 16])),
        amf: [0x80, 0],
        seq: 0,
    })
}

fn register(number: usize) -> String {
    format!(
        "REGISTER sip:a.example SIP/2.0\r\n\
         Via: SIP/2.0/UDP 127.0.0.1:5070;branch=z9hG4bK{number}\r\n\
         Max-Forwards: 70\r\n\
         From: <sip:user-{number}@a.example>;tag=1\r\n\
         To: <sip:user-{number}@a.example>\r\n\
         Call-ID: {number}\r\n\
         CSeq: 1 REGISTER\r\n\
         Contact: <sip:user-{number}@127.0.0.1:5070>\r\n\
         Authorization: Digest username=\"user-{number}@a.example\", realm=\"a.example\", \
         uri=\"sip:a.example\", nonce=\"\", response=\"\"\r\n\
         Expires: 600\r\n\
         Content-Length: 0\r\n\r\n"
    )
}

#[test]
fn the_commits_of_a_batch_are_handed_over_together_and_its_answers_leave_after_them() {
    let mut world = World::new(false, usize::MAX);
    let mut asked = world.caller.batch(|batch| {
        let mut asked: Vec<Asked> = (0..3).map(|number| ask(batch, put(number))).collect();
        assert_eq!(outcomes(&mut asked), [Outcome::Waits; 3]);
        asked
    });
    assert_eq!(world.batches(), [3]);
    assert_eq!(outcomes(&mut asked), [Outcome::Done; 3]);
}

#[test]
fn a_long_batch_is_handed_over_in_parts() {
    let mut world = World::new(false, usize::MAX);
    let puts = 0..CALLS_AT_ONCE + 3;
    let mut asked: Vec<Asked> =
        world.caller.batch(|batch| puts.map(|number| ask(batch, put(number))).collect());
    assert_eq!(world.batches(), [CALLS_AT_ONCE, 3]);
    assert_eq!(outcomes(&mut asked), [Outcome::Done; CALLS_AT_ONCE + 3]);
}

#[test]
fn a_commit_that_fails_loses_what_relies_on_it_and_nothing_else_of_the_batch() {
    let mut world = World::new(false, 1);
    let mut asked: Vec<Asked> = world.caller.batch(|batch| {
        let puts = 0..CALLS_AT_ONCE + 1;
        let mut asked: Vec<Asked> = puts.map(|number| ask(batch, put(number))).collect();
        asked.push(ask(batch, Request::GetSubscriber(impi(0))));
        asked.push(ask(batch, Request::GetSubscriber(impi(CALLS_AT_ONCE))));
        asked
    });
    let last = asked.split_off(CALLS_AT_ONCE);
    assert_eq!(outcomes(&mut asked), [Outcome::Done; CALLS_AT_ONCE]);
    let [mut changed, mut unchanged, mut read] = <[Asked; 3]>::try_from(last).unwrap();
    assert_eq!(outcome(&mut changed), Outcome::Lost);
    assert_eq!(outcome(&mut unchanged), Outcome::Shown, "it is durable");
    assert_eq!(outcome(&mut read), Outcome::Lost, "it tells of what is not durable");
    assert_eq!(world.batches(), [CALLS_AT_ONCE]);
    let mut refused = world.caller.batch(|batch| ask(batch, put(0)));
    assert_eq!(outcome(&mut refused), Outcome::Refused);
}

#[test]
fn with_a_thread_the_commits_of_a_batch_are_queued_and_made_durable_together() {
    let mut world = World::new(true, usize::MAX);
    let mut asked: Vec<Asked> =
        world.caller.batch(|batch| (0..3).map(|number| ask(batch, put(number))).collect());
    assert_eq!(
        (world.shared.committer.queued(), outcomes(&mut asked)),
        (3, vec![Outcome::Waits; 3])
    );
    world.commit_queued();
    assert_eq!(world.batches(), [3]);
    assert_eq!(outcomes(&mut asked), [Outcome::Waits; 3], "whoever sent it lets it leave");
    world.take_back();
    assert_eq!(outcomes(&mut asked), [Outcome::Done; 3]);
}

#[test]
fn roles_of_one_process_ask_each_other_in_batches_too() {
    let mut world = World::new(false, usize::MAX);
    world.caller.batch(|batch| (0..3).for_each(|number| drop(ask(batch, put(number)))));
    let local = "127.0.0.1:5060".parse().unwrap();
    let remote = "127.0.0.1:5070".parse().unwrap();
    let flow = Flow { transport: Transport::Udp, local, remote, connection: 0 };
    world.caller.batch(|batch| {
        for number in 0..3 {
            batch.call(Call::Sip { flow, octets: register(number).as_bytes() });
        }
    });
    assert_eq!(world.batches(), [3, 3], "a range of SQNs for each, committed together");
    let metrics = world.shared.metrics_text();
    let challenges = metrics.lines().find(|line| line.contains("code=\"401\"")).unwrap();
    assert!(challenges.ends_with(" 3"), "{challenges}");
}
