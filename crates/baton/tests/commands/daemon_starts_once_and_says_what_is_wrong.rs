//! What keeps a daemon from starting, in words with a next step.

use crate::kit::{Said, Stage, command, signal, wait_for};

#[test]
fn a_second_one_on_the_same_data_names_the_first() {
    let stage = Stage::start();
    let second = Said::from(stage.serve().output().unwrap());
    assert_eq!(second.code, 1, "{second:?}");
    assert!(
        second.err.contains(&format!("(pid {})", stage.pid())),
        "{second:?}"
    );
    // The first one has not noticed.
    stage.ok(&["status"]);
}

#[test]
fn a_taken_port_is_said() {
    let stage = Stage::bare();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let said = command(stage.folder())
        .args([
            "serve",
            "--config",
            "/dev/null",
            "--http",
            &address,
            "--data",
            "data",
        ])
        .output()
        .unwrap();
    let said = Said::from(said);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(
        said.err.contains(&format!("cannot listen on {address}")),
        "{said:?}"
    );
    assert!(!stage.folder().join("baton.sock").exists());
}

#[test]
fn the_configuration_file_is_read_and_mistakes_in_it_are_named() {
    let stage = Stage::bare();
    let config = stage.folder().join("baton.toml");
    std::fs::write(&config, "htpp = \"127.0.0.1:0\"\n").unwrap();
    let serve = |environment: &[(&str, &str)]| {
        let mut command = command(stage.folder());
        command.args(["serve", "--config"]).arg(&config);
        for (name, value) in environment {
            command.env(name, value);
        }
        Said::from(command.output().unwrap())
    };
    let said = serve(&[]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(
        said.err.contains("the nearest known one is \"http\""),
        "{said:?}"
    );

    // The environment wins over the file.
    std::fs::write(&config, "http = \"127.0.0.1:0\"\nrouter = \"embedded\"\n").unwrap();
    let said = serve(&[("BATON_ROUTER", "haproxy")]);
    assert_eq!(said.code, 2, "{said:?}");
    assert!(
        said.err
            .contains("--router haproxy: expected embedded or nginx"),
        "{said:?}"
    );
}

#[test]
fn sighup_reads_certificates_and_ends_nothing() {
    let stage = Stage::start();
    signal(stage.pid(), rustix::process::Signal::HUP);
    wait_for("the daemon to say so", || {
        stage
            .log()
            .contains("certificates were read again")
            .then_some(())
    });
    stage.ok(&["status"]);
}
