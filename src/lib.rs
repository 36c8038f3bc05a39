//! `migcore`: the migration core of a mission critical (MC) system.
//!
//! A user of one MC system (the *primary*) registers by SIP and IMS-AKA in another one (the
//! *partner*): the partner lends the UE a pair of SIP identities, binds it to the pair that the
//! primary named, and fetches authentication vectors from the primary's SIP database over Diameter
//! Cx (3GPP TR 23.781 solution 2). Administrators of both exchange what that needs through their ACM servers
//! (TS 23.280 clause 10.17). "Primary" and "partner" are roles in one procedure: every system is
//! the primary of its own users and the partner of everybody else's.
//!
//! # Bird's eye view
//!
//! All protocol logic is values: state machines that take octets, values, time and randomness as
//! arguments and put what they want done into an [`outbox::Outbox`]. Two worlds perform it: [`node`]
//! with tokio on real sockets, [`sim`] in virtual time with seeded faults. Both run the very same roles.
//!
//! | Layer | Modules | Knows |
//! |---|---|---|
//! | 6 worlds | [`node`], [`sim`] | sockets, clocks, files; or virtual time |
//! | 5 roles | [`acm`], [`alias_server`], [`config_server`], [`idms`], [`mc_server`], [`sip_core`], [`sip_database`], [`ue`] | each other as messages only |
//! | 4 effects | [`outbox`] | what a role may ask for |
//! | 3 state | [`store`] | records, versions, commit numbers |
//! | 2 wire | [`sip`], [`diameter`], [`api`] | octets and values |
//! | 1 documents | [`procedure`], [`aka`], [`token`], [`ue_configuration`], [`user_profile`], [`mc_info`], [`packed`], [`deadlines`], [`patience`] | tables, arithmetic, XML |
//! | 0 values | [`identity`], [`secret`], [`entropy`], [`time`], [`step`], [`table`] | themselves |
//!
//! # Where to begin
//!
//! The 25 steps are one table, [`procedure::migration::STEPS`], which names the function and the test of
//! each. One REGISTER, from socket to reply: `node/udp.rs`, `sip_core/mod.rs` (`handle_sip`),
//! `sip_core/transaction.rs`, `sip/register.rs`, `sip_core/challenge.rs` (steps 16 and 22),
//! `sip_database/forward.rs` (steps 17, 18, 20, 21), `sip_database/vectors.rs` (step 19, in the primary),
//! `sip_core/registered.rs` (step 24). One request for connection details: `config_server/details.rs` (steps
//! 2, 4, 7, 13), `config_server/choice.rs` (step 3), and in the partner `config_server/access.rs` (steps 8, 9,
//! 12). One exchange between administrators: `acm/begin.rs` (XCFG-1, 2), `acm/delivery.rs` (3, 5, 12),
//! `acm/incoming.rs` (4), `acm/decision.rs` (10, 11), `acm/response.rs` (13); the tables of its three procedures are
//! beside that of the 25 steps. One token: `idms/log_in.rs` (a user logs in), `idms/grant.rs` (tokens at home),
//! `idms/exchange.rs` (a security token for a partner), `idms/visit.rs` (tokens at the partner, ISO-2), over `token/`. One
//! service authorisation: `ue/agent.rs` or `ue/publisher.rs`, `sip_core/third_party.rs` or `sip_core/originating.rs`, then
//! `mc_server/registered.rs` or `mc_server/publish.rs`, over `mc_info/`.
//!
//! # Invariants, as absences
//!
//! * No module below layer 6 names a socket, a file, a clock or a generator of random numbers; without
//!   the feature `node` the crate builds without tokio. (`tests/architecture.rs`, `.clippy.toml`)
//! * No module names one of a higher layer, no role another role. (`tests/architecture.rs`)
//! * No message leaves before every record that it discloses or relies on is durable, repeated answers
//!   included: [`outbox::Outbox::send_after`] asks for the commit number. (`tests/simulation.rs`)
//! * No (IMPI, SQN) leaves a SIP database twice, and no generated identity is lent twice, not even after
//!   a crash. (`tests/simulation.rs`, `tests/sip_database_pool.rs`)
//! * No input from the wire panics or grows anything without bound: every table, queue and message has a
//!   named maximum. (`tests/sip_fuzz.rs`, `tests/diameter_mutation.rs`)
//! * No token decides how it is verified, and none is verified before it is bounded ([`token::jws`]).
//! * No key prints, and no identity prints in full at the default log level. ([`secret`], [`identity`])
//! * No table is iterated by a role, so the simulated world repeats itself from its seed.
//!
//! # Words
//!
//! One name per thing, the field's own. SIP core: registrar, P-, I- and S-CSCF in one. SIP database: HSS.
//! IMPI and IMPU: SIP private and public user identity. "Get SIP authentication information": Cx MAR and
//! MAA. Vector: RAND, AUTN, XRES, CK, IK.

pub mod acm;
pub mod aka;
pub mod alias_server;
pub mod api;
pub mod config_server;
pub mod deadlines;
pub mod diameter;
pub mod entropy;
pub mod identity;
pub mod idms;
pub mod mc_info;
pub mod mc_server;
#[cfg(feature = "node")]
pub mod node;
pub mod outbox;
pub mod packed;
pub mod patience;
#[cfg(feature = "planted-bugs")]
pub mod planted;
pub mod procedure;
pub mod secret;
pub mod sim;
pub mod sip;
pub mod sip_core;
pub mod sip_database;
pub mod step;
pub mod store;
pub mod table;
pub mod time;
pub mod token;
pub mod ue;
pub mod ue_configuration;
pub mod user_profile;
