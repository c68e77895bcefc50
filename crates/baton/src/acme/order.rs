//! One certificate: an order, its challenge, the authority's look at us, chain and key.

use std::time::Duration;

use baton_proxy::{Certificate, Proxy};
use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, Identifier, KeyAuthorization, NewOrder,
    Order, OrderStatus, Problem, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, DistinguishedName, KeyPair};

use super::account::Authority;
use super::store::Store;
use super::timing::Blame;

/// How long the authority may take to look at us, and to issue.
const PATIENCE: RetryPolicy = RetryPolicy::new()
    .initial_delay(Duration::from_millis(200))
    .backoff(1.5)
    .timeout(Duration::from_secs(60));

/// How a host is validated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// A text over plain HTTP, port 80.
    Http,
    /// A handshake on port 443.
    Tls,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Http => "HTTP-01",
            Kind::Tls => "TLS-ALPN-01",
        }
    }

    fn challenge(self) -> ChallengeType {
        match self {
            Kind::Http => ChallengeType::Http01,
            Kind::Tls => ChallengeType::TlsAlpn01,
        }
    }
}

/// What was got.
#[derive(Debug)]
pub(super) struct Issued {
    /// Key and chain.
    pub(super) pem: String,
    /// None: the authority had validated the host before.
    pub(super) kind: Option<Kind>,
}

/// Why there is no certificate.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) reason: String,
    pub(super) blame: Blame,
    /// The authority has looked at us and did not see what it wanted: another kind may do.
    invalid: bool,
    no_account: bool,
}

impl Failure {
    pub(super) fn authority(reason: String) -> Failure {
        Failure {
            reason,
            blame: Blame::Authority,
            invalid: false,
            no_account: false,
        }
    }

    pub(super) fn of(error: &Error) -> Failure {
        let Error::Api(problem) = error else {
            return Failure {
                blame: Blame::Network,
                ..Failure::authority(error.to_string())
            };
        };
        let is = |kind: &str| problem.r#type.as_deref().is_some_and(|t| t.ends_with(kind));
        let blame = match () {
            () if is(":rateLimited") => Blame::RateLimit,
            () if is(":serverInternal") => Blame::Network,
            () => Blame::Authority,
        };
        Failure {
            blame,
            no_account: is(":accountDoesNotExist"),
            ..Failure::authority(words(problem))
        }
    }
}

fn words(problem: &Problem) -> String {
    match &problem.detail {
        Some(detail) => detail.clone(),
        None => problem.to_string(),
    }
}

/// The kinds that may work, the best first: what has worked, and what there is a listener for.
pub(super) fn kinds(proxy: &Proxy, works: Option<Kind>) -> Vec<Kind> {
    let mut kinds = Vec::new();
    kinds.extend(works);
    if !proxy.http_addrs().is_empty() && !kinds.contains(&Kind::Http) {
        kinds.push(Kind::Http);
    }
    if !proxy.https_addrs().is_empty() && !kinds.contains(&Kind::Tls) {
        kinds.push(Kind::Tls);
    }
    kinds
}

/// Gets a certificate for the host by the first of `kinds` that does.
pub(super) async fn certificate(
    authority: &Authority,
    store: &Store,
    proxy: &Proxy,
    host: &str,
    kinds: &[Kind],
) -> Result<Issued, Failure> {
    let mut reasons = Vec::new();
    let mut renewed = false;
    let mut kinds = kinds.iter().copied().peekable();
    while let Some(&kind) = kinds.peek() {
        let account = authority.account(store).await?;
        match by(&account, proxy, host, kind).await {
            Ok(issued) => return Ok(issued),
            Err(failure) if failure.no_account && !renewed => {
                renewed = true;
                authority.forget(store).await;
            }
            Err(failure) if failure.invalid => {
                reasons.push(format!("{}: {}", kind.name(), failure.reason));
                kinds.next();
            }
            Err(failure) => return Err(failure),
        }
    }
    Err(Failure::authority(reasons.join("; ")))
}

async fn by(account: &Account, proxy: &Proxy, host: &str, kind: Kind) -> Result<Issued, Failure> {
    let identifiers = [Identifier::Dns(host.to_owned())];
    let order = account.new_order(&NewOrder::new(&identifiers)).await;
    let mut order = order.map_err(|error| Failure::of(&error))?;
    // Ends the answer to the challenge when it goes.
    let asked = challenge(&mut order, proxy, host, kind).await?;
    let ready = order.poll_ready(&PATIENCE).await;
    if !matches!(ready, Ok(OrderStatus::Ready)) {
        return Err(refusal(&mut order, ready.err()).await);
    }
    let used = asked.is_some().then_some(kind);
    drop(asked);
    let issued = async {
        let key = order.finalize().await?;
        let chain = order.poll_certificate(&PATIENCE).await?;
        Ok::<_, Error>(format!("{key}{chain}"))
    };
    let pem = issued.await.map_err(|error| Failure::of(&error))?;
    Ok(Issued { pem, kind: used })
}

/// Answers the challenge of the order, and says so to the authority. None: it asks nothing.
async fn challenge<'p>(
    order: &mut Order,
    proxy: &'p Proxy,
    host: &str,
    kind: Kind,
) -> Result<Option<Answered<'p>>, Failure> {
    let failed = |error: Error| Failure::of(&error);
    let mut authorizations = order.authorizations();
    let mut answered = None;
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization.map_err(failed)?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let Some(mut challenge) = authorization.challenge(kind.challenge()) else {
            return Err(Failure {
                invalid: true,
                ..Failure::authority("the authority does not offer it".to_owned())
            });
        };
        let key = challenge.key_authorization();
        answered = Some(answer(proxy, host, kind, &challenge.token, &key)?);
        challenge.set_ready().await.map_err(failed)?;
    }
    Ok(answered)
}

fn answer<'p>(
    proxy: &'p Proxy,
    host: &str,
    kind: Kind,
    token: &str,
    key: &KeyAuthorization,
) -> Result<Answered<'p>, Failure> {
    let name = match kind {
        Kind::Http => {
            proxy.challenges().answer_http(token, key.as_str());
            token.to_owned()
        }
        Kind::Tls => {
            let certificate = handshake(host, key.digest().as_ref()).map_err(|reason| {
                Failure::authority(format!("the handshake cannot be made: {reason}"))
            })?;
            proxy.challenges().answer_tls(host, &certificate);
            host.to_owned()
        }
    };
    Ok(Answered { proxy, kind, name })
}

/// What a validating handshake is answered with (RFC 8737 §3).
fn handshake(host: &str, digest: &[u8]) -> Result<std::sync::Arc<Certificate>, String> {
    let made = || {
        let mut params = CertificateParams::new([host.to_owned()])?;
        params.distinguished_name = DistinguishedName::new();
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let key = KeyPair::generate()?;
        let certificate = params.self_signed(&key)?;
        Ok(format!("{}{}", key.serialize_pem(), certificate.pem()))
    };
    let pem = made().map_err(|error: rcgen::Error| error.to_string())?;
    Certificate::for_challenge(pem.as_bytes())
}

/// A challenge that is answered as long as this lives.
struct Answered<'p> {
    proxy: &'p Proxy,
    kind: Kind,
    /// Token or host.
    name: String,
}

impl Drop for Answered<'_> {
    fn drop(&mut self) {
        match self.kind {
            Kind::Http => self.proxy.challenges().forget_http(&self.name),
            Kind::Tls => self.proxy.challenges().forget_tls(&self.name),
        }
    }
}

/// Why the authority did not find the order good: what it says of the challenge is the clearest.
async fn refusal(order: &mut Order, error: Option<Error>) -> Failure {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else {
            break;
        };
        let problem = state.challenges.iter().find_map(|c| c.error.as_ref());
        if let Some(problem) = problem {
            return Failure {
                invalid: true,
                ..Failure::authority(words(problem))
            };
        }
    }
    match error {
        Some(error) => Failure::of(&error),
        None => Failure::authority("the authority found the order invalid".to_owned()),
    }
}
