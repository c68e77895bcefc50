//! `install` and `uninstall` put files where they belong and take them away; `doctor` says what is wrong;
//! `man` writes the manual.

use std::net::TcpListener;
use std::path::Path;
use std::process::Command;

use crate::kit::Stage;

#[test]
fn what_is_installed_below_a_folder_is_whole_and_goes_again() {
    let stage = Stage::bare();
    let root = stage.folder().join("root");
    let at = |path: &str| root.join(path);
    let shown = root.to_string_lossy().into_owned();
    let install = [
        "install",
        "--root",
        &shown,
        "--http",
        "127.0.0.1:7080",
        "--json",
    ];
    let said = stage.baton(&install);
    assert_eq!(said.code, 0, "{said:?}");
    let unit = std::fs::read_to_string(at("etc/systemd/system/baton.service")).unwrap();
    assert!(
        unit.contains("ExecStart=/usr/local/bin/baton serve"),
        "{unit}"
    );
    let settings = std::fs::read_to_string(at("etc/baton/baton.toml")).unwrap();
    assert_eq!(settings.trim(), "http = [\"127.0.0.1:7080\"]");
    // The copy is the program.
    let version = Command::new(at("usr/local/bin/baton"))
        .arg("--version")
        .output()
        .unwrap();
    assert!(version.stdout.starts_with(b"baton "), "{version:?}");

    // Again is nothing new; other settings are refused, since the file is the user's.
    assert_eq!(stage.baton(&install).code, 0);
    let other = stage.baton(&["install", "--root", &shown, "--http", "127.0.0.1:7081"]);
    assert_eq!(other.code, 2, "{other:?}");
    assert!(
        other
            .err
            .contains("is there already and says something else"),
        "{other:?}"
    );

    let said = stage.baton(&["uninstall", "--root", &shown]);
    assert_eq!(said.code, 0, "{said:?}");
    assert!(!at("etc/systemd/system/baton.service").exists());
    assert!(!at("usr/local/bin/baton").exists());
    assert!(at("etc/baton/baton.toml").exists(), "settings stay");
    assert_eq!(
        stage
            .baton(&["uninstall", "--root", &shown, "--purge"])
            .code,
        0
    );
    assert!(!at("etc/baton/baton.toml").exists());
}

#[test]
fn the_unit_is_one_that_systemd_understands() {
    let stage = Stage::bare();
    let unit = stage.ok(&["install", "--print"]).out;
    let file = stage.folder().join("baton.service");
    // The program has to be there for systemd to be content.
    let unit = unit.replace("/usr/local/bin/baton", "/bin/true");
    std::fs::write(&file, unit).unwrap();
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .arg(&file)
        .output()
        .expect("systemd-analyze, of the Debian package systemd");
    let words = String::from_utf8_lossy(&verified.stderr).into_owned();
    let ours: Vec<&str> = words
        .lines()
        .filter(|line| line.contains("baton.service"))
        .collect();
    assert!(verified.status.success() && ours.is_empty(), "{words}");
}

#[test]
fn a_taken_port_is_named_with_who_has_it() {
    let stage = Stage::bare();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = stage.folder().join("baton.toml");
    let data = stage.folder().join("data");
    let text = format!(
        "http = \"{}\"\nhttps = \"off\"\ndata = {:?}\n",
        taken.local_addr().unwrap(),
        data
    );
    std::fs::write(&config, text).unwrap();
    let config = config.to_string_lossy().into_owned();
    let socket = stage
        .folder()
        .join("no.sock")
        .to_string_lossy()
        .into_owned();
    let doctor = ["doctor", "--config", &config, "--socket", &socket, "--json"];
    let said = stage.baton(&doctor);
    assert_eq!(said.code, 1, "{said:?}");
    let finding = |check: &str| {
        let lines = said
            .out
            .lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
        let mut found = lines.filter(|line| line["check"] == check);
        found
            .next()
            .unwrap_or_else(|| panic!("no {check}: {said:?}"))
    };
    let ports = finding("ports");
    assert_eq!(ports["state"], "wrong");
    let own = format!("(process {})", std::process::id());
    assert!(ports["text"].as_str().unwrap().contains(&own), "{ports}");
    assert!(
        ports["next"]
            .as_str()
            .unwrap()
            .contains("--http 127.0.0.1:7080"),
        "{ports}"
    );
    assert_eq!(finding("compose")["state"], "well", "{said:?}");
    assert_ne!(finding("engine")["state"], "wrong", "{said:?}");
    assert!(finding("disk")["text"].as_str().unwrap().contains("free"));

    drop(taken);
    let said = stage.baton(&doctor);
    assert_eq!(said.code, 0, "{said:?}");
}

#[test]
fn the_manual_has_a_page_for_every_command() {
    let stage = Stage::bare();
    let folder = stage.folder().join("man1");
    stage.ok(&["man", &folder.to_string_lossy()]);
    for page in [
        "baton.1",
        "baton-deploy.1",
        "baton-canary-set.1",
        "baton-serve.1",
    ] {
        let text =
            std::fs::read_to_string(folder.join(page)).unwrap_or_else(|e| panic!("{page}: {e}"));
        assert!(
            text.contains(".SH NAME") || text.contains(".SH \"NAME\""),
            "{page}: {text}"
        );
    }
    assert!(!Path::new(&folder.join("baton-__shim.1")).exists());
}
