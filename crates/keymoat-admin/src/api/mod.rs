//! The API: one file per resource, all of them behind the guard, described by their own code.

mod admins;
mod answer;
mod body;
mod claim;
mod configuration;
mod description;
mod errors;
mod events;
mod fault;
mod health;
mod keys;
mod live;
mod me;
mod moment;
mod nodes;
mod objects;
mod orders;
mod page;
pub(crate) mod problem;
pub(crate) mod query;
mod redactions;
mod routes;
mod sessions;
mod sign_in;
mod sunset;
mod tokens;
mod upstreams;

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderValue, StatusCode};
use keymoat_core::{Action, Actor};
use keymoat_redact::{Options, Redactor, Rules};
use keymoat_store::{Store, StoreError};
use tokio::sync::Semaphore;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::problem::{Code, Problem};
use crate::access::hosts::Hosts;
use crate::access::password::Hasher;
use crate::access::session::Sessions;
use crate::access::stream_token::StreamTokens;
use crate::access::throttle::Throttle;
use crate::access::{Caller, Who, guard};
use crate::events::NotKept;
use crate::house::House;

pub use self::description::open_api;

/// So many questions to the store are under way at once.
const STORE_AT_ONCE_MAX: usize = 16;

/// So many event streams and sockets at once.
const STREAMS_MAX: usize = 64;

/// What all operations share.
#[derive(Debug)]
pub(crate) struct Desk {
    /// What the API is about.
    pub(crate) house: House,
    /// Where clients come to.
    pub(crate) url: String,
    /// Whether clients come by TLS.
    pub(crate) is_tls: bool,
    /// The hosts that are answered to.
    pub(crate) hosts: Hosts,
    /// Sessions of people.
    pub(crate) sessions: Sessions,
    /// Who guesses.
    pub(crate) throttle: Throttle,
    /// Who comes with wrong keys.
    pub(crate) key_throttle: Throttle,
    /// Computes hashes of passwords.
    pub(crate) hasher: Arc<Hasher>,
    /// Tokens that open one stream.
    pub(crate) stream_tokens: StreamTokens,
    /// Places for readers of streams.
    pub(crate) streams: Arc<Semaphore>,
    store_places: Semaphore,
    /// Held while something is read, compared with `If-Match`, and changed.
    pub(crate) changing: tokio::sync::Mutex<()>,
}

impl Desk {
    /// Everything is empty: nobody has signed in.
    pub(crate) fn new(house: House, url: String, is_tls: bool, hosts: Hosts) -> Self {
        Self {
            house,
            url,
            is_tls,
            hosts,
            sessions: Sessions::default(),
            throttle: Throttle::default(),
            key_throttle: Throttle::default(),
            hasher: Arc::new(Hasher::new()),
            stream_tokens: StreamTokens::default(),
            streams: Arc::new(Semaphore::new(STREAMS_MAX)),
            store_places: Semaphore::new(STORE_AT_ONCE_MAX),
            changing: tokio::sync::Mutex::new(()),
        }
    }

    /// Asks the store on a thread that may wait for the disk.
    pub(crate) async fn store<T: Send + 'static>(
        &self,
        ask: impl FnOnce(&Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Problem> {
        self.blocking(ask).await?.map_err(Problem::from)
    }

    /// Does work of the store's kind, with an outcome of its own.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let _place = self.store_places.acquire().await.map_err(|_| Problem::of(Code::Unavailable))?;
        let store = Arc::clone(&self.house.store);
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        done.map_err(|_| Problem::of(Code::Internal))
    }

    /// Whether a caller that was let in before still is.
    pub(crate) async fn may_still(&self, caller: &Caller) -> bool {
        let (Who::Key(known) | Who::Person(known, _)) = &caller.who else { return true };
        let id = Arc::clone(&known.id);
        let now = self.house.now();
        match self.store(move |store| store.admin(&id)).await {
            Ok(admin) => guard::is_good(&admin, now) && admin.version == known.version,
            Err(_) => false,
        }
    }

    /// Tells what a caller did, and where every event is required waits until that is kept.
    ///
    /// # Errors
    /// It is required, and was not kept.
    pub(crate) async fn tell_durably(
        &self,
        caller: &Caller,
        action: Action,
        target: &str,
        detail: String,
    ) -> Result<(), NotKept> {
        self.house.tell_durably(caller.actor(), action, target, masked(&detail)).await
    }

    /// Tells what a caller did.
    pub(crate) fn tell(&self, caller: &Caller, action: Action, target: &str, detail: Option<String>) {
        let actor: Actor = caller.actor();
        self.house.tell(actor, action, Some(target), detail.map(|detail| masked(&detail)));
    }
}

/// Every route with its description.
fn described() -> OpenApiRouter<Arc<Desk>> {
    OpenApiRouter::with_openapi(description::frame())
        .routes(routes!(description::serve))
        .routes(routes!(errors::explain))
        .routes(routes!(health::alive))
        .routes(routes!(health::show))
        .routes(routes!(claim::claim))
        .routes(routes!(sign_in::sign_in, sign_in::sign_out))
        .routes(routes!(me::show))
        .routes(routes!(me::change_password))
        .routes(routes!(keys::list, keys::create))
        .routes(routes!(keys::show, keys::change::change))
        .routes(routes!(keys::change::rotate))
        .routes(routes!(keys::change::retire))
        .routes(routes!(keys::change::revoke))
        .routes(routes!(keys::import::import))
        .routes(routes!(tokens::list, tokens::create::create))
        .routes(routes!(tokens::show))
        .routes(routes!(tokens::revoke))
        .routes(routes!(sessions::list))
        .routes(routes!(sessions::show))
        .routes(routes!(sessions::end))
        .routes(routes!(routes::list))
        .routes(routes!(routes::show))
        .routes(routes!(sunset::set, sunset::unset))
        .routes(routes!(sunset::status))
        .routes(routes!(sunset::plan))
        .routes(routes!(sunset::enforce))
        .routes(routes!(upstreams::list))
        .routes(routes!(upstreams::show))
        .routes(routes!(upstreams::test))
        .routes(routes!(upstreams::secrets::seal, upstreams::secrets::unseal))
        .routes(routes!(upstreams::secrets::list))
        .routes(routes!(nodes::list))
        .routes(routes!(events::list))
        .routes(routes!(events::usage))
        .routes(routes!(live::list))
        .routes(routes!(live::stream))
        .routes(routes!(live::token))
        .routes(routes!(live::socket::open))
        .routes(routes!(configuration::show))
        .routes(routes!(redactions::redact))
        .routes(routes!(admins::list, admins::create))
        .routes(routes!(admins::show, admins::change, admins::remove))
}

/// The whole listener's service; `more` are further pages, which say for themselves who may see them.
pub(crate) fn router(desk: Arc<Desk>, more: Router) -> Router {
    let (api, _) = described().split_for_parts();
    #[cfg(feature = "console")]
    let more = more.merge(crate::console::console());
    api.method_not_allowed_fallback(|| async { Problem::of(Code::MethodNotAllowed) })
        .layer(middleware::from_fn_with_state(Arc::clone(&desk), orders::once))
        .with_state(Arc::clone(&desk))
        .merge(more)
        .fallback(|| async { Problem::of(Code::NotFound) })
        .layer(middleware::from_fn_with_state(desk, guard::stand))
        .layer(middleware::map_response(finish))
}

/// Puts on what every answer has, and gives those that are none of ours our form.
async fn finish(response: Response) -> Response {
    let mut response = match response.status() {
        StatusCode::METHOD_NOT_ALLOWED => {
            let allow = response.headers().get(ALLOW).cloned();
            Problem::of(Code::MethodNotAllowed).allowing(allow).into_response()
        }
        _ => response,
    };
    harden(response.headers_mut());
    response
}

/// Nothing is kept, guessed, framed or told to other sites.
fn harden(headers: &mut HeaderMap) {
    let fixed = [(X_CONTENT_TYPE_OPTIONS, "nosniff"), (REFERRER_POLICY, "no-referrer"), (X_FRAME_OPTIONS, "DENY")];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
    let policy = "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'";
    // A file of the console that never changes is kept, and a page says more for itself.
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(HeaderValue::from_static(policy));
}

/// A text with every credential in it masked.
pub(crate) fn masked(text: &str) -> String {
    static RULES: LazyLock<Arc<Rules>> = LazyLock::new(Arc::default);
    let mut redactor = Redactor::new(Arc::clone(&RULES), Options::default());
    String::from_utf8_lossy(&redactor.redact(text.as_bytes())).into_owned()
}
