//! The test server in the idle color.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Network, Redis};

/// `preview`
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Preview {
    /// Hosts that reach it, of the same kinds as the live ones. Empty for a worker.
    pub hosts: Vec<String>,
    /// User → bcrypt hash; empty: nobody is asked.
    pub basic_auth: BTreeMap<String, String>,
    /// Clients outside of these networks get 403; empty: all may come.
    pub allow: Vec<Network>,
    /// It may share what the live color uses.
    pub share: bool,
    /// Over the environment of the service, `colors` included. `${BATON_COLOR}` in it reads as blue
    /// here; what each color gets is in the renderings of [`crate::Role::Preview`].
    pub environment: BTreeMap<String, String>,
    /// `redis` where it reads otherwise in a preview (`${BATON_ROLE}` in a key or a group).
    #[serde(default)]
    pub redis: Option<Redis>,
}

/// Users and environment by name only: the values are secrets.
impl fmt::Debug for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Preview")
            .field("hosts", &self.hosts)
            .field("basic_auth", &self.basic_auth.keys())
            .field("allow", &self.allow)
            .field("share", &self.share)
            .field("environment", &self.environment.keys())
            .field("redis", &self.redis)
            .finish()
    }
}
