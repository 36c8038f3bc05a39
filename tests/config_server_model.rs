//! Random histories of users, agreements, restarts and requests against a model that keeps everything in one
//! list and looks at all of it.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::redundant_closure_for_method_calls,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

mod config_server_harness;

use std::collections::BTreeSet;

use config_server_harness::*;
use migcore::{
    api::{
        configuration::{Agreement, AgreementKey, Answer, Request as Configure, User, Users},
        connection_details::{
            Answer as DetailsAnswer, Location, Reason, Refusal, Request as DetailsRequest,
        },
        migration_identity::{
            AgreementId, Allowance, Answer as ManagementAnswer, Binding, Direction, Lent,
            Request as Manage,
        },
        system_access::Access,
    },
    config_server::Partner,
    identity::McSystemId,
    outbox::{Message, Undeliverable},
    store::CommitSeq,
    time::Timestamp,
};

const SEEDS: u64 = 40;
const OPERATIONS: usize = 400;
const NAMES: [&str; 3] = ["alice", "bob", "carol"];
const CLASSES: [&str; 2] = ["red", "blue"];
const LETTERS: [&str; 4] = ["b", "c", "d", "e"];

/// What the server should know.
#[derive(Default)]
struct Model {
    users: Vec<User>,
    agreements: Vec<(AgreementId, Agreement)>,
    withdrawn: BTreeSet<AgreementId>,
}

/// What step 3 should come to.
type Chosen = Result<(McSystemId, Reason, Allowance, bool), Refusal>;

impl Model {
    fn put_user(&mut self, user: User) {
        self.users.retain(|held| held.mc_service_id != user.mc_service_id);
        self.users.push(user);
    }

    fn agreement(&self, key: &AgreementKey) -> Option<&(AgreementId, Agreement)> {
        self.agreements.iter().find(|(_, held)| held.key == *key)
    }

    /// The agreement with `partner` that counts for `user` now.
    fn in_force(
        &self,
        now: Timestamp,
        partner: &McSystemId,
        user: &User,
    ) -> Option<&(AgreementId, Agreement)> {
        let rank = |users: &Users| match users {
            Users::User(name) if *name == user.mc_service_id => 3,
            Users::Class(class) if Some(class) == user.class.as_ref() => 2,
            Users::Everybody => 1,
            Users::User(_) | Users::Class(_) => 0,
        };
        self.agreements
            .iter()
            .filter(|(_, it)| it.key.partner == *partner && it.key.direction == Direction::Outbound)
            .filter(|(_, it)| it.valid_from <= now && now < it.valid_until)
            .filter(|(_, it)| rank(&it.key.users) > 0)
            .max_by_key(|(_, it)| rank(&it.key.users))
    }

    fn choose(&self, now: Timestamp, partners: &[Partner], request: &DetailsRequest) -> Chosen {
        let user = self.users.iter().find(|held| held.mc_service_id == request.mc_service_id);
        let user = user.ok_or(Refusal::NotAuthenticated)?;
        if !user.may_migrate {
            return Err(Refusal::NotAuthorised);
        }
        let with = |partner: &Partner, reason| {
            let (number, terms) = self.in_force(now, &partner.id, user)?;
            let allowed = Allowance { agreement: *number, until: terms.valid_until };
            Some((partner.id.clone(), reason, allowed, terms.hide_identities))
        };
        let mut reason = Reason::Location;
        if let Some(wish) = &request.partner {
            reason = Reason::RequestedNotAllowed;
            let wished = partners.iter().find(|partner| partner.id == *wish);
            if let Some(chosen) = wished.and_then(|partner| with(partner, Reason::Requested)) {
                return Ok(chosen);
            }
            if request.strict {
                return Err(Refusal::PartnerNotAllowed);
            }
        }
        let mut best = None;
        for partner in partners {
            for area in &partner.areas {
                let Some(points) = points(area, &request.location) else {
                    continue;
                };
                let Some(chosen) = with(partner, reason) else {
                    continue;
                };
                if best.as_ref().is_none_or(|(most, _)| points > *most) {
                    best = Some((points, chosen));
                }
            }
        }
        best.map(|(_, chosen)| chosen).ok_or(Refusal::NoPartner)
    }
}

/// How well an area fits; `None` if it does not.
fn points(area: &Location, location: &Location) -> Option<u32> {
    let mut points = 0;
    if area.plmn != location.plmn {
        return None;
    }
    if let Some(wanted) = area.tracking_area {
        points += 1;
        if location.tracking_area != Some(wanted) {
            return None;
        }
    }
    if let Some(wanted) = area.cell {
        points += 2;
        if location.cell != Some(wanted) {
            return None;
        }
    }
    Some(points)
}

struct Run {
    a: System,
    model: Model,
    random: Seeded,
    numbers: BTreeSet<AgreementId>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = Seeded(seed);
        let mut config = System::new("a", &[]).config;
        config.partners = LETTERS
            .iter()
            .map(|letter| {
                let areas = (0..random.below(4)).map(|_| location(&mut random)).collect();
                Partner { areas, ..partner(letter) }
            })
            .collect();
        let a = System::with(config, "a.example");
        Self { a, model: Model::default(), random, numbers: BTreeSet::new() }
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        let at = self.random.below(from.len() as u64);
        from[usize::try_from(at).unwrap()]
    }

    fn chance(&mut self, of: u64) -> bool {
        self.random.below(of) == 0
    }

    fn key(&mut self) -> AgreementKey {
        let users = match self.random.below(3) {
            0 => Users::Everybody,
            1 => Users::Class(self.pick(&CLASSES).into()),
            _ => Users::User(service(self.pick(&NAMES))),
        };
        key(self.pick(&LETTERS), Direction::Outbound, users)
    }

    fn put_user(&mut self) {
        let class = if self.chance(2) { None } else { Some(self.pick(&CLASSES).into()) };
        let may_migrate = !self.chance(5);
        let user = User { class, may_migrate, ..user(self.pick(&NAMES)) };
        self.a.done(Configure::PutUser(user.clone()));
        self.model.put_user(user);
    }

    fn delete_user(&mut self) {
        let name = service(self.pick(&NAMES));
        let before = self.model.users.len();
        self.model.users.retain(|held| held.mc_service_id != name);
        let existed = self.model.users.len() < before;
        assert_eq!(self.a.configured(Configure::DeleteUser(name)) == Answer::Done, existed);
    }

    fn put_agreement(&mut self) {
        let now = self.a.now;
        let from = START + HOUR * u32::try_from(self.random.below(200)).unwrap();
        let span = HOUR * u32::try_from(1 + self.random.below(200)).unwrap();
        let hide_identities = self.chance(2);
        let next = Agreement {
            key: self.key(),
            valid_from: from,
            valid_until: from + span,
            hide_identities,
        };
        let held = self.model.agreement(&next.key).cloned();
        let asked = self.a.configure(Configure::PutAgreement(next.clone()));
        self.settle(asked);
        let id = self.number(&next.key).expect("it has just been put");
        let in_force = |it: &Agreement| it.valid_from <= now && now < it.valid_until;
        match held {
            Some((old, held)) if in_force(&held) => {
                let hides = next.hide_identities && !held.hide_identities;
                let narrows = next.valid_until < held.valid_until || next.valid_from > now || hides;
                assert_eq!(id != old, narrows, "a number changes when something is taken away");
                assert_eq!(self.model.withdrawn.contains(&old), narrows);
            }
            Some((old, _)) => assert_ne!(id, old),
            None => {}
        }
        let known = held_numbers(&self.model).contains(&id);
        assert!(self.numbers.insert(id) || known, "{id:?} is used again");
        self.model.agreements.retain(|(_, it)| it.key != next.key);
        self.model.agreements.push((id, next));
    }

    fn delete_agreement(&mut self) {
        let key = self.key();
        let held = self.model.agreement(&key).cloned();
        let asked = self.a.configure(Configure::DeleteAgreement(key.clone()));
        assert_eq!(self.settle(asked) == Answer::Done, held.is_some());
        if let Some((number, _)) = held {
            assert!(self.model.withdrawn.contains(&number));
        }
        self.model.agreements.retain(|(_, it)| it.key != key);
    }

    /// Lets the SIP database do what it is asked, and returns the answer for the operator.
    fn settle(&mut self, effects: Effects) -> Answer {
        if effects.sends.iter().any(|it| matches!(it.message, Message::Configuration { .. })) {
            return effects.configuration_answer();
        }
        let (request, asked) = effects.for_database();
        match &asked {
            Manage::WithdrawAgreement(number) => {
                assert!(self.model.withdrawn.insert(*number), "withdrawn again");
            }
            other => panic!("{other:?}"),
        }
        let done = self.a.manage(asked);
        self.a.database_answers(request, done).configuration_answer()
    }

    fn number(&mut self, key: &AgreementKey) -> Option<AgreementId> {
        match self.a.configured(Configure::GetAgreement(key.clone())) {
            Answer::Agreement { id, .. } => Some(id),
            _ => None,
        }
    }

    fn ask(&mut self) {
        let name = self.pick(&NAMES);
        let wish =
            if self.chance(2) { Some(id(self.pick(&["b", "c", "d", "e", "x"]))) } else { None };
        let request = DetailsRequest {
            location: location(&mut self.random),
            partner: wish,
            strict: self.chance(3),
            ..ask(name, "b")
        };
        let want = self.model.choose(self.a.now, &self.a.config.partners, &request);
        assert_eq!(self.chosen(name, request.clone()), want, "{request:?}");
    }

    fn chosen(&mut self, name: &str, request: DetailsRequest) -> Chosen {
        let last = self.a.sequencer.last();
        let effects = self.a.asked_by(name, request);
        assert!(effects.waits_for() <= last && effects.commits.is_empty());
        if let [send] = &effects.sends[..]
            && let Message::ConnectionDetails { answer, .. } = &send.message
        {
            return match answer {
                DetailsAnswer::Refused(refusal) => Err(*refusal),
                DetailsAnswer::Details(details) => panic!("from nowhere: {details:?}"),
            };
        }
        assert!(effects.waits_for() > CommitSeq::NOTHING);
        let (request, asked) = effects.for_database();
        let (allowed, hides, lent) = match asked {
            Manage::BindOutbound { allowed, .. } => {
                let reserved_until = self.a.now + DAY;
                let binding = Binding { identity: real("out"), reserved_until, ..any_binding() };
                (allowed, true, ManagementAnswer::Binding(binding))
            }
            Manage::PutGrant { allowed, valid_for, .. } => {
                let allowed = allowed.expect("an agreement");
                assert!(valid_for <= allowed.until.since(self.a.now) && valid_for <= 31 * DAY);
                let until = self.a.now + valid_for;
                (Some(allowed), false, ManagementAnswer::Granted { until, lent: Lent::Anew })
            }
            other => panic!("{other:?}"),
        };
        let (partner, request, asked) = self.a.database_answers(request, lent).for_partner();
        assert_eq!(asked.user.identity == real(name), !hides, "what the partner is shown");
        let access = Access {
            identity: real("in"),
            valid_until: self.a.now + 100 * DAY,
            configuration: Some(system_configuration("x", 1)),
        };
        let granted = migcore::api::system_access::Answer::Granted(Box::new(access));
        let outcome: Result<_, Undeliverable> = Ok(granted);
        match self.a.partner_answers(request, outcome).details_answer() {
            DetailsAnswer::Details(details) => {
                assert_eq!(details.mc_system_id, partner);
                let allowed = allowed.expect("an agreement");
                assert!(details.valid_until <= allowed.until);
                Ok((partner, details.reason, allowed, hides))
            }
            DetailsAnswer::Refused(refusal) => panic!("refused: {refusal}"),
        }
    }
}

fn held_numbers(model: &Model) -> BTreeSet<AgreementId> {
    model.agreements.iter().map(|(number, _)| *number).collect()
}

/// One of 36 places, or the area around some.
fn location(random: &mut Seeded) -> Location {
    let plmn = if random.below(2) == 0 { "20801" } else { "26201" };
    let tracking_area = Some(random.below(3)).filter(|it| *it > 0);
    let cell = Some(random.below(3)).filter(|it| *it > 0);
    area(plmn, tracking_area.map(|it| u32::try_from(it).unwrap()), cell)
}

#[test]
fn random_histories_agree_with_the_model() {
    let mut outcomes = BTreeSet::new();
    for seed in 0..SEEDS {
        println!("seed {seed}");
        let mut run = Run::new(seed);
        for _ in 0..OPERATIONS {
            match run.random.below(20) {
                0 => run.put_user(),
                1 if run.chance(4) => run.delete_user(),
                2..=5 => run.put_agreement(),
                6 => run.delete_agreement(),
                7 if run.chance(4) => run.a.restart(),
                8 => run.a.now = run.a.now + HOUR,
                _ => run.ask(),
            }
        }
        for name in NAMES {
            let request = ask(name, "b");
            let want = run.model.choose(run.a.now, &run.a.config.partners, &request);
            outcomes.insert(format!("{:?}", want.map(|(_, reason, _, hides)| (reason, hides))));
        }
    }
    assert!(outcomes.len() > 2, "the histories come to little: {outcomes:?}");
}
