//! Steps 1 to 13 for many UEs: asks a configuration management server for connection details, when each is due
//! whatever the answers do.
//!
//! On a thread and runtime of its own beside each thread that registers: HTTP costs far more than SIP here.

use std::{sync::Arc, time::Instant};

use bytes::Bytes;
use serde::Deserialize;
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    arrival::Share,
    cause::{Cause, Step},
    handover::{Pair, Teller, Told},
    http_pool::{Due, HttpPool, nanos},
    subscribers::Subscribers,
};
use crate::{
    api::connection_details::{Location, Request},
    identity::UserIdentity,
    node::{
        csc4::DETAILS_PATH,
        http::PROBLEM_TYPES,
        http_client::{Answer, Endpoint, HttpError},
        tls::Trust,
    },
};

/// Whom to ask for what.
#[derive(Clone, Debug)]
pub(super) struct Inquiry {
    /// CSC-4 of the home system.
    pub(super) server: Endpoint,
    /// Whom to believe there.
    pub(super) trust: Trust,
    /// Where the UEs are.
    pub(super) location: Location,
}

/// Asks for the UEs of one thread, each once.
pub(super) struct Asker {
    subscribers: Arc<Subscribers>,
    share: Share,
    inquiry: Inquiry,
    http: HttpPool,
}

/// What is needed of an answer.
#[derive(Deserialize)]
struct Details {
    identity: UserIdentity,
}

/// What is needed of a refusal.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    #[serde(rename = "type")]
    kind: String,
}

impl Asker {
    pub(super) fn new(subscribers: Arc<Subscribers>, share: Share, inquiry: Inquiry) -> Self {
        let http = HttpPool::new(inquiry.server.clone(), inquiry.trust.clone());
        Self { subscribers, share, inquiry, http }
    }

    /// How many UEs it asks for.
    pub(super) fn ues(&self) -> u32 {
        u32::try_from(self.share.part(self.subscribers.len() as u64)).unwrap_or(u32::MAX)
    }

    /// Asks for all that are due, until no more will be, and hands everybody over.
    pub(super) async fn run(
        self: Arc<Self>,
        mut due: mpsc::Receiver<Due>,
        start: Instant,
        teller: Teller,
    ) {
        let mut under_way = JoinSet::new();
        while let Some(Due { number: ue, intended }) = due.recv().await {
            let (asker, teller) = (Arc::clone(&self), teller.clone());
            let late = nanos(start.elapsed()).saturating_sub(intended);
            under_way.spawn(async move {
                let (status, outcome) = asker.ask(ue).await;
                let took = nanos(start.elapsed()).saturating_sub(intended);
                teller.tell(Told { ue, intended, late, took, status, outcome });
            });
            while under_way.try_join_next().is_some() {}
        }
        while under_way.join_next().await.is_some() {}
    }

    async fn ask(&self, ue: u32) -> (u16, Result<Pair, Cause>) {
        let subscriber = self.share.number(ue);
        let Some((mc_service_id, token)) = self.subscribers.user(subscriber) else {
            return (0, Err(Cause::NoUser));
        };
        let location = self.inquiry.location.clone();
        let request = Request { mc_service_id, location, partner: None, strict: false };
        let body = serde_json::to_vec(&request).map(Bytes::from).unwrap_or_default();
        match self.http.post(DETAILS_PATH, Some(&token), body).await {
            Ok(answer) => (answer.status.as_u16(), told(&answer)),
            Err(HttpError::TooLate) => (0, Err(Cause::Timeout(Step::Details))),
            Err(_) => (0, Err(Cause::NoHttp)),
        }
    }
}

/// What an answer says.
fn told(answer: &Answer) -> Result<Pair, Cause> {
    let status = answer.status.as_u16();
    if !answer.status.is_success() {
        let problem: Problem = serde_json::from_slice(&answer.body).unwrap_or_default();
        let name = problem.kind.strip_prefix(PROBLEM_TYPES).unwrap_or_default();
        let known = PROBLEMS.into_iter().find(|known| *known == name);
        return Err(known.map_or(Cause::Refused(Step::Details, status), Cause::NoDetails));
    }
    let details: Details = serde_json::from_slice(&answer.body).map_err(|_| Cause::Malformed)?;
    Ok(Pair::new(&details.identity))
}

/// The refusals of CSC-4.
const PROBLEMS: [&str; 9] = [
    "not-authenticated",
    "not-authorised",
    "partner-not-allowed",
    "no-partner",
    "refused-by-partner",
    "exhausted",
    "partner-unreachable",
    "not-configured",
    "unavailable",
];
