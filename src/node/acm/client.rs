//! The interface of ACM clients: the administrators of this system log on, are told what is pending, decide, and begin
//! transactions of their own (TS 23.280 clauses 10.17.2 and 10.17.3).
//!
//! Who asks is the user that the header `MC-Service-ID` names, whose bearer token it has to be.

use std::sync::Arc;

use axum::{
    Extension, Json, Router,
    extract::{Request as HttpRequest, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::{delete, get, post, put},
};
use serde::{Deserialize, Serialize};
use utoipa::{
    IntoResponses, Modify, OpenApi, ToSchema,
    openapi::{
        PathItem, Required,
        path::{ParameterBuilder, ParameterIn},
        schema::{Object, Type},
    },
};

use super::{
    body,
    refused::{AcmProblem, decided_before, refused},
};
use crate::{
    api::{
        acm_client::{
            Answer, Begin, Decision, GroupPage, Item, NO_SUCH_LOG_ON, Notification, PAGE_ITEMS_MAX,
            Page, Progress, Request, SessionId,
        },
        acm_interconnection::{Refusal, ResultCode, TransactionId, TransactionKey},
    },
    identity::{FunctionalAlias, McServiceGroupId, McServiceId, McSystemId},
    node::{
        http::{
            self, BearerScheme, Body, Ends, JsonBody, Problem, Query, Responses, Segments,
            bearer_token, refusals,
        },
        park::{Answered, NoAnswer, Parked},
        perform::{Call, Shared},
    },
    token::BearerToken,
};

/// The header that names the user.
pub const USER_HEADER: &str = "MC-Service-ID";

/// The header that says which event a client has seen last.
const LAST_EVENT_HEADER: &str = "Last-Event-ID";

/// Items of a page, unless the client says otherwise.
const PAGE_ITEMS_USUAL: usize = 100;

/// The interface description.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "migcore ACM server for ACM clients",
        description = "What is pending for the administrators of an MC system, their decisions, and their own \
                       transactions with other systems (3GPP TS 23.280 clause 10.17). The user is named by the \
                       header MC-Service-ID.",
    ),
    paths(
        log_on,
        log_off,
        follow_events,
        list_items,
        get_item,
        decide,
        acknowledge,
        begin,
        get_transaction,
        cancel_transaction,
        list_groups,
        put_group,
        withdraw_group,
        get_description,
    ),
    components(schemas(Notification)),
    modifiers(&BearerScheme, &UserHeader)
)]
struct Description;

/// Describes the header that names the user, wherever the bearer token is demanded.
struct UserHeader;

impl Modify for UserHeader {
    fn modify(&self, description: &mut utoipa::openapi::OpenApi) {
        let header = ParameterBuilder::new()
            .name(USER_HEADER)
            .parameter_in(ParameterIn::Header)
            .required(Required::True)
            .description(Some("The MC service ID of the user whose bearer token it is."))
            .schema(Some(Object::with_type(Type::String)))
            .example(Some("sip:admin@a.example".into()))
            .build();
        for item in description.paths.paths.values_mut() {
            let PathItem { get, put, post, delete, .. } = item;
            let operations = [get, put, post, delete].into_iter().flatten();
            for operation in operations.filter(|operation| operation.security.is_some()) {
                operation.parameters.get_or_insert_default().push(header.clone().into());
            }
        }
    }
}

/// The interface description, as `/openapi.json` serves it.
pub fn description() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

/// Every path with its methods; the description is tested against it.
fn operations() -> [http::Operation; 14] {
    [
        ("/acm/v1/sessions", "post", post(log_on)),
        ("/acm/v1/sessions/{session}", "delete", delete(log_off)),
        ("/acm/v1/sessions/{session}/events", "get", get(follow_events)),
        ("/acm/v1/items", "get", get(list_items)),
        ("/acm/v1/items/{origin}/{transaction}", "get", get(get_item)),
        ("/acm/v1/items/{origin}/{transaction}/decision", "post", post(decide)),
        ("/acm/v1/items/{origin}/{transaction}/acknowledgement", "post", post(acknowledge)),
        ("/acm/v1/transactions", "post", post(begin)),
        ("/acm/v1/transactions/{transaction}", "get", get(get_transaction)),
        ("/acm/v1/transactions/{transaction}", "delete", delete(cancel_transaction)),
        ("/acm/v1/groups", "get", get(list_groups)),
        ("/acm/v1/groups/{group}", "put", put(put_group)),
        ("/acm/v1/groups/{group}", "delete", delete(withdraw_group)),
        ("/openapi.json", "get", get(get_description)),
    ]
}

/// Builds the interface over the ACM server of `shared`.
pub(in crate::node) fn router(shared: Arc<Shared>) -> Router {
    http::router(operations(), shared)
}

/// What any request may be refused with.
struct Refusals;

impl IntoResponses for Refusals {
    fn responses() -> Responses {
        refusals::<AcmProblem>(&[
            (400, "The request is malformed, or `invalid-data`, `not-group-home`."),
            (
                401,
                "`not-authenticated`: the bearer token is not that of the user whom MC-Service-ID names.",
            ),
            (403, "`not-authorised`: this user may not."),
            (404, "There is no such transaction, log-on, partner, user or group."),
            (
                409,
                "`already-decided`, with the outcome; `no-response-yet`, `conflict`, `stale-revision`, `no-interconnection`.",
            ),
            (503, "`busy`, `internal`, `unavailable`: the server cannot do it now."),
        ])
    }
}

/// A log-on.
#[derive(Serialize, ToSchema)]
struct SessionView {
    /// Its number: it names the log-on, and is no credential.
    session: SessionId,
}

/// A transaction that has begun.
#[derive(Serialize, ToSchema)]
struct BegunView {
    /// Its ID.
    transaction: TransactionId,
}

/// A decision that holds.
#[derive(Serialize, ToSchema)]
struct DecidedView {
    /// What it came to; null while it is being put in force.
    result: Option<ResultCode>,
}

/// A decision.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct DecisionBody {
    /// The decision.
    decision: Decision,
    /// The functional alias under which the user decides.
    #[serde(default)]
    alias: Option<FunctionalAlias>,
}

impl JsonBody for DecisionBody {
    const OCTETS_MAX: usize = 16_384;

    fn help(field: &str) -> Option<&'static str> {
        body::help(field)
    }
}

/// Which page.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct PageQuery {
    /// The number of the last item of the page before.
    after: Option<u64>,
    /// Items at most, 1 to 1000.
    limit: Option<usize>,
}

/// Which page of which groups.
#[derive(Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct GroupsQuery {
    /// The system that they are at home in; this one if left out.
    home: Option<String>,
    /// The last group of the page before.
    after: Option<String>,
    /// Groups at most, 1 to 1000.
    limit: Option<usize>,
}

/// Who asks, as far as the connection tells.
struct Asker {
    ends: Option<Ends>,
    headers: HeaderMap,
}

type From = (Option<Extension<Ends>>, HeaderMap);

impl Asker {
    fn new((ends, headers): From) -> Self {
        Self { ends: ends.map(|Extension(ends)| ends), headers }
    }

    /// The user and what is presented; `None` if either is missing or is none.
    fn credential(&self) -> Option<(McServiceId, BearerToken)> {
        let mut named = self.headers.get_all(USER_HEADER).iter();
        let (Some(named), None) = (named.next(), named.next()) else { return None };
        let user = McServiceId::parse(named.to_str().ok()?).ok()?;
        Some((user, bearer_token(&self.headers)?))
    }

    /// Asks the role.
    async fn ask(
        &self,
        shared: &Arc<Shared>,
        operation: &'static str,
        request: Result<Request, Problem>,
    ) -> Response {
        let answered = match request {
            Ok(request) => {
                let asked = shared.ask_acm_client(self.credential(), request).await;
                asked.map_err(|none: NoAnswer| none.into())
            }
            Err(problem) => Err(problem),
        };
        self.answer(shared, operation, answered)
    }

    fn answer(
        &self,
        shared: &Shared,
        operation: &'static str,
        answered: Result<Answered<Answer>, Problem>,
    ) -> Response {
        let (step, response) = match answered {
            Ok(Answered { step, answer }) => (step, self.response(shared, answer)),
            Err(problem) => {
                shared.note_refused(None, &problem);
                (None, problem.into_response())
            }
        };
        let to = Arc::clone(&shared.names.acm_client);
        shared.observe_acm(("acm-client", operation), step, to, self.ends, &response);
        response
    }

    fn response(&self, shared: &Shared, answer: Answer) -> Response {
        match answer {
            Answer::Done => StatusCode::NO_CONTENT.into_response(),
            Answer::LoggedOn(session) => {
                (StatusCode::CREATED, Json(SessionView { session })).into_response()
            }
            Answer::Page(page) => http::not_to_be_kept(Json(page)),
            Answer::Item(item) => http::not_to_be_kept(Json(*item)),
            Answer::Decided(result) => Json(DecidedView { result }).into_response(),
            Answer::AlreadyDecided(outcome) => decided_before(outcome.as_deref()),
            Answer::Begun(transaction) => {
                (StatusCode::CREATED, Json(BegunView { transaction })).into_response()
            }
            Answer::Groups(page) => http::not_to_be_kept(Json(page)),
            Answer::Progress(progress) => http::not_to_be_kept(Json(*progress)),
            Answer::Refused(refusal) => {
                if refusal.code == ResultCode::NotAuthorised {
                    shared.note_refused_client(refusal.code.as_str());
                }
                refused(&refusal)
            }
            Answer::NotAuthenticated => {
                shared.note_refused_client("not-authenticated");
                self.not_authenticated(shared)
            }
        }
    }

    fn not_authenticated(&self, shared: &Shared) -> Response {
        let problem = Problem::new(
            StatusCode::UNAUTHORIZED,
            "not-authenticated",
            "the bearer token is not that of the user whom the header MC-Service-ID names",
            "send both, of one user",
        );
        http::challenge(&shared.config.system.domain, &self.headers, problem)
    }
}

/// Logs a client on (`XCFG-6`, `XCFG-14`, `GRP-6`, `GRP-12`): from now on it is told what is pending, by its events. The
/// log-on outlives connections and restarts; only the client ends it.
#[utoipa::path(
    post, path = "/acm/v1/sessions",
    responses((status = 201, description = "The client is logged on.", body = SessionView), Refusals),
    security(("bearer" = []))
)]
async fn log_on(State(shared): State<Arc<Shared>>, from: From) -> Response {
    Asker::new(from).ask(&shared, "log_on", Ok(Request::LogOn)).await
}

/// Logs a client off (`GRP-5`).
#[utoipa::path(
    delete, path = "/acm/v1/sessions/{session}",
    params(("session" = u64, Path, description = "The log-on.")),
    responses((status = 204, description = "Done."), Refusals),
    security(("bearer" = []))
)]
async fn log_off(
    State(shared): State<Arc<Shared>>,
    Segments(session): Segments<String>,
    from: From,
) -> Response {
    let session = session.and_then(|session| session_id(&session));
    let request = session.clone().map(|session| Request::LogOff { session });
    let response = Asker::new(from).ask(&shared, "log_off", request).await;
    if let Ok(session) = session
        && response.status() == StatusCode::NO_CONTENT
    {
        shared.acm_events.close(session);
    }
    response
}

/// Tells what is pending (`XCFG-7`, `XCFG-15`, `GRP-7a`, `GRP-13a`), as server-sent events: event `pending`, its ID a
/// number that grows, its data a Notification. A client that comes again with Last-Event-ID is told at once what
/// it has missed, and one without it everything. There is one stream for each log-on: a new one ends the one before, and so
/// does another token of the user. The end of a stream is no log-off.
#[utoipa::path(
    get, path = "/acm/v1/sessions/{session}/events",
    params(
        ("session" = u64, Path, description = "The log-on."),
        ("Last-Event-ID" = Option<u64>, Header, description = "The ID of the last event that the client has seen."),
    ),
    responses(
        (status = 200, description = "Events, until one side ends.", content_type = "text/event-stream", body = String),
        Refusals
    ),
    security(("bearer" = []))
)]
async fn follow_events(
    State(shared): State<Arc<Shared>>,
    Segments(session): Segments<String>,
    from: From,
) -> Response {
    let asker = Asker::new(from);
    let opened = session.and_then(|session| {
        let last = last_event_id(&asker.headers)?;
        Ok((session_id(&session)?, last))
    });
    let response = match opened {
        Err(problem) => problem.into_response(),
        Ok((session, last)) => {
            let credential = asker.credential();
            match (shared.acm_user(credential.as_ref()), credential) {
                (Err(none), _) => Problem::from(none).into_response(),
                (Ok(None), _) | (Ok(Some(_)), None) => asker.not_authenticated(&shared),
                (Ok(Some(user)), _) if !shared.has_acm_session(&user, session) => {
                    refused(&Refusal::new(ResultCode::InvalidData, NO_SUCH_LOG_ON))
                }
                (Ok(Some(_)), Some(credential)) => {
                    shared.follow_acm_events(credential, session, last)
                }
            }
        }
    };
    let to = Arc::clone(&shared.names.acm_client);
    shared.observe_acm(("acm-client", "follow_events"), None, to, asker.ends, &response);
    response
}

/// Lists what is pending (`XCFG-8`, `XCFG-16`, `GRP-7b`, `GRP-13b`), oldest first.
#[utoipa::path(
    get, path = "/acm/v1/items", params(PageQuery),
    responses((status = 200, description = "A page.", body = Page), Refusals),
    security(("bearer" = []))
)]
async fn list_items(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<PageQuery>,
    from: From,
) -> Response {
    let request = query.and_then(|PageQuery { after, limit }| {
        let limit = limit.unwrap_or(PAGE_ITEMS_USUAL);
        if !(1..=PAGE_ITEMS_MAX).contains(&limit) {
            return Err(malformed("limit", "is not 1 to 1000", "write a number in that range"));
        }
        Ok(Request::List { after, limit })
    });
    Asker::new(from).ask(&shared, "list_items", request).await
}

/// Gives one item (`XCFG-9`, `XCFG-17`, `GRP-8`, `GRP-14`, `UPD-5`, `UPD-10`), with secrets masked. It stays pending.
#[utoipa::path(
    get, path = "/acm/v1/items/{origin}/{transaction}",
    params(
        ("origin" = String, Path, description = "The system that began it, percent-encoded.", example = "sip:b.example"),
        ("transaction" = String, Path, description = "The transaction."),
    ),
    responses((status = 200, description = "The item.", body = Item), Refusals),
    security(("bearer" = []))
)]
async fn get_item(
    State(shared): State<Arc<Shared>>,
    Segments(key): Segments<(String, String)>,
    from: From,
) -> Response {
    let request = key.and_then(transaction_key).map(Request::Fetch);
    Asker::new(from).ask(&shared, "get_item", request).await
}

/// Decides a request of a partner (`XCFG-11`, `GRP-9`, `UPD-7`). The first decision holds.
#[utoipa::path(
    post, path = "/acm/v1/items/{origin}/{transaction}/decision", request_body = DecisionBody,
    params(
        ("origin" = String, Path, description = "The system that began it, percent-encoded."),
        ("transaction" = String, Path, description = "The transaction."),
    ),
    responses((status = 200, description = "The decision holds.", body = DecidedView), Refusals),
    security(("bearer" = []))
)]
async fn decide(
    State(shared): State<Arc<Shared>>,
    Segments(key): Segments<(String, String)>,
    from: From,
    Body(body): Body<DecisionBody>,
) -> Response {
    let request = key.and_then(transaction_key).and_then(|item| {
        let DecisionBody { decision, alias } = body?;
        Ok(Request::Decide { item, decision, alias })
    });
    Asker::new(from).ask(&shared, "decide", request).await
}

/// Says that the response to a request of one's own has been read.
#[utoipa::path(
    post, path = "/acm/v1/items/{origin}/{transaction}/acknowledgement",
    params(
        ("origin" = String, Path, description = "This system, percent-encoded."),
        ("transaction" = String, Path, description = "The transaction."),
    ),
    responses((status = 204, description = "Done."), Refusals),
    security(("bearer" = []))
)]
async fn acknowledge(
    State(shared): State<Arc<Shared>>,
    Segments(key): Segments<(String, String)>,
    from: From,
) -> Response {
    let request = key.and_then(transaction_key).map(Request::Acknowledge);
    Asker::new(from).ask(&shared, "acknowledge", request).await
}

/// Begins a transaction (`XCFG-1`, `GRP-1`, `UPD-1`): once, however often it is asked for under one ID.
#[utoipa::path(
    post, path = "/acm/v1/transactions", request_body = Begin,
    responses((status = 201, description = "It has begun.", body = BegunView), Refusals),
    security(("bearer" = []))
)]
async fn begin(
    State(shared): State<Arc<Shared>>,
    ends: Option<Extension<Ends>>,
    request: HttpRequest,
) -> Response {
    let (parts, stream) = request.into_parts();
    let asker = Asker::new((ends, parts.headers));
    let credential = asker.credential();
    let answered = match shared.acm_user(credential.as_ref()) {
        Err(none) => Err(none.into()),
        // Not a word of what it sends is read.
        Ok(None) => Ok(Answered { step: None, answer: Answer::NotAuthenticated }),
        Ok(Some(user)) => {
            match body::read(&shared, body::Sender::User(&user), &asker.headers, stream).await {
                Ok(read) => {
                    body::ask(&shared, Parked::AcmClient, read, |to, begin: Begin| {
                        Call::AcmClient { to, credential, request: Request::Send(Box::new(begin)) }
                    })
                    .await
                }
                Err(problem) => Err(problem),
            }
        }
    };
    asker.answer(&shared, "begin", answered)
}

/// Tells how a transaction of this system stands.
#[utoipa::path(
    get, path = "/acm/v1/transactions/{transaction}",
    params(("transaction" = String, Path, description = "The transaction.")),
    responses((status = 200, description = "How it stands.", body = Progress), Refusals),
    security(("bearer" = []))
)]
async fn get_transaction(
    State(shared): State<Arc<Shared>>,
    Segments(transaction): Segments<String>,
    from: From,
) -> Response {
    let request = transaction.and_then(|id| transaction_id(&id)).map(Request::Follow);
    Asker::new(from).ask(&shared, "get_transaction", request).await
}

/// Takes a request back. It is over when the partner says so.
#[utoipa::path(
    delete, path = "/acm/v1/transactions/{transaction}",
    params(("transaction" = String, Path, description = "The transaction.")),
    responses((status = 204, description = "It is being taken back."), Refusals),
    security(("bearer" = []))
)]
async fn cancel_transaction(
    State(shared): State<Arc<Shared>>,
    Segments(transaction): Segments<String>,
    from: From,
) -> Response {
    let request = transaction.and_then(|id| transaction_id(&id)).map(Request::Cancel);
    Asker::new(from).ask(&shared, "cancel_transaction", request).await
}

/// Lists the interconnection groups that are known of a system: of this one, or what a partner has told of its own.
#[utoipa::path(
    get, path = "/acm/v1/groups", params(GroupsQuery),
    responses((status = 200, description = "A page.", body = GroupPage), Refusals),
    security(("bearer" = []))
)]
async fn list_groups(
    State(shared): State<Arc<Shared>>,
    Query(query): Query<GroupsQuery>,
    from: From,
) -> Response {
    let request = query.and_then(|GroupsQuery { home, after, limit }| {
        let limit = limit.unwrap_or(PAGE_ITEMS_USUAL);
        if !(1..=PAGE_ITEMS_MAX).contains(&limit) {
            return Err(malformed("limit", "is not 1 to 1000", "write a number in that range"));
        }
        let home = home.map(|home| {
            let fix = "write an MC system ID, such as sip:b.example";
            McSystemId::parse(&home).map_err(|error| malformed("home", &error.to_string(), fix))
        });
        let after = after.map(|after| group_id(&after)).transpose()?;
        Ok(Request::ListGroups { home: home.transpose()?, after, limit })
    });
    Asker::new(from).ask(&shared, "list_groups", request).await
}

/// Says that an interconnection group is at home here.
#[utoipa::path(
    put, path = "/acm/v1/groups/{group}",
    params(("group" = String, Path, description = "The group, percent-encoded.", example = "sip:group@a.example")),
    responses((status = 204, description = "Done."), Refusals),
    security(("bearer" = []))
)]
async fn put_group(
    State(shared): State<Arc<Shared>>,
    Segments(group): Segments<String>,
    from: From,
) -> Response {
    let request = group.and_then(|group| group_id(&group)).map(Request::PutGroup);
    Asker::new(from).ask(&shared, "put_group", request).await
}

/// Says that an interconnection group of this system is no more. Partners who have been offered it are told.
#[utoipa::path(
    delete, path = "/acm/v1/groups/{group}",
    params(("group" = String, Path, description = "The group, percent-encoded.")),
    responses((status = 204, description = "Done."), Refusals),
    security(("bearer" = []))
)]
async fn withdraw_group(
    State(shared): State<Arc<Shared>>,
    Segments(group): Segments<String>,
    from: From,
) -> Response {
    let request = group.and_then(|group| group_id(&group)).map(Request::WithdrawGroup);
    Asker::new(from).ask(&shared, "withdraw_group", request).await
}

/// Serves this description.
#[utoipa::path(get, path = "/openapi.json", responses((status = 200, description = "This description.")))]
async fn get_description() -> Json<utoipa::openapi::OpenApi> {
    Json(description())
}

fn malformed(field: &str, what: &str, fix: &str) -> Problem {
    let what = format!("{field} {what}");
    Problem::new(StatusCode::BAD_REQUEST, "invalid-request", what, fix).in_field(field)
}

fn session_id(text: &str) -> Result<SessionId, Problem> {
    let number = text.parse().map(SessionId);
    number.map_err(|_| malformed("session", "is no number of a log-on", "write the one given"))
}

fn last_event_id(headers: &HeaderMap) -> Result<Option<u64>, Problem> {
    let Some(given) = headers.get(LAST_EVENT_HEADER) else { return Ok(None) };
    let number = given.to_str().ok().and_then(|text| text.parse().ok());
    let fix = "write the ID of an event, or leave it out";
    number.map(Some).ok_or_else(|| malformed("Last-Event-ID", "is no number", fix))
}

fn transaction_id(text: &str) -> Result<TransactionId, Problem> {
    text.parse().map_err(|_| {
        let fix = "write 32 hexadecimal digits in groups of 8, 4, 4, 4 and 12 with hyphens between";
        malformed("transaction", "is no UUID", fix)
    })
}

fn transaction_key((origin, transaction): (String, String)) -> Result<TransactionKey, Problem> {
    let origin = McSystemId::parse(&origin).map_err(|error| {
        let fix = "write the MC system ID percent-encoded, such as sip%3Ab.example";
        malformed("origin", &error.to_string(), fix)
    })?;
    Ok(TransactionKey { origin, transaction: transaction_id(&transaction)? })
}

fn group_id(text: &str) -> Result<McServiceGroupId, Problem> {
    McServiceGroupId::parse(text).map_err(|error| {
        let fix = "write the MC service group ID percent-encoded, such as sip%3Agroup@a.example";
        malformed("group", &error.to_string(), fix)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_description_has_every_operation_and_no_other() {
        let description = serde_json::to_value(description()).unwrap();
        let mut described = BTreeSet::new();
        for (path, methods) in description["paths"].as_object().unwrap() {
            for method in methods.as_object().unwrap().keys() {
                described.insert((path.clone(), method.clone()));
            }
        }
        let served = operations().map(|(path, method, _)| (path.to_owned(), method.to_owned()));
        assert_eq!(described, BTreeSet::from(served));
    }
}
