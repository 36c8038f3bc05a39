//! A vector request and its answer over a connection cost a handful of allocations.
#![allow(clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, reason = "test code")]

mod counting;
mod diameter_support;

use counting::allocations;
use diameter_support::{CORE, DATABASE, START, Seeded, Vectors, config, message, to_database};
use migcore::{
    aka::AuthVector,
    diameter::{
        cx::{Answer, MultimediaAuthAnswer, Request, ResultCode},
        cx_codec::{Destination, decode_request},
        peer::{Connection, Event, PeerOutput},
    },
    secret::SecretBytes,
};

/// Both ends of an open connection.
struct Pair {
    core: Connection,
    database: Connection,
    to_core: PeerOutput,
    to_database: PeerOutput,
}

impl Pair {
    fn open() -> Self {
        let mut entropy = Seeded(1);
        let (mut to_core, mut to_database) = (PeerOutput::default(), PeerOutput::default());
        let core_config = config(CORE, &[DATABASE]);
        let mut core = Connection::initiate(core_config, START, &mut entropy, &mut to_database);
        let mut database = Connection::accept(config(DATABASE, &[CORE]), START, &mut entropy);
        database.handle_octets(START, &to_database.octets, &mut to_core);
        core.handle_octets(START, &to_core.octets, &mut to_database);
        Self { core, database, to_core, to_database }
    }

    /// Empties what leaves, but not its capacity.
    fn clear(&mut self) {
        for out in [&mut self.to_core, &mut self.to_database] {
            out.octets.clear();
            out.events.clear();
        }
    }

    /// Asks, answers and takes the answer; returns the allocations of each.
    fn exchange(
        &mut self,
        destination: &Destination,
        request: Request,
        answer: &Answer,
    ) -> [u64; 4] {
        self.clear();
        let Self { core, database, to_core, to_database } = self;
        let (sent, ()) = allocations(|| {
            core.send_request(START, destination, request, 1, to_database).unwrap();
        });
        let (served, ()) =
            allocations(|| database.handle_octets(START, &to_database.octets, to_core));
        let Some(Event::Request { context, .. }) = to_core.events.pop() else {
            panic!("a request")
        };
        let (answered, ()) =
            allocations(|| database.send_answer(context, answer, to_core).unwrap());
        let (taken, ()) = allocations(|| core.handle_octets(START, &to_core.octets, to_database));
        assert!(matches!(to_database.events[..], [Event::Answer { token: 1, .. }]));
        [sent, served, answered, taken]
    }
}

#[test]
fn a_vector_request_and_its_answer_cost_a_handful_of_allocations() {
    let mar = Vectors::load().octets("mar-aka");
    let request = decode_request(&message(&mar)).unwrap();
    let Request::MultimediaAuth(asked) = &request else { panic!("an MAR") };
    let answer = Answer::MultimediaAuth(MultimediaAuthAnswer {
        result: ResultCode::SUCCESS,
        identity: asked.identity.clone(),
        scheme: asked.scheme.clone(),
        vector: Some(AuthVector {
            rand: [1; 16],
            autn: [2; 16],
            xres: SecretBytes::new(&[3; 8]),
            ck: SecretBytes::new(&[4; 16]),
            ik: SecretBytes::new(&[5; 16]),
        }),
        digest: None,
    });
    let (mut pair, destination) = (Pair::open(), to_database());
    // The first ones grow the buffers that the others find grown.
    for _ in 0..100 {
        pair.exchange(&destination, request.clone(), &answer);
    }
    let [sent, served, answered, taken] = pair.exchange(&destination, request, &answer);
    assert_eq!((sent, answered), (0, 0), "octets go to buffers that are there");
    // The two identities, scheme and Server-Name; and what the answer echoes.
    assert!(served <= 5, "{served}");
    // The scheme; XRES, CK and IK.
    assert!(taken <= 4, "{taken}");
}
