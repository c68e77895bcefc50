//! What is typed → what it means, with the defaults of the machine.

use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;

use baton_deploy::router::NginxSettings;
use ipnet::IpNet;
use tracing_subscriber::EnvFilter;

use super::{Machine, RouterChoice, Settings, Typed};
use crate::access_log;
use crate::acme::settings::{AcmeSettings, DEFAULT_DIRECTORY};
use crate::daemon::dashboard;
use crate::error::CliError;

/// # Errors
/// A value cannot be used, or two of them not together; with what was expected.
pub(super) fn check(typed: Typed, machine: &Machine) -> Result<Settings, CliError> {
    let router = router(&typed)?;
    if let RouterChoice::Nginx(_) = router {
        return behind_nginx(typed, machine, router);
    }
    let (http_port, https_port) = if machine.root {
        (80, 443)
    } else {
        (8080, 8443)
    };
    // Naming a place for plain traffic only is what one does behind another server that has port
    // 443 itself.
    let named = typed.http.is_some();
    let http = match &typed.http {
        Some(list) => addresses("http", list)?,
        None => vec![machine.any(http_port)],
    };
    let https = match &typed.https {
        Some(list) => addresses("https", list)?,
        None if named => Vec::new(),
        None => vec![machine.any(https_port)],
    };
    if http.is_empty() && https.is_empty() {
        return Err(CliError::Usage(
            "neither --http nor --https names an address: there is nothing to listen on".into(),
        ));
    }
    let acme = acme(
        typed.acme_email.clone(),
        typed.acme_directory.clone(),
        typed.acme_ca.clone(),
        &https,
    )?;
    let trusted = typed
        .trusted_proxy
        .clone()
        .unwrap_or_else(|| vec!["127.0.0.0/8".into(), "::1/128".into()]);
    let workers = typed.workers.unwrap_or(machine.cores);
    if workers == 0 {
        return Err(CliError::Usage(
            "--workers 0: the proxy needs one thread at least".into(),
        ));
    }
    let (data, socket) = folders(&typed, machine)?;
    Ok(Settings {
        http,
        https,
        data,
        socket,
        workers,
        log: log(typed.log.clone())?,
        trusted_proxies: networks(&trusted)?,
        acme,
        access_log: access_log(typed.access_log.as_deref(), typed.access_log_file.clone())?,
        metrics: match &typed.metrics {
            Some(text) => addresses("metrics", std::slice::from_ref(text))?
                .first()
                .copied(),
            None => None,
        },
        dashboard: dashboard(&typed)?,
        router,
    })
}

fn log(directives: Option<String>) -> Result<Option<String>, CliError> {
    if let Some(directives) = &directives
        && let Err(error) = EnvFilter::try_new(directives)
    {
        return Err(CliError::Usage(format!(
            "--log: expected a level such as info, or levels of parts such as info,baton_proxy=debug; found {directives:?} ({error})"
        )));
    }
    Ok(directives)
}

/// Certificates are got where someone can be told of them, and served where there is TLS.
fn acme(
    email: Option<String>,
    directory: Option<String>,
    ca: Option<PathBuf>,
    https: &[SocketAddr],
) -> Result<Option<AcmeSettings>, CliError> {
    let Some(email) = email else {
        if directory.is_some() || ca.is_some() {
            return Err(CliError::Usage(
                "--acme-directory and --acme-ca say whom to ask for certificates; --acme-email ADDRESS says that they are wanted".into(),
            ));
        }
        return Ok(None);
    };
    if !email.contains('@') || email.contains(char::is_whitespace) {
        return Err(CliError::Usage(format!(
            "--acme-email: expected an address such as ops@example.com, found {email:?}"
        )));
    }
    if https.is_empty() {
        return Err(CliError::Usage(
            "--acme-email: certificates are of no use without an HTTPS listener; add --https 0.0.0.0:443".into(),
        ));
    }
    let directory = directory.unwrap_or_else(|| DEFAULT_DIRECTORY.to_owned());
    if !directory.starts_with("https://") {
        return Err(CliError::Usage(format!(
            "--acme-directory: expected the https:// URL of an ACME directory, found {directory:?}"
        )));
    }
    Ok(Some(AcmeSettings {
        email,
        directory,
        ca: ca.map(absolute).transpose()?,
    }))
}

/// `off`, `on`, or `sampled:N`; a file alone means `on`.
fn access_log(
    said: Option<&str>,
    file: Option<PathBuf>,
) -> Result<Option<access_log::Wanted>, CliError> {
    let said = said.unwrap_or(if file.is_some() { "on" } else { "off" });
    let every = match said.strip_prefix("sampled:") {
        Some(number) => number.parse().ok(),
        None if said == "off" => return Ok(None),
        None => (said == "on").then_some(NonZeroU32::MIN),
    };
    let every = every.ok_or_else(|| {
        CliError::Usage(format!(
            "--access-log: expected off, on, or sampled:N for one line in N requests; found {said:?}"
        ))
    })?;
    let file = file.map(absolute).transpose()?;
    Ok(Some(access_log::Wanted { every, file }))
}

fn dashboard(typed: &Typed) -> Result<dashboard::Settings, CliError> {
    dashboard::Settings::new(
        addresses("dashboard", typed.dashboard.as_deref().unwrap_or_default())?,
        (typed.dashboard_cert.clone(), typed.dashboard_key.clone()),
        typed.dashboard_host.clone().unwrap_or_default(),
    )
}

fn folders(typed: &Typed, machine: &Machine) -> Result<(PathBuf, PathBuf), CliError> {
    let homeless = |what: &str| {
        CliError::Usage(format!(
            "no default for --{what}: neither HOME nor XDG_DATA_HOME is set; say --{what} PATH"
        ))
    };
    let data = typed.data.clone().or_else(|| machine.data());
    let socket = typed.socket.clone().or_else(|| machine.socket());
    Ok((
        absolute(data.ok_or_else(|| homeless("data"))?)?,
        absolute(socket.ok_or_else(|| homeless("socket"))?)?,
    ))
}

/// Nginx listens, and Baton's own proxy nowhere.
fn behind_nginx(
    typed: Typed,
    machine: &Machine,
    router: RouterChoice,
) -> Result<Settings, CliError> {
    let off = |list: &Option<Vec<String>>| {
        list.as_ref()
            .is_none_or(|list| list.iter().all(|word| word == "off"))
    };
    let means_something = |key: &str| match key {
        "http" => off(&typed.http),
        "https" => off(&typed.https),
        "data" | "socket" | "log" | "router" => true,
        _ => key.starts_with("nginx-") || key.starts_with("dashboard"),
    };
    let said = typed.said();
    if let Some(flag) = said.iter().find(|key| !means_something(key)) {
        return Err(CliError::Usage(format!(
            "--{flag} with --router nginx: nginx listens and forwards, Baton does not; take --{flag} out, or use --router embedded"
        )));
    }
    let (data, socket) = folders(&typed, machine)?;
    Ok(Settings {
        http: Vec::new(),
        https: Vec::new(),
        data,
        socket,
        workers: 1,
        log: log(typed.log.clone())?,
        trusted_proxies: Vec::new(),
        acme: None,
        metrics: None,
        access_log: None,
        dashboard: dashboard(&typed)?,
        router,
    })
}

fn router(typed: &Typed) -> Result<RouterChoice, CliError> {
    let embedded = match typed.router.as_deref() {
        None | Some("embedded") => true,
        Some("nginx") => false,
        Some(other) => {
            return Err(CliError::Usage(format!(
                "--router {other}: expected embedded or nginx"
            )));
        }
    };
    if embedded {
        let said = typed.said();
        return match said.iter().find(|key| key.starts_with("nginx-")) {
            Some(flag) => Err(CliError::Usage(format!(
                "--{flag} is for --router nginx, and --router is embedded"
            ))),
            None => Ok(RouterChoice::Embedded),
        };
    }
    let words = |flag: &str, text: &str| {
        let words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
        if words.is_empty() {
            return Err(CliError::Usage(format!("--{flag}: expected a command")));
        }
        Ok(words)
    };
    let include = typed.nginx_include.clone();
    let check = typed.nginx_check.as_deref().unwrap_or("127.0.0.1:7079");
    Ok(RouterChoice::Nginx(NginxSettings {
        include: absolute(include.unwrap_or_else(|| "/etc/nginx/conf.d/baton.conf".into()))?,
        command: words(
            "nginx-command",
            typed.nginx_command.as_deref().unwrap_or("nginx"),
        )?,
        reload: typed
            .nginx_reload
            .as_deref()
            .map(|text| words("nginx-reload", text))
            .transpose()?,
        check: check.parse().map_err(|_| {
            CliError::Usage(format!(
                "--nginx-check: expected an address of this machine such as 127.0.0.1:7079, found {check:?}"
            ))
        })?,
    }))
}

fn absolute(path: PathBuf) -> Result<PathBuf, CliError> {
    std::path::absolute(&path).map_err(|error| CliError::other(path.display(), error))
}

fn addresses(flag: &str, list: &[String]) -> Result<Vec<SocketAddr>, CliError> {
    if let [only] = list
        && only == "off"
    {
        return Ok(Vec::new());
    }
    list.iter()
        .map(|text| {
            text.parse().map_err(|_| {
                CliError::Usage(format!(
                    "--{flag}: expected an address such as 0.0.0.0:80 or [::]:80, or off; found {text:?}"
                ))
            })
        })
        .collect()
}

/// `10.0.0.0/8`, or one address.
fn networks(list: &[String]) -> Result<Vec<IpNet>, CliError> {
    list.iter()
        .map(|text| {
            IpNet::from_str(text)
                .or_else(|_| text.parse::<IpAddr>().map(IpNet::from))
                .map_err(|_| {
                    CliError::Usage(format!(
                        "--trusted-proxy: expected a network such as 10.0.0.0/8, found {text:?}"
                    ))
                })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::typed::parse;
    use super::*;

    fn user() -> Machine {
        Machine {
            root: false,
            ipv6: true,
            cores: 2,
            data_home: Some("/home/alice/.local/share".into()),
            runtime: Some("/run/user/1000".into()),
        }
    }

    fn root() -> Machine {
        Machine {
            root: true,
            ipv6: false,
            ..user()
        }
    }

    fn list(text: &str) -> Option<Vec<String>> {
        Some(vec![text.to_owned()])
    }

    #[test]
    fn defaults_depend_on_who_starts_it() {
        let settings = check(Typed::default(), &user()).unwrap();
        assert_eq!(settings.http, ["[::]:8080".parse().unwrap()]);
        assert_eq!(settings.https, ["[::]:8443".parse().unwrap()]);
        assert_eq!(settings.data, Path::new("/home/alice/.local/share/baton"));
        assert_eq!(settings.socket, Path::new("/run/user/1000/baton.sock"));

        let settings = check(Typed::default(), &root()).unwrap();
        assert_eq!(settings.http, ["0.0.0.0:80".parse().unwrap()]);
        assert_eq!(settings.https, ["0.0.0.0:443".parse().unwrap()]);
        assert_eq!(settings.data, Path::new("/var/lib/baton"));
        assert_eq!(settings.socket, Path::new("/run/baton/baton.sock"));
        assert_eq!(settings.trusted_proxies.len(), 2);
    }

    #[test]
    fn behind_nginx_baton_listens_nowhere() {
        let typed = Typed {
            router: Some("nginx".into()),
            nginx_command: Some("docker exec web nginx".into()),
            ..Typed::default()
        };
        let settings = check(typed, &root()).unwrap();
        assert_eq!((settings.http, settings.https), (Vec::new(), Vec::new()));
        let RouterChoice::Nginx(nginx) = settings.router else {
            panic!("nginx was asked for");
        };
        assert_eq!(nginx.include, Path::new("/etc/nginx/conf.d/baton.conf"));
        assert_eq!(nginx.command, ["docker", "exec", "web", "nginx"]);
        assert_eq!(nginx.reload, None);
        assert_eq!(nginx.check, "127.0.0.1:7079".parse().unwrap());
    }

    #[test]
    fn behind_nginx_what_is_the_proxys_is_refused_and_the_rest_goes_on() {
        let nginx = || Typed {
            router: Some("nginx".into()),
            ..Typed::default()
        };
        let rest = Typed {
            http: list("off"),
            socket: Some("/run/b.sock".into()),
            log: Some("debug".into()),
            dashboard: list("127.0.0.1:7070"),
            dashboard_host: list("ops.example.com"),
            nginx_check: Some("127.0.0.1:7100".into()),
            ..nginx()
        };
        check(rest, &root()).unwrap();
        let refused = [
            (
                "workers",
                Typed {
                    workers: Some(2),
                    ..nginx()
                },
            ),
            (
                "trusted-proxy",
                Typed {
                    trusted_proxy: list("10.0.0.0/8"),
                    ..nginx()
                },
            ),
            (
                "metrics",
                Typed {
                    metrics: Some("127.0.0.1:9180".into()),
                    ..nginx()
                },
            ),
            (
                "access-log",
                Typed {
                    access_log: Some("off".into()),
                    ..nginx()
                },
            ),
            (
                "access-log-file",
                Typed {
                    access_log_file: Some("/a".into()),
                    ..nginx()
                },
            ),
            (
                "acme-email",
                Typed {
                    acme_email: Some("a@b.c".into()),
                    ..nginx()
                },
            ),
            (
                "acme-directory",
                Typed {
                    acme_directory: Some("https://a".into()),
                    ..nginx()
                },
            ),
            (
                "acme-ca",
                Typed {
                    acme_ca: Some("/ca.pem".into()),
                    ..nginx()
                },
            ),
        ];
        for (flag, typed) in refused {
            let said = check(typed, &root()).unwrap_err().to_string();
            assert!(
                said.starts_with(&format!("--{flag} with --router nginx: ")),
                "{said}"
            );
        }
    }

    #[test]
    fn naming_a_plain_address_alone_leaves_port_443_to_others() {
        let typed = Typed {
            http: list("127.0.0.1:7080"),
            ..Typed::default()
        };
        let settings = check(typed, &root()).unwrap();
        assert_eq!(settings.http, ["127.0.0.1:7080".parse().unwrap()]);
        assert_eq!(settings.https, []);
    }

    #[test]
    fn flags_win_over_the_file_and_the_file_over_defaults() {
        let file = parse(
            Path::new("baton.toml"),
            "http = \"127.0.0.1:1\"\nworkers = 7\ntrusted-proxy = [\"10.0.0.0/8\", \"::1\"]\n",
        )
        .unwrap();
        let typed = Typed {
            http: list("127.0.0.1:2"),
            ..Typed::default()
        };
        let settings = check(typed.or(file), &user()).unwrap();
        assert_eq!(settings.http, ["127.0.0.1:2".parse().unwrap()]);
        assert_eq!(settings.workers, 7);
        assert_eq!(settings.trusted_proxies.len(), 2);
    }

    #[test]
    fn mistakes_say_what_was_expected() {
        let message = |typed: Typed| check(typed, &user()).unwrap_err().to_string();
        insta::assert_snapshot!(message(Typed { http: list("80"), ..Typed::default() }),
            @r#"--http: expected an address such as 0.0.0.0:80 or [::]:80, or off; found "80""#);
        insta::assert_snapshot!(message(Typed { trusted_proxy: list("lan"), ..Typed::default() }),
            @r#"--trusted-proxy: expected a network such as 10.0.0.0/8, found "lan""#);
        insta::assert_snapshot!(message(Typed { acme_email: Some("ops".into()), ..Typed::default() }),
            @r#"--acme-email: expected an address such as ops@example.com, found "ops""#);
        insta::assert_snapshot!(message(Typed { acme_ca: Some("ca.pem".into()), ..Typed::default() }),
            @"--acme-directory and --acme-ca say whom to ask for certificates; --acme-email ADDRESS says that they are wanted");
        insta::assert_snapshot!(message(Typed { acme_email: Some("ops@example.com".into()), http: list("127.0.0.1:80"), ..Typed::default() }),
            @"--acme-email: certificates are of no use without an HTTPS listener; add --https 0.0.0.0:443");
        insta::assert_snapshot!(message(Typed { access_log: Some("sampled:0".into()), ..Typed::default() }),
            @r#"--access-log: expected off, on, or sampled:N for one line in N requests; found "sampled:0""#);
        insta::assert_snapshot!(message(Typed { metrics: Some("9180".into()), ..Typed::default() }),
            @r#"--metrics: expected an address such as 0.0.0.0:80 or [::]:80, or off; found "9180""#);
        insta::assert_snapshot!(message(Typed { dashboard: list("0.0.0.0:7070"), ..Typed::default() }),
            @r"
        --dashboard 0.0.0.0:7070: without TLS everybody on the way could read the tokens
          give a certificate with --dashboard-cert and --dashboard-key, or listen on 127.0.0.1 and reach it through a tunnel or another server
        ");
        insta::assert_snapshot!(message(Typed { router: Some("haproxy".into()), ..Typed::default() }),
            @"--router haproxy: expected embedded or nginx");
        insta::assert_snapshot!(message(Typed { router: Some("nginx".into()), http: list("[::]:80"), ..Typed::default() }),
            @"--http with --router nginx: nginx listens and forwards, Baton does not; take --http out, or use --router embedded");
        insta::assert_snapshot!(message(Typed { nginx_reload: Some("systemctl reload nginx".into()), ..Typed::default() }),
            @"--nginx-reload is for --router nginx, and --router is embedded");
        let off = Typed {
            http: list("off"),
            https: list("off"),
            ..Typed::default()
        };
        insta::assert_snapshot!(message(off),
            @"neither --http nor --https names an address: there is nothing to listen on");
    }
}
