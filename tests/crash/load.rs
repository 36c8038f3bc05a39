//! The load: threads of tasks, each with users of its own, who act while systems come and go.

use std::{rc::Rc, sync::Arc, thread::JoinHandle, time::Duration};

use tokio::{sync::watch, task::LocalSet};

use crate::{
    common::Seeded,
    history::History,
    user::{Surroundings, User},
    wire::SipLink,
};

/// Threads of clients. Both systems share the machine with them.
const THREADS: u64 = 2;

/// How many users act at a time, for each thread.
const TASKS: u64 = 48;

/// How many of the last users to have acted are compared after a restart, for each task.
const COMPARED: usize = 1;

/// Longer than a configuration server may take to answer: no request is given up that is still under way.
const HTTP_TIMEOUT: Duration = Duration::from_secs(15);

/// What the clients know of the systems.
#[derive(Clone, Copy, Debug, Default)]
pub struct Situation {
    /// How often systems were restarted.
    pub restarts: u64,
    /// Whether both serve.
    pub up: bool,
    /// The load is to end.
    pub over: bool,
}

/// Where the systems are.
#[derive(Clone, Debug)]
pub struct Addresses {
    pub sip: std::net::SocketAddr,
    pub management: [String; 2],
    pub csc4: String,
}

/// The running load.
pub struct Load(Vec<JoinHandle<Vec<User>>>);

impl Load {
    /// Provisions `users` and sets them going.
    pub fn start(
        users: u64,
        seed: u64,
        addresses: &Addresses,
        history: &Arc<History>,
        situation: &watch::Receiver<Situation>,
    ) -> Self {
        let thread = |thread| {
            let (addresses, history) = (addresses.clone(), Arc::clone(history));
            let situation = situation.clone();
            let numbers = (0..users).filter(move |user| user % THREADS == thread);
            std::thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
                let run = run(thread, numbers.collect(), seed, addresses, history, situation);
                LocalSet::new().block_on(&runtime.unwrap(), run)
            })
        };
        Self((0..THREADS).map(thread).collect())
    }

    /// Whether a thread has panicked.
    pub fn has_failed(&self) -> bool {
        self.0.iter().any(JoinHandle::is_finished)
    }

    /// Waits until all users have come to rest, and returns them.
    pub fn join(self) -> Vec<User> {
        self.0.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    }
}

async fn run(
    thread: u64,
    numbers: Vec<u64>,
    seed: u64,
    addresses: Addresses,
    history: Arc<History>,
    situation: watch::Receiver<Situation>,
) -> Vec<User> {
    let link = SipLink::open(addresses.sip, (thread + 1) << 48).await;
    migcore::node::tls::use_ring();
    let http = reqwest::Client::builder().timeout(HTTP_TIMEOUT).build().unwrap();
    let Addresses { management, csc4, .. } = addresses;
    let at = Surroundings { link: Rc::clone(&link), http, history, management, csc4, situation };
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let numbers = numbers.iter().copied().enumerate();
            let mine = numbers.filter(|(index, _)| *index as u64 % TASKS == task);
            let mine = mine.map(|(_, number)| number).collect();
            let entropy = Seeded(seed ^ ((thread + 1) << 32 | (task + 1) << 16));
            tokio::task::spawn_local(act(mine, entropy, at.clone()))
        })
        .collect();
    let mut users = Vec::new();
    for task in tasks {
        users.extend(task.await.unwrap());
    }
    users
}

/// One task: its users act in random order until the load is over; then each is compared.
async fn act(numbers: Vec<u64>, mut entropy: Seeded, mut at: Surroundings) -> Vec<User> {
    let mut users = Vec::new();
    for number in numbers {
        let user = User::new(number, at.link.local, &mut entropy);
        user.provision(&at).await;
        users.push(user);
    }
    for user in &mut users {
        user.settle_bindings(&mut at).await;
    }
    let mut last_acted: Vec<usize> = Vec::new();
    let mut restarts = 0;
    loop {
        let situation = *at.situation.borrow();
        if situation.over || users.is_empty() {
            break;
        }
        if situation.up && situation.restarts != restarts {
            restarts = situation.restarts;
            for index in last_acted.drain(..) {
                users[index].compare(&mut at).await;
            }
        }
        let index = usize::try_from(entropy.below(users.len() as u64)).unwrap();
        users[index].act(&mut at, &mut entropy).await;
        last_acted.retain(|acted| *acted != index);
        last_acted.push(index);
        if last_acted.len() > COMPARED {
            last_acted.remove(0);
        }
    }
    for user in &mut users {
        user.compare(&mut at).await;
    }
    users
}
