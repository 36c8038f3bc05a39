//! The ACM client of one administrator, who logs on and off.

use std::sync::Arc;

use tokio::{sync::mpsc, task::JoinHandle};

use super::{DemoError, WAIT_MAX, differs, office::Office};
use crate::{
    api::{
        acm_client::{
            Begin, Decision, Item, Notification, PAGE_ITEMS_MAX, Progress, SessionId, Summary,
        },
        acm_interconnection::{ResultCode, TransactionId, TransactionKey},
        acm_payload::{Kind, Parties, Payload},
    },
    identity::{FunctionalAlias, McServiceGroupId, McSystemId},
    node::{
        Clock, SystemEntropy,
        acm_client::{AcmClient, Administrator, ConnectionError, Events},
        ladder::{Entry, Protocol, Tap},
        metrics::Direction,
    },
    token::BearerToken,
};

/// One administrator's client. What it sends and is told shows in the ladder.
pub(super) struct Desk {
    /// What ladders call it: `anna.a`.
    name: Arc<str>,
    server: Arc<str>,
    client: AcmClient,
    tap: Tap,
    clock: Clock,
    log_on: Option<LogOn>,
}

struct LogOn {
    session: SessionId,
    told: mpsc::Receiver<Notification>,
    reading: JoinHandle<()>,
}

impl Desk {
    pub(super) fn new(
        office: &Office,
        name: &str,
        (tap, clock): (&Tap, Clock),
    ) -> Result<Self, DemoError> {
        let (user, token) = office.user(name)?;
        let server = office.server.clone();
        Ok(Self {
            name: format!("{name}.{}", office.letter).into(),
            server: Arc::clone(&office.server_name),
            client: AcmClient::trusting(Administrator { server, user, token }, &office.trust),
            tap: tap.clone(),
            clock,
            log_on: None,
        })
    }

    pub(super) async fn log_on(&mut self) -> Result<(), DemoError> {
        self.sends("POST /acm/v1/sessions");
        let session = self.client.log_on().await?;
        let events = self.client.events(session, None).await?;
        let (sender, told) = mpsc::channel(64);
        let (name, server, tap) =
            (Arc::clone(&self.name), Arc::clone(&self.server), self.tap.clone());
        let reading = tokio::spawn(read(events, (server, name), (tap, self.clock), sender));
        self.log_on = Some(LogOn { session, told, reading });
        Ok(())
    }

    pub(super) async fn log_off(&mut self) -> Result<(), DemoError> {
        if let Some(LogOn { session, reading, .. }) = self.log_on.take() {
            self.sends("DELETE /acm/v1/sessions");
            self.client.log_off(session).await?;
            reading.abort();
        }
        Ok(())
    }

    /// Waits until it is told that something of a kind is pending.
    pub(super) async fn told(&mut self, kind: Kind, is_response: bool) -> Result<(), DemoError> {
        let log_on = self.log_on.as_mut().ok_or(DemoError::Missing("a log-on"))?;
        let is_it = |it: &Notification| (it.kind, it.is_response) == (kind, is_response);
        let told = async {
            while let Some(notification) = log_on.told.recv().await {
                if is_it(&notification) {
                    return true;
                }
            }
            false
        };
        let what = if is_response { "response" } else { "request" };
        match tokio::time::timeout(WAIT_MAX, told).await {
            Ok(true) => Ok(()),
            Ok(false) | Err(_) => Err(differs(format!(
                "{} was not told that a {what} of kind {} is pending",
                self.name,
                kind.as_str()
            ))),
        }
    }

    /// What is pending.
    pub(super) async fn list(&self) -> Result<Vec<Summary>, DemoError> {
        self.sends("GET /acm/v1/items");
        Ok(self.client.list(None, PAGE_ITEMS_MAX).await?.items)
    }

    /// What is pending of one kind, which must be one item.
    pub(super) async fn list_one(&self, kind: Kind) -> Result<TransactionKey, DemoError> {
        let items = self.list().await?;
        match items.as_slice() {
            [one] if one.kind == kind => Ok(one.key.clone()),
            items => {
                Err(differs(format!("{} sees {} items instead of one", self.name, items.len())))
            }
        }
    }

    pub(super) async fn fetch(&self, key: &TransactionKey) -> Result<Item, DemoError> {
        self.sends("GET /acm/v1/items/{origin}/{transaction}");
        Ok(self.client.item(key).await?)
    }

    pub(super) async fn decide(
        &self,
        key: &TransactionKey,
        decision: Decision,
        alias: Option<&FunctionalAlias>,
    ) -> Result<Option<ResultCode>, ConnectionError> {
        self.sends("POST /acm/v1/items/{origin}/{transaction}/decision");
        self.client.decide(key, &decision, alias).await
    }

    pub(super) async fn acknowledge(&self, key: &TransactionKey) -> Result<(), DemoError> {
        self.sends("POST /acm/v1/items/{origin}/{transaction}/acknowledgement");
        Ok(self.client.acknowledge(key).await?)
    }

    pub(super) async fn begin(
        &self,
        to: &McSystemId,
        parties: Parties,
        payload: Payload,
    ) -> Result<TransactionId, ConnectionError> {
        self.begin_as(None, to, parties, payload).await
    }

    /// Begins a transaction of a name.
    pub(super) async fn begin_as(
        &self,
        transaction: Option<TransactionId>,
        to: &McSystemId,
        parties: Parties,
        payload: Payload,
    ) -> Result<TransactionId, ConnectionError> {
        self.sends("POST /acm/v1/transactions");
        let destination = to.clone();
        let begin = Begin { transaction, destination, parties, payload, expires: None };
        self.client.begin(&begin).await
    }

    pub(super) async fn cancel(&self, transaction: TransactionId) -> Result<(), DemoError> {
        self.sends("DELETE /acm/v1/transactions/{transaction}");
        Ok(self.client.cancel(transaction).await?)
    }

    pub(super) async fn put_group(&self, group: &McServiceGroupId) -> Result<(), ConnectionError> {
        self.sends("PUT /acm/v1/groups/{group}");
        self.client.put_group(group).await
    }

    pub(super) async fn withdraw_group(&self, group: &McServiceGroupId) -> Result<(), DemoError> {
        self.sends("DELETE /acm/v1/groups/{group}");
        Ok(self.client.withdraw_group(group).await?)
    }

    /// How a transaction stands. This is for the demonstration, and does not show in the ladder.
    pub(super) async fn progress(&self, transaction: TransactionId) -> Result<Progress, DemoError> {
        Ok(self.client.progress(transaction).await?)
    }

    /// Waits until a transaction stands as `is_it` says.
    pub(super) async fn stands(
        &self,
        transaction: TransactionId,
        what: &str,
        is_it: impl Fn(&Progress) -> bool,
    ) -> Result<Progress, DemoError> {
        let waited = async {
            loop {
                let progress = self.progress(transaction).await?;
                if is_it(&progress) {
                    return Ok(progress);
                }
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        let waited = tokio::time::timeout(WAIT_MAX, waited).await;
        waited.unwrap_or_else(|_| Err(differs(format!("the transaction is not {what}"))))
    }

    /// How many items are pending. This is for the demonstration, and does not show in the ladder.
    pub(super) async fn look(&self) -> Result<usize, DemoError> {
        Ok(self.client.list(None, PAGE_ITEMS_MAX).await?.items.len())
    }

    /// The groups of a system that are known here and in use. Does not show in the ladder, either.
    pub(super) async fn known_groups(
        &self,
        home: &McSystemId,
    ) -> Result<Vec<McServiceGroupId>, DemoError> {
        let known = self.client.groups(Some(home), None).await?.items;
        Ok(known.into_iter().filter(|it| !it.withdrawn).map(|it| it.group).collect())
    }

    /// The same client with a token that is not its user's.
    pub(super) fn with_another_token(mut self) -> Self {
        let token = BearerToken::draw(&mut SystemEntropy::new());
        self.client = self.client.clone().presenting_token(token);
        self
    }

    fn sends(&self, summary: &str) {
        self.tap.record(Entry {
            at: self.clock.now(),
            step: None,
            from: Arc::clone(&self.name),
            to: Arc::clone(&self.server),
            protocol: Protocol::Http,
            direction: Direction::Out,
            local: None,
            remote: None,
            summary: summary.to_owned(),
            octets: 0,
        });
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        if let Some(LogOn { reading, .. }) = &self.log_on {
            reading.abort();
        }
    }
}

/// Reads what a log-on is told, until it ends.
async fn read(
    mut events: Events,
    (server, name): (Arc<str>, Arc<str>),
    (tap, clock): (Tap, Clock),
    sender: mpsc::Sender<Notification>,
) {
    while let Ok(event) = events.next().await {
        let Ok(told) = serde_json::from_str::<Notification>(&event.data) else { continue };
        tap.record(Entry {
            at: clock.now(),
            step: None,
            from: Arc::clone(&server),
            to: Arc::clone(&name),
            protocol: Protocol::Http,
            direction: Direction::In,
            local: None,
            remote: None,
            summary: format!("pending: {}", told.kind.as_str()),
            octets: event.data.len(),
        });
        if sender.send(told).await.is_err() {
            return;
        }
    }
}
