//! The ACM server of one system and its users.

use std::sync::Arc;

use serde_json::Value;

use super::DemoError;
use crate::{
    api::acm_payload::Kind,
    identity::{FunctionalAlias, McServiceGroupId, McServiceId, McSystemId},
    node::{
        SystemEntropy,
        client::{ClientError, ManagementClient},
        config::Part,
        demo::Site,
        http_client::Endpoint,
        management::escape,
        tls::Trust,
    },
    token::BearerToken,
};

/// One system, as its administrators know it.
pub(super) struct Office {
    /// What ladders call its ACM server.
    pub(super) server_name: Arc<str>,
    /// What ladders call its configuration management server.
    pub(super) config_server: Arc<str>,
    /// The first label of its domain.
    pub(super) letter: String,
    pub(super) system: McSystemId,
    pub(super) domain: String,
    pub(super) server: Endpoint,
    pub(super) management: ManagementClient,
    /// Whom clients believe.
    pub(super) trust: Trust,
    users: Vec<(String, McServiceId, BearerToken)>,
}

impl Office {
    pub(super) fn new(site: &Site, names: &[&str]) -> Result<Self, DemoError> {
        let config = site.config();
        let domain = config.system.domain.clone();
        let server = site.url(Part::Acm, config.acm.client_listen);
        let mut entropy = SystemEntropy::new();
        let users = names.iter().map(|name| {
            let id = service_id(&format!("sip:{name}@{domain}"))?;
            Ok(((*name).to_owned(), id, BearerToken::draw(&mut entropy)))
        });
        let users = users.collect::<Result<_, DemoError>>()?;
        let system = config.acm.server.system.clone();
        let id = system.as_str();
        let host = id.split_once(':').map_or(id, |(_, host)| host);
        Ok(Self {
            server_name: format!("acm.{host}").into(),
            config_server: format!("cms.{host}").into(),
            letter: domain.split('.').next().unwrap_or_default().to_owned(),
            server: server.parse().map_err(|_| DemoError::Missing("an address of ACM clients"))?,
            management: site.management()?,
            trust: site.trust().clone(),
            system,
            domain,
            users,
        })
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.users.iter().any(|(known, ..)| known == name)
    }

    /// A user of this system and the token that its client presents.
    pub(super) fn user(&self, name: &str) -> Result<(McServiceId, BearerToken), DemoError> {
        let found = self.users.iter().find(|(known, ..)| known == name);
        let found = found.ok_or(DemoError::Missing("a user of an ACM server"))?;
        Ok((found.1.clone(), found.2.clone()))
    }

    /// Says what a user may begin and decide.
    pub(super) async fn allow(
        &self,
        name: &str,
        may_request: &[Kind],
        may_decide: &[Kind],
    ) -> Result<(), DemoError> {
        let (id, token) = self.user(name)?;
        Ok(self.management.put_acm_user(&id, &token, may_request, may_decide).await?)
    }

    /// The revision of what UEs of this system are told of another one, if they are told anything.
    pub(super) async fn revision_of(&self, other: &McSystemId) -> Result<Option<u64>, DemoError> {
        let path = format!("/v1/system-configurations/{}", escape(other.as_str()));
        match self.management.get::<Value>("show what is in force", &path).await {
            Ok(found) => Ok(found.get("revision").and_then(Value::as_u64)),
            Err(ClientError::Refused { status: 404, .. }) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// A group that is at home here.
    pub(super) fn group(&self, name: &str) -> Result<McServiceGroupId, DemoError> {
        McServiceGroupId::parse(&format!("sip:{name}@{}", self.domain))
            .map_err(|_| DemoError::Missing("a domain that makes identities"))
    }

    pub(super) fn alias(&self, name: &str) -> Result<FunctionalAlias, DemoError> {
        FunctionalAlias::parse(&format!("sip:{name}@{}", self.domain))
            .map_err(|_| DemoError::Missing("a domain that makes identities"))
    }

    /// A user activates an alias, deactivates it, or takes it over.
    pub(super) async fn hold(
        &self,
        alias: &FunctionalAlias,
        name: &str,
        hold: Hold,
    ) -> Result<(), DemoError> {
        let (id, _) = self.user(name)?;
        let path = format!(
            "/v1/functional-aliases/{}/holders/{}",
            escape(alias.as_str()),
            escape(id.as_str())
        );
        let what = "change a functional alias";
        let done = match hold {
            Hold::Activate => self.management.put_nothing(what, &path).await,
            Hold::TakeOver => self.management.put_nothing(what, &(path + "?take-over=true")).await,
            Hold::Deactivate => self.management.delete(what, &path).await,
        };
        Ok(done?)
    }
}

/// What a user does with an alias.
#[derive(Clone, Copy, Debug)]
pub(super) enum Hold {
    Activate,
    Deactivate,
    TakeOver,
}

pub(super) fn service_id(text: &str) -> Result<McServiceId, DemoError> {
    McServiceId::parse(text).map_err(|_| DemoError::Missing("a domain that makes identities"))
}
