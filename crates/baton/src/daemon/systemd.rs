//! What systemd is told, where it started the daemon.

use sd_notify::NotifyState;

/// Settings and certificates are read again; [`ready`] ends it. It wants to know when that began.
pub fn reloading() {
    let mut state = vec![NotifyState::Reloading];
    state.extend(NotifyState::monotonic_usec_now());
    tell(&state);
}

/// What was reloaded is in use.
pub fn ready() {
    tell(&[NotifyState::Ready]);
}

/// This process serves. After an upgrade it is another one that systemd has to watch.
pub fn serving() {
    tell(&[NotifyState::MainPid(std::process::id()), NotifyState::Ready]);
}

/// It ends, as it was asked to.
pub fn stopping() {
    tell(&[NotifyState::Stopping]);
}

fn tell(state: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "systemd was not told");
    }
}
