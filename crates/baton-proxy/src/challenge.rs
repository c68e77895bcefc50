//! What a certificate authority asks of a host that it validates (ACME): a text by plain HTTP (RFC 8555
//! §8.3), or a certificate in a handshake of its own (RFC 8737). Neither ever reaches an app.

use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::tls::Certificate;

/// Where the tokens of HTTP-01 are asked for.
const PREFIX: &str = "/.well-known/acme-challenge/";

/// The challenges that are open now. Few, and only for some seconds each; they are read without a lock.
#[derive(Debug, Default)]
pub struct Challenges {
    /// By token.
    texts: ArcSwap<HashMap<Box<str>, Arc<str>>>,
    /// By host, lower case.
    certificates: ArcSwap<HashMap<Box<str>, Arc<Certificate>>>,
}

impl Challenges {
    /// `text` is what `/.well-known/acme-challenge/TOKEN` of any host is answered with from now on.
    pub fn answer_http(&self, token: &str, text: &str) {
        let (token, text): (Box<str>, Arc<str>) = (token.into(), text.into());
        self.texts.rcu(|texts| {
            let mut texts = HashMap::clone(texts);
            texts.insert(token.clone(), Arc::clone(&text));
            texts
        });
    }

    /// The token means nothing any more.
    pub fn forget_http(&self, token: &str) {
        self.texts.rcu(|texts| {
            let mut texts = HashMap::clone(texts);
            texts.remove(token);
            texts
        });
    }

    /// `certificate` is what a handshake for `acme-tls/1` and this host is answered with from now on.
    pub fn answer_tls(&self, host: &str, certificate: &Arc<Certificate>) {
        let host = host.to_ascii_lowercase();
        self.certificates.rcu(|certificates| {
            let mut certificates = HashMap::clone(certificates);
            certificates.insert(host.as_str().into(), Arc::clone(certificate));
            certificates
        });
    }

    /// Such handshakes fail again.
    pub fn forget_tls(&self, host: &str) {
        let host = host.to_ascii_lowercase();
        self.certificates.rcu(|certificates| {
            let mut certificates = HashMap::clone(certificates);
            certificates.remove(host.as_str());
            certificates
        });
    }

    /// The answer to a request for this target. None for a token that is not ours: an app may get
    /// certificates itself.
    pub(crate) fn text(&self, target: &str) -> Option<Arc<str>> {
        let token = target.strip_prefix(PREFIX)?;
        let token = token.split(['?', '#']).next().unwrap_or_default();
        self.texts.load().get(token).cloned()
    }

    pub(crate) fn certificate(&self, host: &str) -> Option<Arc<Certificate>> {
        let certificates = self.certificates.load();
        let found = certificates.get(host);
        let found = found.or_else(|| certificates.get(host.to_ascii_lowercase().as_str()));
        found.cloned()
    }
}

/// Is it asked for by an authority, whoever of us is to answer?
pub(crate) fn is_asked_for(target: &str) -> bool {
    target.starts_with(PREFIX)
}

#[cfg(test)]
mod tests {
    use super::Challenges;

    #[test]
    fn a_token_is_answered_until_it_is_forgotten() {
        let challenges = Challenges::default();
        challenges.answer_http("abc", "abc.thumb");
        let ask = |target: &str| challenges.text(target).map(|text| text.to_string());
        let asked = "/.well-known/acme-challenge/abc";
        assert_eq!(ask(asked).as_deref(), Some("abc.thumb"));
        assert_eq!(ask("/.well-known/acme-challenge/ab"), None);
        assert_eq!(ask("/abc"), None);
        challenges.forget_http("abc");
        assert_eq!(ask(asked), None);
    }
}
