//! The engines of this machine. None of them has to work for the daemon to start: a machine without
//! Docker still serves process apps, and a Docker that starts later is found when it is needed.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use baton_compose::EngineKind;
use baton_engine::Engine;
use baton_engine::docker::DockerEngine;
use baton_engine::process::{ProcessEngine, ShimProgram};

use crate::error::CliError;

/// Both, by name. `before`: processes that this one has taken over from.
///
/// # Errors
/// The process engine's folder cannot be used.
pub fn all(data: &Path, before: &[u32]) -> Result<BTreeMap<EngineKind, Arc<dyn Engine>>, CliError> {
    let docker: Arc<dyn Engine> = Arc::new(DockerEngine::open());
    let process = ShimProgram::this_binary()
        .and_then(|shim| ProcessEngine::open(data, shim))
        .map_err(|error| CliError::Other(error.to_string()))?;
    let process: Arc<dyn Engine> = Arc::new(process.after(before));
    Ok(BTreeMap::from([
        (EngineKind::Docker, docker),
        (EngineKind::Process, process),
    ]))
}
