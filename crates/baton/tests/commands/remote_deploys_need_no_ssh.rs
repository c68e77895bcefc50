//! A pipeline deploys through the API: over loopback (a tunnel), and over TLS with an authority of its own.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::kit::{Stage, command};

/// A certificate for localhost, and `ca.pem`, in the stage's folder.
fn certificate(stage: &Stage) -> [String; 2] {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let own = own.signed_by(&key, &authority).unwrap();
    let write = |name: &str, text: String| {
        let path = stage.folder().join(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    };
    write("ca.pem", authority.pem());
    [
        write("page.pem", own.pem()),
        write("page.key", key.serialize_pem()),
    ]
}

#[test]
fn a_pipeline_deploys_looks_and_goes_back_over_tls() {
    let files = Stage::bare();
    let [cert, key] = certificate(&files);
    // Every address: only a certificate allows that.
    let stage = Stage::start_with(&[
        "--dashboard",
        "0.0.0.0:0",
        "--dashboard-cert",
        &cert,
        "--dashboard-key",
        &key,
    ]);
    std::fs::copy(files.folder().join("ca.pem"), stage.folder().join("ca.pem")).unwrap();
    let host = format!("https://localhost:{}", stage.dashboard().port());
    let token = stage.ok(&["token", "create", "--scope", "deploy", "--name", "ci"]);
    let token = token.out.trim();
    let remote = |arguments: &[&str]| stage.remote(&host, token, arguments);

    stage.write(&[("VERSION", "one")]);
    let first = remote(&["deploy"]);
    assert_eq!(first.code, 0, "{first:?}");
    assert!(first.out.contains("✓ switch"), "{}", first.out);
    assert_eq!(stage.version(), "one");
    stage.write(&[("VERSION", "two")]);
    assert_eq!(remote(&["deploy", "--json"]).result()["ok"], true);
    assert_eq!(stage.version(), "two");
    assert!(remote(&["status"]).out.contains("shop"));
    assert_eq!(remote(&["rollback"]).code, 0);
    assert_eq!(stage.version(), "one");
    // Whoever did that can be told from whoever sits at the server.
    let events = stage.ok(&["events"]).out;
    assert!(events.contains("token ci"), "{events}");

    // What its scope does not allow, and what it says then.
    let refused = remote(&["remove", "--yes"]);
    assert_eq!(refused.code, 1, "{refused:?}");
    assert!(
        refused.err.contains("needs a token for admin"),
        "{refused:?}"
    );
    let unknown = stage.remote(&host, "baton_nobody", &["status"]);
    assert!(unknown.err.contains("not known here"), "{unknown:?}");

    // An authority that is not known is not believed.
    let output = command(stage.folder())
        .env("BATON_HOST", &host)
        .env("BATON_TOKEN", token)
        .env("SSL_CERT_FILE", "/dev/null")
        .arg("status")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && text.contains("BATON_CA"),
        "{text}"
    );
}

#[test]
fn a_token_is_never_sent_in_the_clear_nor_served_so() {
    let stage = Stage::bare();
    let refused = stage.remote("http://server.example:7070", "baton_x", &["status"]);
    assert_eq!(refused.code, 2, "{refused:?}");
    assert!(refused.err.contains("could read the token"), "{refused:?}");
    let missing = stage.remote("https://server.example", "", &["status"]);
    assert_eq!(missing.code, 2, "{missing:?}");
    assert!(missing.err.contains("baton token create"), "{missing:?}");
    let output = stage
        .serve()
        .args(["--dashboard", "0.0.0.0:0"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{text}");
    assert!(text.contains("without TLS"), "{text}");
}
