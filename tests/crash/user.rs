//! A user of A with its UE in B, the administrators who lend and take back, and what all of them remember
//! of what they were told.

use std::{collections::VecDeque, net::SocketAddr, rc::Rc, sync::Arc, time::Duration};

use migcore::{
    aka::{Milenage, Rand, Sqn, SqnArray},
    api::migration_identity::Direction,
    entropy::Entropy as _,
    identity::{Impi, SipDatabaseId, UserIdentity},
    secret::Secret,
    sim::ledger::{Change, Holder, Outcome, Ticket},
    store::RecordKind,
};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::{
    administration::Told,
    common::Seeded,
    history::{Contact, Held, History, Violation},
    load::Situation,
    register::{Answered, Wish},
    server::hex,
    wire::SipLink,
};

/// The domains of the home and of the partner.
pub const HOME: &str = "a.example";
pub const PARTNER: &str = "b.example";

/// How many contacts one user has.
pub const CONTACTS: usize = 2;

/// How often something is tried while systems come and go.
const ATTEMPTS_MAX: u32 = 400;

/// How long to wait before something is tried again.
pub const PAUSE: Duration = Duration::from_millis(50);

/// Of 1,000 registrations so many end after a few seconds.
const SHORT_PER_MILLE: u64 = 20;

/// How many of its released pairs are compared.
const RELEASED: usize = 2;

/// What one thread's users share.
#[derive(Clone)]
pub struct Surroundings {
    pub link: Rc<SipLink>,
    pub http: reqwest::Client,
    pub history: Arc<History>,
    /// The management interfaces of A and B.
    pub management: [String; 2],
    /// CSC-4 of A.
    pub csc4: String,
    pub situation: watch::Receiver<Situation>,
}

/// A user.
pub struct User {
    pub number: u64,
    pub local: SocketAddr,
    k: Secret<16>,
    opc: Secret<16>,
    token: String,
    pub milenage: Milenage,
    /// What the ISIM accepted.
    pub accepted: SqnArray,
    /// The SQN of its last vector. All have the IND of the first, which is the partner's.
    pub last_sqn: Option<Sqn>,
    outbound: Held,
    inbound: Held,
    pub call_id: String,
    pub cseq: u32,
    pub contacts: [Contact; CONTACTS],
    /// Released pairs of B, the last ones.
    pub released: VecDeque<UserIdentity>,
}

impl User {
    /// The user of this number, who receives at `local`, with keys drawn from `entropy`.
    pub fn new(number: u64, local: SocketAddr, entropy: &mut Seeded) -> Self {
        let mut draw = || {
            let mut octets = [0; 16];
            entropy.fill(&mut octets);
            octets
        };
        let (k, opc) = (Secret::new(draw()), Secret::new(draw()));
        Self {
            number,
            local,
            milenage: Milenage::new(&k, &opc),
            k,
            opc,
            token: hex(&draw()),
            accepted: SqnArray::default(),
            last_sqn: None,
            outbound: Held::Nothing,
            inbound: Held::Nothing,
            call_id: hex(&draw()),
            cseq: 0,
            contacts: Default::default(),
            released: VecDeque::new(),
        }
    }

    /// The real pair.
    pub fn real(&self) -> UserIdentity {
        let name = format!("user-{}@{HOME}", self.number);
        UserIdentity { impi: name.parse().unwrap(), impu: format!("sip:{name}").parse().unwrap() }
    }

    /// The pair in B, if the user knows that it holds one.
    pub fn inbound(&self) -> Option<&UserIdentity> {
        self.inbound.pair()
    }

    /// Makes the user known at home: a subscriber, and its name on CSC-4.
    pub async fn provision(&self, at: &Surroundings) {
        let UserIdentity { impi, impu } = self.real();
        let (k, opc) = (hex(self.k.expose()), hex(self.opc.expose()));
        let subscriber = json!({ "impus": [impu], "k": k, "opc": opc });
        let put = Change::Put { kind: RecordKind::Subscriber, key: impi.as_str().to_owned() };
        let ticket = at.history.begin(0, put);
        at.put(&format!("/v1/subscribers/{}", impi.as_str()), &subscriber).await;
        at.history.end(0, ticket, Outcome::Done);
        let user = json!({ "impi": impi, "impu": impu, "token": self.token });
        let name = format!("sip:officer-{}@{HOME}", self.number);
        let put = Change::Put { kind: RecordKind::User, key: name.clone() };
        let ticket = at.history.begin(0, put);
        at.put(&format!("/v1/users/{name}"), &user).await;
        at.history.end(0, ticket, Outcome::Done);
    }

    /// One thing that a user or an administrator may do, and until it is known what became of it.
    pub async fn act(&mut self, at: &mut Surroundings, entropy: &mut Seeded) {
        self.settle_bindings(at).await;
        match entropy.below(1_000) {
            0..=849 => self.bind(at, entropy).await,
            850..=929 => {
                let slot = (0..CONTACTS).find(|slot| self.contacts[*slot].is_bound());
                match slot {
                    Some(slot) => self.change(at, Wish::Unbind { slot }).await,
                    None => self.bind(at, entropy).await,
                }
            }
            930..=959 => self.fetch(at).await,
            960..=974 => self.ask_again(at).await,
            _ => self.leave_and_return(at, entropy).await,
        }
    }

    /// Compares everything that this user was told with what the systems say now.
    pub async fn compare(&mut self, at: &mut Surroundings) {
        self.settle_bindings(at).await;
        self.fetch(at).await;
        for direction in [Direction::Outbound, Direction::Inbound] {
            if let Some(pair) = self.held(direction).pair().cloned()
                && at.is_bound(direction, &pair.impi).await == Some(false)
            {
                self.violation(at, Violation::Lost, &format!("{direction:?} {}", name(&pair)));
            }
        }
        for pair in &self.released {
            if at.is_bound(Direction::Inbound, &pair.impi).await == Some(true) {
                let words = format!("{} was released", name(pair));
                self.violation(at, Violation::Resurrected, &words);
            }
        }
    }

    /// Takes down that something about this user is wrong.
    pub fn violation(&self, at: &Surroundings, kind: Violation, words: &str) {
        at.history.violation(kind, format!("user {}: {words}", self.number));
    }

    /// Registers or refreshes a contact.
    async fn bind(&mut self, at: &mut Surroundings, entropy: &mut Seeded) {
        let short = entropy.below(1_000) < SHORT_PER_MILLE;
        let expires = if short { 2 + entropy.below(4) } else { 3_600 + entropy.below(500_000) };
        let slot = usize::from(entropy.below(8) == 0);
        let expires = u32::try_from(expires).unwrap();
        self.change(at, Wish::Bind { slot, expires }).await;
    }

    /// Changes a contact, and if there is no definite answer finds out by asking.
    async fn change(&mut self, at: &mut Surroundings, wish: Wish) {
        match self.register(at, wish).await {
            Answered::Done => {}
            Answered::Refused(status) => self.refused(at, "REGISTER", status),
            Answered::Not => {
                at.history.in_doubt.add();
                self.fetch(at).await;
            }
        }
    }

    /// Asks what is registered, as often as it takes to be told.
    async fn fetch(&mut self, at: &mut Surroundings) {
        for _ in 0..ATTEMPTS_MAX {
            match self.register(at, Wish::Fetch).await {
                Answered::Done => return,
                Answered::Refused(status) => return self.refused(at, "REGISTER", status),
                Answered::Not => tokio::time::sleep(PAUSE).await,
            }
        }
        self.violation(at, Violation::Refused, "no answer for long");
    }

    fn refused(&self, at: &Surroundings, what: &str, status: u16) {
        self.violation(at, Violation::Refused, &format!("{what} got {status}"));
    }

    /// Asks both administrators again, or the home's configuration server: the pairs stay.
    async fn ask_again(&mut self, at: &mut Surroundings) {
        if self.number.is_multiple_of(2) {
            self.ask_for_pair(at, Direction::Outbound).await;
            self.ask_for_pair(at, Direction::Inbound).await;
        } else {
            self.ask_for_details(at).await;
        }
    }

    /// An administrator takes both pairs back, of a user that has left or of one that has not, and lends
    /// others.
    async fn leave_and_return(&mut self, at: &mut Surroundings, entropy: &mut Seeded) {
        let revoked = entropy.below(2) == 0;
        if !revoked {
            for slot in 0..CONTACTS {
                if self.contacts[slot].is_bound() {
                    self.change(at, Wish::Unbind { slot }).await;
                }
            }
        }
        self.release(at, Direction::Inbound).await;
        if self.inbound != Held::Nothing {
            // Without an answer. The outbound pair stays: the inbound one may stand for it still.
            return self.settle_bindings(at).await;
        }
        if revoked {
            self.expect_refusal(at).await;
        }
        self.release(at, Direction::Outbound).await;
        self.settle_bindings(at).await;
    }

    /// Registers with the pair that was released just now.
    async fn expect_refusal(&mut self, at: &mut Surroundings) {
        let Some(pair) = self.released.back().cloned() else { return };
        self.inbound = Held::Pair(pair);
        let answered = self.register(at, Wish::Bind { slot: 0, expires: 3_600 }).await;
        if answered == Answered::Done {
            self.violation(at, Violation::Resurrected, "registered with a revoked pair");
        }
        self.contacts = Default::default();
        self.inbound = Held::Nothing;
    }

    /// Until it is known which pairs the user holds, and it holds one of each.
    pub async fn settle_bindings(&mut self, at: &mut Surroundings) {
        for _ in 0..ATTEMPTS_MAX {
            self.find_out(at, Direction::Inbound).await;
            self.find_out(at, Direction::Outbound).await;
            for direction in [Direction::Outbound, Direction::Inbound] {
                if matches!(self.held(direction), Held::Nothing | Held::Asked) {
                    self.ask_for_pair(at, direction).await;
                }
            }
            if self.outbound.pair().is_some() && self.inbound.pair().is_some() {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        self.violation(at, Violation::Refused, "gets no pairs");
    }

    /// Whether a release without an answer was done.
    async fn find_out(&mut self, at: &mut Surroundings, direction: Direction) {
        let Held::Releasing(pair) = self.held(direction).clone() else { return };
        match at.is_bound(direction, &pair.impi).await {
            Some(true) => *self.held(direction) = Held::Pair(pair),
            Some(false) => self.released(at, direction, pair),
            None => {}
        }
    }

    fn held(&mut self, direction: Direction) -> &mut Held {
        match direction {
            Direction::Inbound => &mut self.inbound,
            Direction::Outbound => &mut self.outbound,
        }
    }

    async fn release(&mut self, at: &mut Surroundings, direction: Direction) {
        let Some(pair) = self.held(direction).pair().cloned() else { return };
        *self.held(direction) = Held::Releasing(pair.clone());
        let impi = pair.impi.clone();
        let ticket = at.begin(direction, Change::Release { direction, impi });
        let status = at.release(direction, &pair.impi).await;
        let outcome = if status == Some(204) { Outcome::Done } else { Outcome::Unknown };
        at.end(direction, ticket, outcome);
        match status {
            Some(204) => {
                at.history.releases.add();
                self.released(at, direction, pair);
            }
            Some(404) => {
                self.violation(at, Violation::Lost, &format!("{direction:?} {}", name(&pair)));
                self.released(at, direction, pair);
            }
            Some(status) => self.refused(at, "release", status),
            None => at.history.in_doubt.add(),
        }
    }

    /// Takes down that `pair` is released for good. Whether the end of an inbound one also ends what is
    /// registered with it is for B to choose.
    fn released(&mut self, at: &Surroundings, direction: Direction, pair: UserIdentity) {
        *self.held(direction) = Held::Nothing;
        if direction == Direction::Outbound {
            return;
        }
        for slot in 0..CONTACTS {
            let (impi, contact) = (pair.impi.clone(), self.contact_uri(slot));
            let ticket = at.begin(direction, Change::Deregister { impi, contact });
            at.end(direction, ticket, Outcome::Unknown);
        }
        self.contacts = Default::default();
        self.released.push_back(pair);
        if self.released.len() > RELEASED {
            self.released.pop_front();
        }
    }

    /// Asks an administrator for a pair, or for the one that the user holds.
    async fn ask_for_pair(&mut self, at: &mut Surroundings, direction: Direction) {
        let Some((holder, body)) = self.request_of_pair(direction) else { return };
        let held = self.held(direction);
        if *held == Held::Nothing {
            *held = Held::Asked;
        }
        let ticket = at.begin(direction, Change::Lend { direction, holder });
        let told = at.bind(direction, &body).await;
        self.told(at, (direction, ticket), told);
    }

    /// Who is to hold a pair, and how to ask for it. `None` for an inbound one without an outbound one.
    fn request_of_pair(&self, direction: Direction) -> Option<(Holder, Value)> {
        let database = |domain| format!("sipdb.{domain}").parse::<SipDatabaseId>().unwrap();
        let server_name = format!("sip:migration.{HOME}");
        Some(match direction {
            Direction::Outbound => {
                let (user, other) = (self.real(), database(PARTNER));
                let body = json!({ "impi": user.impi, "impu": user.impu, "partner": other });
                (Holder { user, other }, body)
            }
            Direction::Inbound => {
                let (user, other) = (self.outbound.pair()?.clone(), database(HOME));
                let body = json!({
                    "impi": user.impi, "impu": user.impu, "database": other,
                    "server_name": server_name,
                });
                (Holder { user, other }, body)
            }
        })
    }

    /// Takes down what a system says about the pair that the user holds.
    fn told(
        &mut self,
        at: &Surroundings,
        (direction, ticket): (Direction, Ticket),
        told: Option<Told>,
    ) {
        let lent = match told {
            Some(Told::Lent(identity, until)) => Some((identity, until)),
            Some(Told::Refused(status)) => {
                self.refused(at, &format!("{direction:?} pair"), status);
                None
            }
            None => {
                at.history.in_doubt.add();
                None
            }
        };
        let Some((pair, until)) = lent else {
            return at.end(direction, ticket, Outcome::Unknown);
        };
        at.end(direction, ticket, Outcome::Lent { identity: pair.clone(), until });
        match self.held(direction).pair().cloned() {
            None => at.history.allocations.add(),
            Some(before) if before == pair => at.history.repeats.add(),
            Some(before) => {
                let words = format!("holds {direction:?} {} and is told another", name(&before));
                self.violation(at, Violation::Lost, &words);
            }
        }
        *self.held(direction) = Held::Pair(pair);
    }

    /// `MIG-1` to `MIG-13`: the home's configuration server asks A and B for pairs, and they are the ones
    /// that the user holds.
    async fn ask_for_details(&mut self, at: &mut Surroundings) {
        let direction = Direction::Inbound;
        let Some((holder, _)) = self.request_of_pair(direction) else { return };
        let ticket = at.begin(direction, Change::Lend { direction, holder });
        let body = json!({
            "mc_service_id": format!("sip:officer-{}@{HOME}", self.number),
            "partner": format!("sip:{PARTNER}"), "strict": true, "location": { "plmn": "00101" },
        });
        let told = at.details(&self.token, &body).await;
        if matches!(told, Some(Told::Lent(..))) {
            at.history.details.add();
        }
        self.told(at, (direction, ticket), told);
    }
}

fn name(pair: &UserIdentity) -> &str {
    pair.impi.as_str()
}

impl Surroundings {
    /// Takes down in the ledger of the system that lends in this direction that it is about to be asked.
    pub fn begin(&self, direction: Direction, change: Change) -> Ticket {
        self.history.begin(system_of(direction), change)
    }

    /// Takes down what it answered, if it did.
    pub fn end(&self, direction: Direction, ticket: Ticket, outcome: Outcome) {
        self.history.end(system_of(direction), ticket, outcome);
    }

    /// Takes down a vector that A gave.
    pub fn vector_left(&self, impi: &Impi, sqn: Sqn, rand: &Rand) {
        self.history.vectors.add();
        let seen = self.history.ledger(0).vector_left(impi, 0, sqn, rand);
        if let Err(violation) = seen {
            self.history.broken(&violation);
        }
    }
}

/// A lends outbound, B inbound.
pub const fn system_of(direction: Direction) -> usize {
    match direction {
        Direction::Outbound => 0,
        Direction::Inbound => 1,
    }
}
