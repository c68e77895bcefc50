//! Docker Engine and Compose. Without them the process engine still works, so nothing here is wrong
//! for good.

use baton_compose::ComposeError;
use baton_engine::docker::DockerEngine;

use super::Finding;

pub(super) async fn engine() -> Finding {
    const CHECK: &str = "engine";
    match DockerEngine::open().live_restore().await {
        Ok(true) => Finding::well(
            CHECK,
            "the Docker Engine answers, and keeps containers when it restarts",
        ),
        Ok(false) => Finding::warning(
            CHECK,
            "the Docker Engine answers; when it restarts, containers stop",
            "write {\"live-restore\": true} into /etc/docker/daemon.json and `systemctl reload docker`",
        ),
        Err(error) => {
            let text = error.to_string();
            let (what, next) = text.split_once("; ").unwrap_or((&text, ""));
            Finding::warning(
                CHECK,
                what,
                format!("{next} (apps of the process engine need none)"),
            )
        }
    }
}

pub(super) async fn compose() -> Finding {
    const CHECK: &str = "compose";
    match baton_compose::compose_version().await {
        Ok(version) => Finding::well(CHECK, format!("docker compose {version}")),
        // No app is looked at here.
        Err(ComposeError::DockerMissing) => Finding::warning(
            CHECK,
            "docker is not in PATH",
            "install Docker Engine with its Compose plugin (https://docs.docker.com/engine/install/); apps of the process engine need none",
        ),
        Err(error) => {
            let text = error.to_string();
            let (what, next) = text.split_once('\n').unwrap_or((&text, ""));
            Finding::warning(CHECK, what, next.trim())
        }
    }
}
