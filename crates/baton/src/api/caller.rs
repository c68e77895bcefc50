//! Who calls: a user of this machine, by the kernel's word, or whoever holds a token.

use baton_deploy::token::TokenInfo;

use super::peer::Peer;

/// Longest name that a client may give to whom it acts for.
const LONGEST: usize = 64;

/// Put on each request before its handler sees it.
#[derive(Debug, Clone)]
pub enum Caller {
    /// On the control socket.
    User(Peer),
    /// Over TCP.
    Token(TokenInfo),
    /// Over TCP, where no token is asked for.
    Anyone,
}

impl Caller {
    /// For events and receipts. What the client itself says comes with what is known of it.
    #[must_use]
    pub fn by(&self, named: Option<&str>) -> Option<String> {
        let named = named.map(plain).filter(|name| !name.is_empty());
        match self {
            Caller::User(peer) => peer.by(named.as_deref()),
            Caller::Token(info) => Some(match named {
                Some(named) => format!("{named} (token {})", info.name),
                None => format!("token {}", info.name),
            }),
            Caller::Anyone => None,
        }
    }
}

/// It is shown on terminals and in pages: one short line without control characters.
fn plain(named: &str) -> String {
    let visible = named.chars().filter(|c| !c.is_control());
    visible.take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use baton_deploy::token::Scope;
    use time::OffsetDateTime;

    use super::*;

    #[test]
    fn a_token_is_named_behind_whom_it_acts_for() {
        let caller = Caller::Token(TokenInfo {
            id: 1,
            name: "ci".to_owned(),
            scope: Scope::Deploy,
            created_at: OffsetDateTime::UNIX_EPOCH,
            expires_at: None,
            last_used_at: None,
        });
        assert_eq!(caller.by(None).as_deref(), Some("token ci"));
        assert_eq!(
            caller.by(Some("octo\u{1b}[31mcat\n")).as_deref(),
            Some("octo[31mcat (token ci)")
        );
        assert_eq!(Caller::Anyone.by(Some("x")), None);
    }
}
