//! What administrators, and UEs before they migrate, ask over HTTP.

use migcore::{
    api::migration_identity::Direction,
    identity::{Impi, UserIdentity},
    time::Timestamp,
};
use serde_json::Value;

use crate::user::{PAUSE, Surroundings, system_of};

/// What came of asking for a pair.
#[derive(Clone, Debug)]
pub enum Told {
    /// The pair, and until when it is kept.
    Lent(UserIdentity, Timestamp),
    /// A definite refusal with this status.
    Refused(u16),
}

impl Surroundings {
    /// Provisions something at A.
    pub async fn put(&self, path: &str, body: &Value) {
        let url = format!("{}{path}", self.management[0]);
        let response = self.http.put(url).json(body).send().await.unwrap();
        let status = response.status();
        assert!(status.is_success(), "{path}: {status} {}", response.text().await.unwrap());
    }

    /// Asks for a pair. `None` is no definite answer.
    pub async fn bind(&self, direction: Direction, body: &Value) -> Option<Told> {
        let (status, answer) =
            self.send(self.http.post(self.bindings(direction)).json(body)).await?;
        Some(told(status, &answer, &answer["reserved_until"]))
    }

    /// Asks for connection details with the bearer token of a user.
    pub async fn details(&self, token: &str, body: &Value) -> Option<Told> {
        let url = format!("{}/csc-4/v1/connection-details", self.csc4);
        let (status, answer) = self.send(self.http.post(url).bearer_auth(token).json(body)).await?;
        Some(told(status, &answer["identity"], &answer["valid_until"]))
    }

    /// Releases a pair. `None` is no definite answer, else it is the status.
    pub async fn release(&self, direction: Direction, impi: &Impi) -> Option<u16> {
        let url = format!("{}/{}", self.bindings(direction), impi.as_str());
        self.send(self.http.delete(url)).await.map(|(status, _)| status)
    }

    /// Whether the system shows the pair as lent. `None` is no definite answer.
    pub async fn is_bound(&self, direction: Direction, impi: &Impi) -> Option<bool> {
        let url = format!("{}/{}", self.bindings(direction), impi.as_str());
        let (status, _) = self.send(self.http.get(url)).await?;
        self.history.compared.add();
        Some(status == 200)
    }

    fn bindings(&self, direction: Direction) -> String {
        let kind = match direction {
            Direction::Outbound => "outbound",
            Direction::Inbound => "inbound",
        };
        format!("{}/v1/bindings/{kind}", self.management[system_of(direction)])
    }

    /// Status and body, if there is a definite answer.
    async fn send(&self, request: reqwest::RequestBuilder) -> Option<(u16, Value)> {
        let Ok(response) = request.send().await else {
            tokio::time::sleep(PAUSE).await;
            return None;
        };
        let status = response.status().as_u16();
        if status >= 500 {
            self.history.unavailable.add();
            tokio::time::sleep(PAUSE).await;
            return None;
        }
        // A connection that ends within the body leaves the answer in doubt.
        let octets = response.bytes().await.ok()?;
        Some((status, serde_json::from_slice(&octets).unwrap_or(Value::Null)))
    }
}

fn told(status: u16, identity: &Value, until: &Value) -> Told {
    if status != 200 {
        return Told::Refused(status);
    }
    let text = |field: &str| identity[field].as_str().unwrap();
    let pair =
        UserIdentity { impi: text("impi").parse().unwrap(), impu: text("impu").parse().unwrap() };
    Told::Lent(pair, Timestamp::from_secs(until.as_u64().unwrap()))
}
