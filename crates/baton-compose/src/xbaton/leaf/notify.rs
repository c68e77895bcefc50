//! Values of `notify`. What they are is never shown: an address that can be written to is a secret.

use serde_json::{Value, json};

use super::choices::word;
use super::{Leaf, or_variable, scalar};
use crate::policy::{Language, NewsKind, Secret};

/// An address of HTTP or HTTPS, or nothing where a variable is not set.
#[derive(Debug)]
pub(crate) struct WebhookUrl(pub(crate) Secret);

impl Leaf for WebhookUrl {
    const NAME: &'static str = "webhook_url";

    fn schema() -> Value {
        json!({ "type": "string", "pattern": or_variable("https?://.+") })
    }

    fn read(value: &Value) -> Result<Self, String> {
        let text = value.as_str().unwrap_or("-").trim();
        let rest = text
            .strip_prefix("https://")
            .or_else(|| text.strip_prefix("http://"));
        let host = rest.map(|rest| rest.split(['/', '?', '#']).next().unwrap_or_default());
        // A user and a password in an address would be sent to nobody.
        let is_host =
            |host: &str| !host.is_empty() && !host.starts_with(':') && !host.contains('@');
        let good = host.is_some_and(is_host) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if good || text.is_empty() {
            Ok(WebhookUrl(Secret(text.to_owned())))
        } else {
            Err("expected an address such as \"https://hooks.example.com/…\" (what was found is not shown: it may be a secret)".to_owned())
        }
    }
}

/// What signs a webhook; nothing where a variable is not set.
#[derive(Debug)]
pub(crate) struct SecretText(pub(crate) Secret);

impl Leaf for SecretText {
    const NAME: &'static str = "secret";

    fn schema() -> Value {
        json!({ "type": "string" })
    }

    fn read(value: &Value) -> Result<Self, String> {
        scalar(value)
            .map(|text| SecretText(Secret(text)))
            .ok_or_else(|| {
                "expected a text (what was found is not shown: it may be a secret)".to_owned()
            })
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct LanguageName(pub(crate) Language);

impl Leaf for LanguageName {
    const NAME: &'static str = "language";

    fn schema() -> Value {
        json!({ "type": "string", "enum": ["en", "ko"] })
    }

    fn read(value: &Value) -> Result<Self, String> {
        let words = [("en", Language::En), ("ko", Language::Ko)];
        word(value, &words, "en or ko").map(LanguageName)
    }
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct NewsName(pub(crate) NewsKind);

impl Leaf for NewsName {
    const NAME: &'static str = "news";

    fn schema() -> Value {
        json!({ "type": "string", "enum": NewsKind::ALL.map(NewsKind::as_str) })
    }

    fn read(value: &Value) -> Result<Self, String> {
        let words = NewsKind::ALL.map(|kind| (kind.as_str(), kind));
        let expect = "started, switched, failed, rolled_back, taken_back or done";
        word(value, &words, expect).map(NewsName)
    }
}
