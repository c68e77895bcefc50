//! Who calls: the kernel's word (`SO_PEERCRED`), not the caller's.

use axum::extract::connect_info::Connected;
use axum::serve::IncomingStream;
use tokio::net::UnixListener;

/// The user at the other end of a connection to the socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// None where the kernel did not tell.
    uid: Option<u32>,
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Peer {
        Peer {
            uid: stream.io().peer_cred().ok().map(|cred| cred.uid()),
        }
    }
}

impl Peer {
    /// Whether it may run a binary as the daemon's user: that user itself, and root. The members of the
    /// socket's group may not.
    #[must_use]
    pub fn may_upgrade(&self) -> bool {
        let own = rustix::process::geteuid().as_raw();
        self.uid.is_some_and(|uid| uid == 0 || uid == own)
    }

    /// For events and receipts: the user's name, and behind it whom the command named (a CI user,
    /// whoever called sudo).
    #[must_use]
    pub fn by(&self, named: Option<&str>) -> Option<String> {
        let user = self.uid.map(|uid| {
            std::fs::read_to_string("/etc/passwd")
                .ok()
                .and_then(|passwd| user_name(&passwd, uid))
                .unwrap_or_else(|| format!("uid {uid}"))
        });
        match (user, named) {
            (Some(user), Some(named)) if user != named => Some(format!("{named} (as {user})")),
            (Some(user), _) => Some(user),
            (None, named) => named.map(str::to_owned),
        }
    }
}

/// The name of a user in the text of `/etc/passwd`. Read by hand: the static C library cannot load
/// the modules that its own look-up wants.
fn user_name(passwd: &str, uid: u32) -> Option<String> {
    let uid = uid.to_string();
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_from_the_passwd_file() {
        let passwd = "root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000).as_deref(), Some("alice"));
        assert_eq!(user_name(passwd, 100), None);
    }

    #[test]
    fn whom_the_command_names_stands_before_the_user() {
        let root = Peer { uid: Some(0) };
        assert_eq!(root.by(None).as_deref(), Some("root"));
        assert_eq!(
            root.by(Some("octocat")).as_deref(),
            Some("octocat (as root)")
        );
        assert_eq!(Peer { uid: None }.by(None), None);
    }
}
