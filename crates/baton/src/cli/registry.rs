//! The login of whoever deploys, for a daemon on another machine that pulls for them: from
//! `BATON_REGISTRY_USER` and `BATON_REGISTRY_PASSWORD`, else where `docker login` has left it.

use std::path::PathBuf;
use std::process::Stdio;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use baton_engine::Credentials;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// How the name of Docker's own registry ends in its files, and no other's does.
const DOCKERS_OWN: &str = "/v1/";
/// The user name that means that the secret is an identity token.
const TOKEN_USER: &str = "<token>";

/// The login for the registry of this image; None where there is none.
pub async fn login(reference: &str) -> Option<Credentials> {
    let variable = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    if let (Some(username), Some(password)) = (
        variable("BATON_REGISTRY_USER"),
        variable("BATON_REGISTRY_PASSWORD"),
    ) {
        return Some(Credentials {
            username,
            password,
            identity_token: None,
        });
    }
    let folder = variable("DOCKER_CONFIG").map(PathBuf::from);
    let folder = folder.or_else(|| Some(PathBuf::from(variable("HOME")?).join(".docker")))?;
    let text = tokio::fs::read_to_string(folder.join("config.json"))
        .await
        .ok()?;
    let config: Value = serde_json::from_str(&text).ok()?;
    let auths = config["auths"].as_object().cloned().unwrap_or_default();
    let registry = match registry(reference) {
        Some(registry) => registry,
        None => auths.keys().find(|name| name.ends_with(DOCKERS_OWN))?,
    };
    match helper(&config, registry) {
        Some(helper) => ask(helper, registry).await,
        None => written(&auths, registry),
    }
}

/// What to do about a pull that the registry refused; None where it failed for another reason.
#[must_use]
pub fn advice(reference: &str, login: Option<&Credentials>, reason: &str) -> Option<String> {
    // The engine passes on what registries say, in words of their own.
    let refused = [
        "no basic auth",
        "unauthorized",
        "denied",
        "authentication required",
    ];
    let said = reason.to_lowercase();
    refused.iter().find(|words| said.contains(**words))?;
    let registry = registry(reference).unwrap_or_default();
    let log_in = format!("`docker login {registry}`").replace(" `", "`");
    Some(match login {
        None => format!(
            "the registry wants a login: {log_in} where this command runs, or BATON_REGISTRY_USER and BATON_REGISTRY_PASSWORD"
        ),
        Some(login) => format!(
            "the registry refuses the login of {}: is it right, and may it pull this? {log_in} where this command runs, or BATON_REGISTRY_USER and BATON_REGISTRY_PASSWORD, replace it",
            match login.username.as_str() {
                "" => "an identity token",
                name => name,
            }
        ),
    })
}

/// `registry.example:5000` of `registry.example:5000/shop/api:1`; a first part without a dot, a port or
/// the name localhost is no registry, and Docker's own is meant: None.
fn registry(reference: &str) -> Option<&str> {
    let (first, _) = reference.split_once('/')?;
    (first.contains(['.', ':']) || first == "localhost").then_some(first)
}

fn helper<'a>(config: &'a Value, registry: &str) -> Option<&'a str> {
    let own = config["credHelpers"][registry].as_str();
    own.or_else(|| config["credsStore"].as_str())
        .filter(|name| !name.is_empty())
}

/// What `docker login` wrote down: base64 of `user:password`.
fn written(auths: &Map<String, Value>, registry: &str) -> Option<Credentials> {
    let https = format!("https://{registry}");
    let entry = auths.get(registry).or_else(|| auths.get(&https))?;
    let token = entry["identitytoken"]
        .as_str()
        .filter(|text| !text.is_empty());
    if let Some(token) = token {
        return Some(Credentials {
            username: String::new(),
            password: String::new(),
            identity_token: Some(token.to_owned()),
        });
    }
    let text = STANDARD.decode(entry["auth"].as_str()?).ok()?;
    let text = String::from_utf8(text).ok()?;
    let (username, password) = text.split_once(':')?;
    Some(Credentials {
        username: username.to_owned(),
        password: password.trim_end_matches('\0').to_owned(),
        identity_token: None,
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Helped {
    username: String,
    secret: String,
}

/// `docker-credential-NAME get`, as `docker pull` does.
async fn ask(helper: &str, registry: &str) -> Option<Credentials> {
    let mut child = Command::new(format!("docker-credential-{helper}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    child
        .stdin
        .take()?
        .write_all(registry.as_bytes())
        .await
        .ok()?;
    let output = child.wait_with_output().await.ok()?;
    let helped: Helped = serde_json::from_slice(&output.stdout).ok()?;
    let is_token = helped.username == TOKEN_USER;
    Some(Credentials {
        username: if is_token {
            String::new()
        } else {
            helped.username
        },
        identity_token: is_token.then(|| helped.secret.clone()),
        password: if is_token {
            String::new()
        } else {
            helped.secret
        },
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_registry_is_what_docker_takes_for_one() {
        assert_eq!(
            registry("registry.example:5000/shop/api:1"),
            Some("registry.example:5000")
        );
        assert_eq!(registry("localhost/api"), Some("localhost"));
        for own in ["api", "shop/api:1", "api:1"] {
            assert_eq!(registry(own), None, "{own}");
        }
    }

    #[test]
    fn a_login_is_found_where_docker_left_it() {
        let config = json!({
            "auths": {"registry.example": {"auth": STANDARD.encode("alice:pa:ss")}, "https://b.example": {"identitytoken": "t"}},
            "credHelpers": {"c.example": "pass"},
        });
        let auths = config["auths"].as_object().unwrap();
        let found = written(auths, "registry.example").unwrap();
        assert_eq!(
            (found.username.as_str(), found.password.as_str()),
            ("alice", "pa:ss")
        );
        assert!(!format!("{found:?}").contains("pa:ss"));
        assert_eq!(
            written(auths, "b.example")
                .unwrap()
                .identity_token
                .as_deref(),
            Some("t")
        );
        assert!(written(auths, "other.example").is_none());
        assert_eq!(helper(&config, "c.example"), Some("pass"));
        assert_eq!(helper(&config, "registry.example"), None);
    }
}
