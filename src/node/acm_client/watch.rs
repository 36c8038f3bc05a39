//! A client that is logged on: it is told what is pending, until it logs off.

use std::{num::NonZeroUsize, pin::pin, time::Duration};

use super::{
    command::{AcmError, name_of, note, print},
    connection::{AcmClient, ConnectionError},
    events::Event,
};
use crate::{
    api::acm_client::{Notification, SessionId},
    node::Clock,
    time::Timestamp,
};

/// How soon a lost connection is tried again; twice as long after each failure.
const AGAIN_FIRST: Duration = Duration::from_millis(250);
/// At most so long apart are attempts.
const AGAIN_MAX: Duration = Duration::from_secs(8);

/// Logs on, prints what it is told, and logs off at the end.
pub(super) async fn run(
    client: &AcmClient,
    count: Option<NonZeroUsize>,
    json: bool,
    end: impl Future<Output = ()>,
) -> Result<(), AcmError> {
    let mut end = pin!(end);
    let mut log_on = pin!(client.log_on());
    let session = tokio::select! {
        session = &mut log_on => session?,
        () = &mut end => {
            // It may be done already: then it has an end, too.
            let session = log_on.await?;
            return Ok(client.log_off(session).await?);
        }
    };
    note(&"logged on; SIGINT (Ctrl-C) or SIGTERM logs off");
    let mut watch = Watch { client, session, last: None, json };
    let outcome = tokio::select! {
        outcome = watch.tell(count) => outcome,
        () = &mut end => Ok(()),
    };
    let ended = client.log_off(watch.session).await;
    outcome?;
    ended?;
    note(&"logged off");
    Ok(())
}

struct Watch<'a> {
    client: &'a AcmClient,
    session: SessionId,
    /// What was told last.
    last: Option<String>,
    json: bool,
}

impl Watch<'_> {
    /// Prints so many notifications, or all that come.
    async fn tell(&mut self, count: Option<NonZeroUsize>) -> Result<(), AcmError> {
        let mut left = count.map_or(usize::MAX, NonZeroUsize::get);
        let mut pause = AGAIN_FIRST;
        loop {
            let why = match self.client.events(self.session, self.last.as_deref()).await {
                Ok(mut events) => loop {
                    match events.next().await {
                        Ok(event) => {
                            pause = AGAIN_FIRST;
                            left -= usize::from(self.print(event)?);
                            if left == 0 {
                                return Ok(());
                            }
                        }
                        Err(ended) => break ended.to_string(),
                    }
                },
                // The server has forgotten the log-on.
                Err(ConnectionError::Refused { refusal, .. }) if refusal.status == 404 => {
                    self.session = self.client.log_on().await?;
                    note(&"the log-on was over; logged on again");
                    continue;
                }
                Err(error) if error.is_temporary() => error.to_string(),
                Err(error) => return Err(error.into()),
            };
            note(&format_args!("{why}; trying again in {} s", pause.as_secs_f32()));
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(AGAIN_MAX);
        }
    }

    /// Prints one notification. Returns whether it was one.
    fn print(&mut self, Event { name, id, data }: Event) -> Result<bool, AcmError> {
        if id.is_some() {
            self.last = id;
        }
        if name != "pending" {
            return Ok(false);
        }
        let told: Notification = serde_json::from_str(&data).map_err(AcmError::Json)?;
        print(&if self.json { format!("{data}\n") } else { line(&told, Clock::start().now()) })?;
        Ok(true)
    }
}

fn line(told: &Notification, now: Timestamp) -> String {
    let Notification { kind, is_response, count, last, .. } = told;
    let now = Timestamp::from_secs(now.as_secs()).to_rfc3339();
    let what = match (is_response, count) {
        (false, 0) => return format!("{now}  no request of kind {} is pending\n", name_of(kind)),
        (true, 0) => return format!("{now}  no response of kind {} is pending\n", name_of(kind)),
        (false, 1) => "1 request is pending".to_owned(),
        (false, count) => format!("{count} requests are pending"),
        (true, 1) => "1 response is pending".to_owned(),
        (true, count) => format!("{count} responses are pending"),
    };
    format!("{now}  {what} of kind {}; next: migcore acm show {last}\n", name_of(kind))
}
