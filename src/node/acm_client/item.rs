//! How an item is named on the command line.

use std::str::FromStr;

use super::{command::AcmError, connection::AcmClient};
use crate::{
    api::{
        acm_client::{PAGE_ITEMS_MAX, Summary},
        acm_interconnection::{TransactionId, TransactionKey},
    },
    identity::McSystemId,
};

/// A pending item: its number in the list, its transaction, or the transaction with the system that began it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum ItemName {
    Number(u64),
    Transaction(TransactionId),
    Key(TransactionKey),
}

/// A text that names no item.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "names no item: write its number in the list, its transaction, or SYSTEM/TRANSACTION such as \
     sip:b.example/0f0e0d0c-0b0a-4908-8706-050403020100"
)]
pub(super) struct InvalidItemName;

impl FromStr for ItemName {
    type Err = InvalidItemName;

    fn from_str(text: &str) -> Result<Self, InvalidItemName> {
        if let Ok(number) = text.parse() {
            return Ok(Self::Number(number));
        }
        let Some((origin, transaction)) = text.rsplit_once('/') else {
            return text.parse().map(Self::Transaction).map_err(|_| InvalidItemName);
        };
        let origin = McSystemId::parse(origin).map_err(|_| InvalidItemName)?;
        let transaction = transaction.parse().map_err(|_| InvalidItemName)?;
        Ok(Self::Key(TransactionKey { origin, transaction }))
    }
}

impl ItemName {
    /// The item that is named so: what is no whole name is looked for in the list.
    pub(super) async fn find(self, client: &AcmClient) -> Result<TransactionKey, AcmError> {
        let mut after = match &self {
            Self::Key(key) => return Ok(key.clone()),
            Self::Number(number) => number.checked_sub(1),
            Self::Transaction(_) => None,
        };
        let is_it = |item: &Summary| match &self {
            Self::Number(number) => item.number == *number,
            Self::Transaction(transaction) => item.key.transaction == *transaction,
            Self::Key(key) => item.key == *key,
        };
        let limit = if after.is_some() { 1 } else { PAGE_ITEMS_MAX };
        loop {
            let page = client.list(after, limit).await?;
            if let Some(found) = page.items.into_iter().find(&is_it) {
                return Ok(found.key);
            }
            match page.next {
                Some(next) if limit > 1 => after = Some(next),
                Some(_) | None => return Err(AcmError::NoSuchItem),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_item_is_named_by_number_transaction_or_both_parts() {
        let id = "0f0e0d0c-0b0a-4908-8706-050403020100";
        let transaction = id.parse().unwrap();
        let origin = McSystemId::parse("sip:b.example").unwrap();
        for (text, name) in [
            ("17", Ok(ItemName::Number(17))),
            (id, Ok(ItemName::Transaction(transaction))),
            (
                &format!("sip:b.example/{id}"),
                Ok(ItemName::Key(TransactionKey { origin, transaction })),
            ),
            ("x/y", Err(InvalidItemName)),
            ("-1", Err(InvalidItemName)),
            ("", Err(InvalidItemName)),
        ] {
            assert_eq!(text.parse(), name, "{text}");
        }
    }
}
