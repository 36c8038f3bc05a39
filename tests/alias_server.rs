//! The functional alias controlling server: each rule as a sentence, histories against a model, restarts.
#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::redundant_closure_for_method_calls,
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "test code"
)]

mod common;

use std::{collections::BTreeMap, sync::Arc};

use common::Seeded;
use migcore::{
    alias_server::{AliasServer, Config},
    api::{
        alias_management::{Activation, ActiveAlias, Answer, PAGE_MAX, Page, Refusal, Request},
        functional_alias::{Change, Event},
    },
    identity::{FunctionalAlias, McServiceId},
    outbox::{AcmMessage, Context, Effect, Message, Note, Outbox, ReplyTo},
    store::{CommitSeq, Engine, MemoryEngine, RecordKind, Sequencer},
    time::Timestamp,
};

/// A server on its storage.
struct World {
    role: AliasServer,
    config: Config,
    engine: MemoryEngine,
    sequencer: Arc<Sequencer>,
    entropy: Seeded,
    now: u64,
    has_storage: bool,
    commits: Vec<CommitSeq>,
    events: Vec<Event>,
    notes: Vec<Note>,
}

impl World {
    fn new() -> Self {
        Self::with(|_| {})
    }

    fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::new(vec!["b.example".to_owned()]);
        change(&mut config);
        Self {
            role: AliasServer::new(config.clone()),
            config,
            engine: MemoryEngine::default(),
            sequencer: Arc::default(),
            entropy: Seeded(1),
            now: 1_800_000_000,
            has_storage: true,
            commits: Vec::new(),
            events: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn restart(&mut self) {
        self.role = AliasServer::new(self.config.clone());
        let role = &self.role;
        let highest = self.engine.replay(&|record| role.load(&record)).unwrap();
        self.commits.clear(); // what was loaded is durable: nothing has to wait for it
        self.sequencer = Arc::new(Sequencer::starting_after(highest));
    }

    /// Lets the server do something; every message waits for all that was committed so far.
    fn call(&mut self, act: impl FnOnce(&AliasServer, &mut Context<'_>)) -> Vec<Answer> {
        self.now += 1;
        let mut out = Outbox::new(Arc::clone(&self.sequencer));
        out.set_storage_available(self.has_storage);
        let now = Timestamp::from_secs(self.now);
        let mut ctx = Context { now, entropy: &mut self.entropy, out: &mut out };
        act(&self.role, &mut ctx);
        let mut answers = Vec::new();
        for effect in out.drain() {
            match effect {
                Effect::Commit(commit) => {
                    self.commits.push(commit.seq);
                    self.engine.commit(&[commit]).unwrap();
                }
                Effect::Send(send) => {
                    assert!(Some(&send.after) >= self.commits.last(), "{send:?}");
                    match send.message {
                        Message::Acm(AcmMessage::Aliases { answer, .. }) => answers.push(answer),
                        Message::Acm(AcmMessage::AliasEvent(event)) => self.events.push(event),
                        other => panic!("no message of this role: {other:?}"),
                    }
                }
                Effect::Note(note) => self.notes.push(note),
                other => panic!("not for this world: {other:?}"),
            }
        }
        answers
    }

    fn ask(&mut self, request: Request) -> Answer {
        let mut answers = self.call(|role, ctx| {
            role.handle_management(ctx, ReplyTo::World(1), request);
        });
        assert_eq!(answers.len(), 1);
        answers.remove(0)
    }

    fn subscribe(&mut self) {
        assert_eq!(self.call(|role, ctx| role.handle_subscription(ctx)), []);
    }

    fn activate(&mut self, of: &str, name: &str) {
        let answer = self.ask(Request::Activate(activation(of, name, true)));
        assert_eq!(answer, Answer::Active { displaced: Vec::new() });
    }

    fn take_over(&mut self, of: &str, name: &str) -> Vec<McServiceId> {
        match self.ask(Request::TakeOver(activation(of, name, true))) {
            Answer::Active { displaced } => displaced,
            other => panic!("not taken over: {other:?}"),
        }
    }

    fn deactivate(&mut self, of: &str, name: &str) {
        let request = Request::Deactivate { alias: alias(of), user: user(name) };
        assert_eq!(self.ask(request), Answer::Inactive);
    }

    fn refused(&mut self, request: Request) -> Refusal {
        match self.ask(request) {
            Answer::Refused(refusal) => refusal,
            other => panic!("not refused: {other:?}"),
        }
    }

    fn page(&mut self, after: Option<&str>, limit: usize) -> Page {
        match self.ask(Request::List { after: after.map(alias), limit }) {
            Answer::Page(page) => page,
            other => panic!("no page: {other:?}"),
        }
    }

    /// Who holds an alias, in the order of activation.
    fn holders(&mut self, of: &str) -> Vec<McServiceId> {
        let page = self.page(None, PAGE_MAX);
        let found = page.items.into_iter().find(|item| item.alias == alias(of));
        found.map_or_else(Vec::new, |ActiveAlias { holders, .. }| {
            holders.into_iter().map(|holder| holder.user).collect()
        })
    }

    /// The changes told so far.
    fn take_changes(&mut self) -> Vec<Change> {
        let changes = self.events.drain(..).map(|event| match event {
            Event::Changed { change, .. } => change,
            other => panic!("no change: {other:?}"),
        });
        changes.collect()
    }
}

fn alias(name: &str) -> FunctionalAlias {
    FunctionalAlias::parse(&format!("sip:{name}@b.example")).unwrap()
}

fn user(name: &str) -> McServiceId {
    McServiceId::parse(&format!("sip:{name}@b.example")).unwrap()
}

fn activation(of: &str, name: &str, shared: bool) -> Activation {
    Activation { alias: alias(of), user: user(name), shared }
}

#[test]
fn an_alias_has_its_holders_in_the_order_of_activation() {
    let mut world = World::new();
    for name in ["zoe", "adam", "mia"] {
        world.activate("driver", name);
    }
    assert_eq!(world.holders("driver"), ["zoe", "adam", "mia"].map(user));
    world.deactivate("driver", "zoe");
    world.activate("driver", "zoe");
    assert_eq!(world.holders("driver"), ["adam", "mia", "zoe"].map(user));
}

#[test]
fn a_user_may_hold_several_aliases() {
    let mut world = World::new();
    world.activate("driver", "adam");
    world.activate("guard", "adam");
    assert_eq!(world.page(None, 10).items.len(), 2);
    world.deactivate("driver", "adam");
    assert_eq!(world.holders("guard"), [user("adam")]);
}

#[test]
fn what_is_repeated_changes_nothing() {
    let mut world = World::new();
    world.subscribe();
    world.activate("driver", "adam");
    world.activate("driver", "mia");
    assert_eq!(world.take_over("driver", "zoe"), ["adam", "mia"].map(user));
    world.events.clear();
    let commits = world.commits.len();
    world.activate("driver", "zoe");
    assert_eq!(world.take_over("driver", "zoe"), []);
    world.deactivate("driver", "adam");
    assert_eq!((world.commits.len(), world.take_changes()), (commits, Vec::new()));
    assert_eq!(world.holders("driver"), [user("zoe")]);
}

#[test]
fn an_alias_that_is_not_shared_has_one_holder() {
    let mut world = World::new();
    let alone = |name| Request::Activate(activation("driver", name, false));
    assert_eq!(world.ask(alone("adam")), Answer::Active { displaced: Vec::new() });
    let beside = Request::Activate(activation("driver", "mia", true));
    assert_eq!(world.refused(beside.clone()), Refusal::Held);
    assert_eq!(world.refused(alone("mia")), Refusal::Held);

    // Who shares it after all lets others in, and cannot have it alone again while they are there.
    world.activate("driver", "adam");
    assert_eq!(world.ask(beside), Answer::Active { displaced: Vec::new() });
    assert_eq!(world.refused(alone("adam")), Refusal::Held);
    world.deactivate("driver", "mia");
    world.ask(alone("adam"));
    world.restart();
    assert_eq!(world.refused(alone("mia")), Refusal::Held);
    assert_eq!(world.take_over("driver", "mia"), [user("adam")]);
}

#[test]
fn who_takes_over_is_told_whom_it_displaced_and_is_the_only_holder() {
    let mut world = World::new();
    assert_eq!(world.take_over("driver", "adam"), []);
    world.activate("driver", "mia");
    world.activate("driver", "zoe");
    assert_eq!(world.take_over("driver", "mia"), ["adam", "zoe"].map(user));
    assert_eq!(world.holders("driver"), [user("mia")]);
    assert_eq!(world.engine.reader().page(RecordKind::AliasHolder, None, 9).unwrap().len(), 1);
}

#[test]
fn users_of_other_systems_hold_nothing_here() {
    let mut world = World::new();
    for foreign in ["sip:adam@a.example", "sip:adam@x.b.example", "tel:+390612345"] {
        let foreign = McServiceId::parse(foreign).unwrap();
        let activation = Activation { alias: alias("driver"), user: foreign, shared: true };
        for request in [Request::Activate(activation.clone()), Request::TakeOver(activation)] {
            assert_eq!(world.refused(request), Refusal::ForeignUser);
        }
    }
    assert_eq!(world.commits, []);
}

#[test]
fn everything_has_a_maximum() {
    let small = |config: &mut Config| {
        (config.aliases_max, config.holders_max, config.activations_max) = (2, 2, 3);
    };
    let mut world = World::with(small);
    let more = |of, name| Request::Activate(activation(of, name, true));
    world.activate("driver", "adam");
    world.activate("driver", "mia");
    assert_eq!(world.refused(more("driver", "zoe")), Refusal::TooManyHolders);
    world.activate("guard", "adam");
    assert_eq!(world.refused(more("guard", "mia")), Refusal::TooManyActivations);
    assert_eq!(world.refused(more("cook", "mia")), Refusal::TooManyAliases);
    assert_eq!(world.notes.len(), 3);
    // Who takes over makes room first, and after a restart as many count.
    assert_eq!(world.take_over("driver", "zoe").len(), 2);
    world.restart();
    world.activate("guard", "mia");
    assert_eq!(world.refused(more("driver", "mia")), Refusal::TooManyActivations);
}

#[test]
fn a_refusal_names_the_field_and_the_fix() {
    for (refusal, field) in [
        (Refusal::ForeignUser, Some("user")),
        (Refusal::Held, Some("alias")),
        (Refusal::TooManyHolders, Some("alias")),
        (Refusal::TooManyAliases, Some("alias")),
        (Refusal::TooManyActivations, None),
        (Refusal::Limit, Some("limit")),
        (Refusal::Unavailable, None),
    ] {
        assert_eq!(refusal.field(), field);
        assert!(!refusal.fix().is_empty());
    }
}

#[test]
fn while_the_storage_takes_no_changes_nothing_changes() {
    let mut world = World::new();
    world.activate("driver", "adam");
    world.subscribe();
    world.events.clear();
    world.has_storage = false;
    for request in [
        Request::Activate(activation("driver", "mia", true)),
        Request::TakeOver(activation("driver", "mia", true)),
        Request::Deactivate { alias: alias("driver"), user: user("adam") },
    ] {
        assert_eq!(world.refused(request), Refusal::Unavailable);
    }
    // What is so already needs no change.
    world.activate("driver", "adam");
    world.deactivate("driver", "mia");
    assert_eq!(world.holders("driver"), [user("adam")]);
    assert_eq!(world.take_changes(), []);
}

#[test]
fn lists_come_in_pages_each_alias_once() {
    let mut world = World::new();
    for of in ["e", "b", "d", "a", "c"] {
        world.activate(of, "adam");
    }
    let mut seen = Vec::new();
    let mut after: Option<FunctionalAlias> = None;
    loop {
        let request = Request::List { after, limit: 2 };
        let Answer::Page(page) = world.ask(request) else { panic!("no page") };
        assert!(page.items.len() <= 2);
        seen.extend(page.items.into_iter().map(|item| item.alias));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(seen, ["a", "b", "c", "d", "e"].map(alias));
    assert_eq!(world.page(Some("bb"), 1).items[0].alias, alias("c"));
    assert_eq!(world.page(Some("e"), 1), Page { items: Vec::new(), next: None });
    for limit in [0, PAGE_MAX + 1] {
        assert_eq!(world.refused(Request::List { after: None, limit }), Refusal::Limit);
    }
}

#[test]
fn who_subscribes_is_told_what_is_active_and_then_every_change() {
    let mut world = World::new();
    world.activate("driver", "adam");
    assert_eq!(world.events, [], "nobody asked");
    world.subscribe();
    let [Event::Up { number, active }] = &world.events[..] else { panic!("{:?}", world.events) };
    assert_eq!(*active, [(alias("driver"), vec![user("adam")])]);
    let mut latest = *number;
    world.events.clear();

    world.activate("driver", "mia");
    world.take_over("driver", "zoe");
    world.ask(Request::Activate(activation("driver", "zoe", false)));
    world.deactivate("driver", "zoe");
    for event in &world.events {
        let Event::Changed { number, follows, .. } = event else { panic!("{event:?}") };
        assert!(*follows == latest && number > follows, "{event:?}");
        latest = *number;
    }
    let changes = [
        Change::Activated(alias("driver"), user("mia")),
        Change::TakenOver(alias("driver"), user("zoe")),
        Change::Deactivated(alias("driver"), user("zoe")),
    ];
    assert_eq!(world.take_changes(), changes);
}

#[test]
fn after_a_restart_what_was_active_is_and_nobody_is_told_before_subscribing() {
    let mut world = World::new();
    world.subscribe();
    for name in ["zoe", "adam"] {
        world.activate("driver", name);
    }
    world.events.clear();
    world.restart();
    world.activate("driver", "mia");
    assert_eq!(world.events, []);
    assert_eq!(world.holders("driver"), ["zoe", "adam", "mia"].map(user));
    world.subscribe();
    assert!(matches!(&world.events[..], [Event::Up { active, .. }] if active.len() == 1));
}

/// What should be active: holders with whether they share, in the order of activation.
type Model = BTreeMap<FunctionalAlias, Vec<(McServiceId, bool)>>;

fn model_of(request: &Request, model: &mut Model) -> Option<Vec<McServiceId>> {
    let (Activation { alias, user, shared }, takes_over) = match request {
        Request::Activate(activation) => (activation, false),
        Request::TakeOver(activation) => (activation, true),
        Request::Deactivate { alias, user } => {
            let holders = model.entry(alias.clone()).or_default();
            holders.retain(|(holder, _)| holder != user);
            return Some(Vec::new());
        }
        Request::List { .. } => return Some(Vec::new()),
    };
    let holders = model.entry(alias.clone()).or_default();
    let mut others = holders.clone();
    others.retain(|(holder, _)| holder != user);
    if !takes_over && others.iter().any(|(_, shares)| !shared || !shares) {
        return None;
    }
    if takes_over {
        holders.retain(|(holder, _)| holder == user);
    }
    match holders.iter_mut().find(|(holder, _)| holder == user) {
        Some((_, shares)) => *shares = *shared,
        None => holders.push((user.clone(), *shared)),
    }
    Some(if takes_over { others.into_iter().map(|(other, _)| other).collect() } else { Vec::new() })
}

/// What an ACM server would make of the events.
fn follow(events: &mut Vec<Event>, known: &mut BTreeMap<FunctionalAlias, Vec<McServiceId>>) {
    for event in events.drain(..) {
        match event {
            Event::Up { active, .. } => *known = active.into_iter().collect(),
            Event::Changed { change: Change::Activated(alias, user), .. } => {
                known.entry(alias).or_default().push(user);
            }
            Event::Changed { change: Change::Deactivated(alias, user), .. } => {
                known.entry(alias).or_default().retain(|holder| *holder != user);
            }
            Event::Changed { change: Change::TakenOver(alias, user), .. } => {
                known.insert(alias, vec![user]);
            }
            Event::Down => known.clear(),
        }
    }
    known.retain(|_, holders| !holders.is_empty());
}

#[test]
fn histories_end_as_a_simple_model_has_them() {
    for seed in 0..100 {
        let mut random = Seeded(seed);
        let mut world = World::new();
        let (mut model, mut known) = (Model::new(), BTreeMap::new());
        world.subscribe();
        for turn in 0..300 {
            let pick = |random: &mut Seeded, names: &[&'static str]| {
                names[usize::try_from(random.below(names.len() as u64)).unwrap()]
            };
            let of = pick(&mut random, &["driver", "guard", "cook"]);
            let name = pick(&mut random, &["adam", "mia", "zoe", "ben"]);
            let activation = activation(of, name, random.below(4) > 0);
            let request = match random.below(20) {
                0..=8 => Request::Activate(activation),
                9..=15 => Request::Deactivate { alias: activation.alias, user: activation.user },
                16..=18 => Request::TakeOver(activation),
                _ => {
                    world.restart();
                    world.subscribe();
                    continue;
                }
            };
            let wanted = model_of(&request, &mut model);
            let answer = match (&request, wanted) {
                (_, None) => Answer::Refused(Refusal::Held),
                (Request::Deactivate { .. }, _) => Answer::Inactive,
                (_, Some(displaced)) => Answer::Active { displaced },
            };
            assert_eq!(world.ask(request), answer, "seed {seed}, turn {turn}");
            model.retain(|_, holders| !holders.is_empty());
            let listed = world.page(None, PAGE_MAX).items.into_iter();
            let listed: Model = listed
                .map(|ActiveAlias { alias, holders }| {
                    (alias, holders.into_iter().map(|it| (it.user, it.shared)).collect())
                })
                .collect();
            assert_eq!(listed, model, "seed {seed}, turn {turn}");
            follow(&mut world.events, &mut known);
            let users = model.iter().map(|(alias, holders)| {
                (alias.clone(), holders.iter().map(|(user, _)| user.clone()).collect())
            });
            assert_eq!(known, users.collect(), "seed {seed}, turn {turn}");
        }
    }
}
