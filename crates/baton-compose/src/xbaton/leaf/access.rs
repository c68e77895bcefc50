//! Values that say who may come in.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Leaf, expected};
use crate::policy::Network;

/// User → bcrypt hash. No error shows a value: it may be the password itself.
#[derive(Debug)]
pub(crate) struct Users(pub(crate) BTreeMap<String, String>);

impl Leaf for Users {
    const NAME: &'static str = "users";

    fn schema() -> Value {
        json!({
            "type": "object",
            "minProperties": 1,
            "additionalProperties": { "type": "string" },
        })
    }

    fn read(value: &Value) -> Result<Self, String> {
        let Value::Object(map) = value else {
            return match value {
                Value::Array(_) => expected("a mapping such as {user: HASH}", value),
                _ => Err("expected a mapping such as {user: HASH}".to_owned()),
            };
        };
        if map.is_empty() {
            return Err("expected at least one user".to_owned());
        }
        map.iter()
            .map(|(user, hash)| {
                // RFC 7617 §2: a colon ends the name.
                if user.is_empty() || user.contains(|c: char| c == ':' || c.is_control()) {
                    return Err(format!("{user:?} cannot be a user: no colon, and not empty"));
                }
                match hash.as_str() {
                    Some(hash) if is_bcrypt(hash) => Ok((user.clone(), hash.to_owned())),
                    _ => Err(format!(
                        "expected a bcrypt hash for {user:?}, found something else: make one with `htpasswd -nbB USER PASSWORD`, and write each `$` of it as `$$`, as everywhere in a compose file"
                    )),
                }
            })
            .collect::<Result<_, _>>()
            .map(Users)
    }
}

/// `$2y$10$` and 53 characters: 22 of the salt, 31 of the hash.
fn is_bcrypt(text: &str) -> bool {
    const VERSIONS: [&str; 3] = ["$2a$", "$2b$", "$2y$"];
    let Some(rest) = VERSIONS.iter().find_map(|v| text.strip_prefix(v)) else {
        return false;
    };
    let Some((cost, digest)) = rest.split_once('$') else {
        return false;
    };
    cost.len() == 2
        && cost.bytes().all(|b| b.is_ascii_digit())
        && cost
            .parse::<u8>()
            .is_ok_and(|cost| (4..=31).contains(&cost))
        && digest.len() == 53
        && digest
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"./".contains(&b))
}

#[derive(Debug, Clone, Copy)]
pub(crate) struct NetworkText(pub(crate) Network);

impl Leaf for NetworkText {
    const NAME: &'static str = "network";

    fn schema() -> Value {
        json!({ "type": "string", "examples": ["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"] })
    }

    fn read(value: &Value) -> Result<Self, String> {
        match value.as_str() {
            Some(text) => text.parse().map(NetworkText),
            None => expected("an address or a network such as 10.0.0.0/8", value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bcrypt_hash_is_known_by_its_form() {
        let digest = "N9qo8uLOickgx2ZMRZoMyeIjZAgcfl7p92ldGxad68LJZdL17lhWy";
        for version in ["2a", "2b", "2y"] {
            assert!(is_bcrypt(&format!("${version}$05${digest}")), "{version}");
        }
        for hash in [
            format!("$2x$05${digest}"),
            format!("$2y$5${digest}"),
            format!("$2y$03${digest}"),
            format!("$2y$32${digest}"),
            format!("$2y$+5${digest}"),
            format!("$2y$05${}", &digest[1..]),
            format!("$2y$05${}$", &digest[1..]),
            format!("$$2y$$05$${digest}"),
            "$apr1$xyz$abc".to_owned(),
            "secret".to_owned(),
            String::new(),
        ] {
            assert!(!is_bcrypt(&hash), "{hash}");
        }
    }
}
