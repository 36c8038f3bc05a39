//! The roles that a process runs, as a whole.

use crate::{
    acm::AcmServer,
    alias_server::AliasServer,
    config_server::ConfigServer,
    idms::IdentityServer,
    mc_server::McServer,
    outbox::{Context, Role, TimerKey},
    sip_core::SipCore,
    sip_database::SipDatabase,
    store::{Record, RecordError},
};

/// The roles that this process runs.
pub(super) struct Roles {
    pub(super) core: Option<SipCore>,
    pub(super) database: Option<SipDatabase>,
    pub(super) config_server: Option<ConfigServer>,
    pub(super) acm: Option<AcmServer>,
    pub(super) aliases: Option<AliasServer>,
    pub(super) idms: Option<IdentityServer>,
    pub(super) mc_server: Option<McServer>,
}

impl Roles {
    /// Gives a stored record to the role that it belongs to.
    pub(super) fn load(&self, record: &Record<'_>) -> Result<(), RecordError> {
        if let Some(core) = &self.core {
            core.load(record)?;
        }
        if let Some(database) = &self.database {
            database.load(record)?;
        }
        if let Some(config_server) = &self.config_server {
            config_server.load(record)?;
        }
        if let Some(acm) = &self.acm {
            acm.load(record)?;
        }
        if let Some(aliases) = &self.aliases {
            aliases.load(record)?;
        }
        if let Some(idms) = &self.idms {
            idms.load(record)?;
        }
        if let Some(mc_server) = &self.mc_server {
            mc_server.load(record)?;
        }
        Ok(())
    }

    pub(super) fn clear(&self) {
        let Self { core, database, config_server, acm, aliases, idms, mc_server } = self;
        each(core.as_ref(), SipCore::clear);
        each(database.as_ref(), SipDatabase::clear);
        each(config_server.as_ref(), ConfigServer::clear);
        each(acm.as_ref(), AcmServer::clear);
        each(aliases.as_ref(), AliasServer::clear);
        each(idms.as_ref(), IdentityServer::clear);
        each(mc_server.as_ref(), McServer::clear);
    }

    /// Wakes the role that armed a timer.
    pub(super) fn handle_timer(&self, ctx: &mut Context<'_>, timer: &TimerKey) {
        let Self { core, database, config_server, acm, idms, mc_server, .. } = self;
        match timer.role {
            Role::SipCore => each(core.as_ref(), |core| core.handle_timer(ctx, timer)),
            Role::SipDatabase => each(database.as_ref(), |it| it.handle_timer(ctx, timer)),
            Role::ConfigServer => each(config_server.as_ref(), |it| it.handle_timer(ctx, timer)),
            Role::Acm => each(acm.as_ref(), |acm| acm.handle_timer(ctx, timer)),
            Role::Idms => each(idms.as_ref(), |idms| idms.handle_timer(ctx, timer)),
            Role::McServer => each(mc_server.as_ref(), |it| it.handle_timer(ctx, timer)),
            Role::Ue => {}
        }
    }

    /// Tells each role that every record has been loaded.
    pub(super) fn handle_loaded(&self, ctx: &mut Context<'_>) {
        let Self { core, database, config_server, acm, idms, mc_server, .. } = self;
        each(core.as_ref(), |core| core.handle_loaded(ctx));
        each(database.as_ref(), |database| database.handle_loaded(ctx));
        each(config_server.as_ref(), |server| server.handle_loaded(ctx));
        each(acm.as_ref(), |acm| acm.handle_loaded(ctx));
        each(idms.as_ref(), |idms| idms.handle_loaded(ctx));
        each(mc_server.as_ref(), |server| server.handle_loaded(ctx));
    }
}

/// Calls a role, if it is run here.
pub(super) fn each<R>(role: Option<&R>, call: impl FnOnce(&R)) {
    if let Some(role) = role {
        call(role);
    }
}
