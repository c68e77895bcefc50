//! Before each handler: who calls, and may they? On the control socket the file's rights have decided
//! that; over TCP a token does, in the `Authorization` field and nowhere else, so that no browser ever
//! sends it by itself.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{ConnectInfo, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use baton_deploy::token::{Scope, TokenInfo};
use futures_util::StreamExt;
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use time::OffsetDateTime;

use super::caller::Caller;
use super::live::EVENT_STREAM;
use super::peer::Peer;
use super::stream::NDJSON;
use super::table::Access;
use super::{Api, ApiError};

/// Through which listener a request came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Door {
    /// The control socket.
    Socket,
    /// `--dashboard`.
    Network,
}

/// One route's.
#[derive(Debug, Clone)]
pub(super) struct Guard {
    pub(super) api: Api,
    pub(super) door: Door,
    pub(super) access: Access,
}

/// The middleware of each route.
pub(super) async fn check(
    State(guard): State<Guard>,
    mut request: Request,
    next: Next,
) -> Response {
    let caller = match (guard.door, guard.access) {
        (Door::Socket, _) => {
            let peer = request.extensions().get::<ConnectInfo<Peer>>();
            peer.map_or(Caller::Anyone, |peer| Caller::User(peer.0.clone()))
        }
        (Door::Network, Access::Open) => Caller::Anyone,
        (Door::Network, Access::Scope(scope)) => {
            match admitted(&guard.api, request.headers(), scope).await {
                Ok(info) => Caller::Token(info),
                Err(refusal) => return *refusal,
            }
        }
    };
    let token = match (&caller, bearer(request.headers())) {
        (Caller::Token(info), Some(text)) => Some((info.clone(), text.to_owned())),
        _ => None,
    };
    request.extensions_mut().insert(caller);
    let response = next.run(request).await;
    match token {
        Some((info, text)) if goes_on(&response) => while_valid(guard.api, info, text, response),
        _ => response,
    }
}

/// The token of a request, if it allows this.
async fn admitted(
    api: &Api,
    headers: &HeaderMap,
    scope: Scope,
) -> Result<TokenInfo, Box<Response>> {
    let Some(text) = bearer(headers) else {
        return Err(Box::new(unknown(
            "this needs a token: `Authorization: Bearer baton_…`; `baton token create` makes one",
        )));
    };
    let found = api.control.verify_token(text).await;
    match found.map_err(|error| Box::new(ApiError::from(error).into_response()))? {
        None => Err(Box::new(unknown(
            "this token is not known here: it was revoked, has expired, or is another daemon's",
        ))),
        Some(info) if info.scope < scope => Err(Box::new(
            ApiError::new(
                StatusCode::FORBIDDEN,
                format!(
                    "this needs a token for {scope}, and {:?} is one for {}",
                    info.name, info.scope
                ),
            )
            .into_response(),
        )),
        Some(info) => Ok(info),
    }
}

/// RFC 6750 §2.1; one field only.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut fields = headers.get_all(AUTHORIZATION).iter();
    let (Some(field), None) = (fields.next(), fields.next()) else {
        return None;
    };
    let (scheme, token) = field.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn unknown(message: &str) -> Response {
    let mut response = ApiError::new(StatusCode::UNAUTHORIZED, message).into_response();
    let scheme = HeaderValue::from_static("Bearer realm=\"baton\"");
    response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
    response
}

/// An answer that may last for hours.
fn goes_on(response: &Response) -> bool {
    let kind = response.headers().get(CONTENT_TYPE);
    kind.is_some_and(|kind| kind == NDJSON || kind == EVENT_STREAM)
}

/// Ends the answer when its token is revoked or expires.
fn while_valid(api: Api, info: TokenInfo, text: String, response: Response) -> Response {
    let ended = async move {
        let mut revoked = api.revoked.subscribe();
        let expiry = info.expires_at.map(|at| at - OffsetDateTime::now_utc());
        let expires = async {
            match expiry {
                Some(left) => {
                    tokio::time::sleep(Duration::try_from(left).unwrap_or_default()).await;
                }
                None => std::future::pending().await,
            }
        };
        let is_revoked = async {
            while revoked.changed().await.is_ok() {
                if matches!(api.control.verify_token(&text).await, Ok(None)) {
                    return;
                }
            }
        };
        tokio::select! {
            () = expires => {}
            () = is_revoked => {}
        }
    };
    response.map(|body| Body::from_stream(body.into_data_stream().take_until(Box::pin(ended))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_stands_in_one_field_alone() {
        let mut headers = HeaderMap::new();
        assert_eq!(bearer(&headers), None);
        headers.append(AUTHORIZATION, HeaderValue::from_static("bearer baton_x"));
        assert_eq!(bearer(&headers), Some("baton_x"));
        headers.append(AUTHORIZATION, HeaderValue::from_static("Bearer baton_y"));
        assert_eq!(bearer(&headers), None);
        let basic = HeaderMap::from_iter([(AUTHORIZATION, HeaderValue::from_static("Basic eA=="))]);
        assert_eq!(bearer(&basic), None);
    }
}
