//! Decisions, acknowledgements, and taking back.

use serde_json::json;

use super::{
    command::{AcmError, name_of, print},
    connection::AcmClient,
    item::ItemName,
};
use crate::{
    api::{acm_client::Decision, acm_interconnection::TransactionId},
    identity::FunctionalAlias,
};

/// Decides a request of a partner.
pub(super) async fn decide(
    client: &AcmClient,
    item: ItemName,
    decision: Decision,
    alias: Option<FunctionalAlias>,
    json: bool,
) -> Result<(), AcmError> {
    let key = item.find(client).await?;
    let result = client.decide(&key, &decision, alias.as_ref()).await?;
    if json {
        return print(&format!("{}\n", json!({ "transaction": key, "result": result })));
    }
    let done = match decision {
        Decision::Accept => "accepted",
        Decision::Reject { .. } => "rejected",
    };
    print(&match result {
        Some(result) => format!("{done}: {}\n", name_of(&result)),
        None => format!("{done}; it is being put in force, and the partner is told then\n"),
    })
}

/// Says that a response has been read: its transaction is closed.
pub(super) async fn acknowledge(
    client: &AcmClient,
    item: ItemName,
    json: bool,
) -> Result<(), AcmError> {
    let key = item.find(client).await?;
    client.acknowledge(&key).await?;
    if json {
        return print(&format!("{}\n", json!({ "transaction": key, "state": "closed" })));
    }
    print("acknowledged: the transaction is closed\n")
}

/// Takes a request back.
pub(super) async fn cancel(
    client: &AcmClient,
    transaction: TransactionId,
    json: bool,
) -> Result<(), AcmError> {
    client.cancel(transaction).await?;
    if json {
        return print(&format!("{}\n", json!({ "transaction": transaction })));
    }
    print(&format!(
        "the partner is told that it is taken back; a decision made before stands: \
         migcore acm follow {transaction}\n"
    ))
}
