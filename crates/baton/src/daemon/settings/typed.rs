//! Settings as they are typed: as options, in the environment, or in the configuration file.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::{Deserialize, Deserializer};

use crate::error::CliError;

/// Read when no other is named.
const CONFIG: &str = "/etc/baton/baton.toml";

/// One declaration a setting: its option, its environment variable, its key of the file, and that the one goes
/// before the other.
macro_rules! settings {
    ($($(#[$about:meta])* $name:ident: $kind:ty,)*) => {
        // No doc comment: clap would take it for one of the command.
        #[derive(Debug, Default, Clone, PartialEq, Eq, Args, Deserialize)]
        #[serde(rename_all = "kebab-case", default)]
        pub struct Typed {
            $($(#[$about])* pub $name: Option<$kind>,)*
        }

        impl Typed {
            /// What is said here, else what is said there.
            pub(super) fn or(self, other: Typed) -> Typed {
                Typed { $($name: self.$name.or(other.$name),)* }
            }

            /// The keys of what is said, in the order of their declaration.
            pub(super) fn said(&self) -> Vec<String> {
                let said = [$(self.$name.is_some(),)*];
                let keys = keys().into_iter().zip(said);
                keys.filter(|(_, said)| *said).map(|(key, _)| key).collect()
            }
        }

        /// The keys of the configuration file, which are the options without their dashes.
        fn keys() -> Vec<String> {
            vec![$(stringify!($name).replace('_', "-"),)*]
        }
    };
}

settings! {
    /// Listen here for HTTP/1.1 and h2c; several with commas, or `off` [default: port 80, without root 8080]
    #[arg(long, env = "BATON_HTTP", value_name = "ADDRESS", value_delimiter = ',', hide_env_values = true)]
    #[serde(deserialize_with = "one_or_many")]
    http: Vec<String>,
    /// Listen here for HTTPS; several with commas, or `off` [default: port 443, without root 8443; off when only --http is given]
    #[arg(long, env = "BATON_HTTPS", value_name = "ADDRESS", value_delimiter = ',', hide_env_values = true)]
    #[serde(deserialize_with = "one_or_many")]
    https: Vec<String>,
    /// Folder of the state [default: /var/lib/baton, without root $XDG_DATA_HOME/baton]
    #[arg(long, env = "BATON_DATA", value_name = "FOLDER", hide_env_values = true)]
    data: PathBuf,
    /// Said by an option of every command.
    #[arg(skip)]
    socket: PathBuf,
    /// Threads of the proxy [default: one a core]
    #[arg(long, env = "BATON_WORKERS", value_name = "N", hide_env_values = true)]
    workers: usize,
    /// What is logged: a level, or levels of parts with commas [default: info]
    #[arg(long, env = "BATON_LOG", value_name = "LEVEL", hide_env_values = true)]
    log: String,
    /// Networks whose X-Forwarded-* fields are kept [default: 127.0.0.0/8,::1/128]
    #[arg(long, env = "BATON_TRUSTED_PROXY", value_name = "CIDR", value_delimiter = ',', hide_env_values = true)]
    #[serde(deserialize_with = "one_or_many")]
    trusted_proxy: Vec<String>,
    /// Answer `GET /metrics` for Prometheus here, such as 127.0.0.1:9180; plain HTTP, no password [default: off]
    #[arg(long, env = "BATON_METRICS", value_name = "ADDRESS", hide_env_values = true)]
    metrics: String,
    /// Write a JSON line for each request (`on`), or for one of N (`sampled:N`) [default: off]
    #[arg(long, env = "BATON_ACCESS_LOG", value_name = "WHICH", hide_env_values = true)]
    access_log: String,
    /// Where the access log is written; opened again at SIGHUP [default: standard output]
    #[arg(long, env = "BATON_ACCESS_LOG_FILE", value_name = "FILE", hide_env_values = true)]
    access_log_file: PathBuf,
    /// What carries traffic: embedded, or an nginx that is already there
    #[arg(long, env = "BATON_ROUTER", value_name = "ROUTER", hide_env_values = true)]
    router: String,
    /// File that Baton writes and nginx includes in its http block [default: /etc/nginx/conf.d/baton.conf]
    #[arg(long, env = "BATON_NGINX_INCLUDE", value_name = "FILE", hide_env_values = true)]
    nginx_include: PathBuf,
    /// How nginx is called, before -t and -s reload; words, no shell [default: nginx]
    #[arg(long, env = "BATON_NGINX_COMMAND", value_name = "COMMAND", hide_env_values = true)]
    nginx_command: String,
    /// How nginx is reloaded; words, no shell [default: the command with -s reload]
    #[arg(long, env = "BATON_NGINX_RELOAD", value_name = "COMMAND", hide_env_values = true)]
    nginx_reload: String,
    /// Where nginx tells Baton, and nobody else, which configuration it follows [default: 127.0.0.1:7079]
    #[arg(long, env = "BATON_NGINX_CHECK", value_name = "ADDRESS", hide_env_values = true)]
    nginx_check: String,
    /// Serve the status page and the API here; several with commas. Anywhere but on loopback only with a certificate
    #[arg(long, env = "BATON_DASHBOARD", value_name = "ADDRESS", value_delimiter = ',', hide_env_values = true)]
    #[serde(deserialize_with = "one_or_many")]
    dashboard: Vec<String>,
    /// Certificate of the page: a PEM chain, its own first
    #[arg(long, env = "BATON_DASHBOARD_CERT", value_name = "FILE", hide_env_values = true)]
    dashboard_cert: PathBuf,
    /// Key of that certificate
    #[arg(long, env = "BATON_DASHBOARD_KEY", value_name = "FILE", hide_env_values = true)]
    dashboard_key: PathBuf,
    /// A name that the page may be reached by; addresses and localhost always are
    #[arg(long, env = "BATON_DASHBOARD_HOST", value_name = "NAME", value_delimiter = ',', hide_env_values = true)]
    #[serde(deserialize_with = "one_or_many")]
    dashboard_host: Vec<String>,
    /// Get certificates for `tls: auto`, in the name of this address [default: none are got]
    #[arg(long, env = "BATON_ACME_EMAIL", value_name = "ADDRESS", hide_env_values = true)]
    acme_email: String,
    /// ACME directory of the authority to ask [default: Let's Encrypt]
    #[arg(long, env = "BATON_ACME_DIRECTORY", value_name = "URL", hide_env_values = true)]
    acme_directory: String,
    /// PEM file with the roots to trust the authority's own server by [default: those of the machine]
    #[arg(long, env = "BATON_ACME_CA", value_name = "FILE", hide_env_values = true)]
    acme_ca: PathBuf,
}

/// # Errors
/// The file that was named cannot be read, or has an unknown key or a value of another type.
pub(super) fn read(config: Option<&Path>) -> Result<Typed, CliError> {
    let path = config.unwrap_or(Path::new(CONFIG));
    match std::fs::read_to_string(path) {
        Ok(text) => parse(path, &text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && config.is_none() => {
            Ok(Typed::default())
        }
        Err(error) => Err(CliError::Usage(format!(
            "{}: cannot read it: {error}",
            path.display()
        ))),
    }
}

pub(super) fn parse(path: &Path, text: &str) -> Result<Typed, CliError> {
    let wrong = |error: toml::de::Error| CliError::Usage(format!("{}: {error}", path.display()));
    let table: toml::Table = text.parse().map_err(wrong)?;
    let known = keys();
    for key in table.keys() {
        if !known.contains(key) {
            let nearest = known
                .iter()
                .min_by_key(|known| strsim::damerau_levenshtein(known, key));
            return Err(CliError::Usage(format!(
                "{}: unknown key {key:?}; the nearest known one is {:?} (all: {})",
                path.display(),
                nearest.map_or("", String::as_str),
                known.join(", ")
            )));
        }
    }
    table.try_into().map_err(wrong)
}

fn one_or_many<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Vec<String>>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged, expecting = "expected a string or a list of strings")]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(Some(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let unknown = parse(Path::new("baton.toml"), "htpp = \"[::]:80\"").unwrap_err();
        insta::assert_snapshot!(unknown.to_string(),
            @r#"baton.toml: unknown key "htpp"; the nearest known one is "http" (all: http, https, data, socket, workers, log, trusted-proxy, metrics, access-log, access-log-file, router, nginx-include, nginx-command, nginx-reload, nginx-check, dashboard, dashboard-cert, dashboard-key, dashboard-host, acme-email, acme-directory, acme-ca)"#);
        assert_eq!(unknown.exit_code(), 2);
    }

    #[test]
    fn a_wrong_type_in_the_file_names_the_line() {
        let error = parse(Path::new("baton.toml"), "workers = \"many\"\n").unwrap_err();
        let text = error.to_string();
        assert!(text.starts_with("baton.toml: "), "{text}");
        assert!(text.contains("workers"), "{text}");
    }
}
