//! The systemd unit.

use std::path::Path;

/// Every option is one that the apps of the process engine can live with: they are children of the
/// daemon, and inherit what it may not do. So no `ProtectHome`, no `SystemCallFilter`, no
/// `MemoryDenyWriteExecute` (a JVM writes code).
const TEXT: &str = "\
# Written by `baton install`; changes belong into `systemctl edit baton`.
[Unit]
Description=Baton: zero-downtime deploys
Documentation=man:baton(1)
Wants=network-online.target
After=network-online.target docker.service

[Service]
Type=notify
# After `baton upgrade` it is another process that speaks.
NotifyAccess=all
ExecStart={binary} serve
ExecReload=/bin/kill -HUP $MAINPID
# Instances of the process engine outlive the daemon.
KillMode=process
Restart=always
RestartSec=1
# A start waits for nothing that takes long; a stop lets requests finish.
TimeoutStartSec=60
TimeoutStopSec=120
StateDirectory=baton
StateDirectoryMode=0700
RuntimeDirectory=baton
RuntimeDirectoryMode=0755
RuntimeDirectoryPreserve=yes
LimitNOFILE=1048576
# What carries the traffic goes last when memory is short; apps do not inherit it.
OOMScoreAdjust=-900

# Root, for ports below 1024, the engine's socket and `user:` of processes, and no more of it than that.
CapabilityBoundingSet=CAP_NET_BIND_SERVICE CAP_SETUID CAP_SETGID CAP_KILL CAP_CHOWN CAP_FOWNER CAP_DAC_OVERRIDE CAP_SYS_RESOURCE CAP_SYS_NICE CAP_SYS_PTRACE
NoNewPrivileges=yes
ProtectSystem=full
# For the file of `--router nginx`.
ReadWritePaths=-/etc/nginx/conf.d
ProtectClock=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
LockPersonality=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6 AF_NETLINK
SystemCallArchitectures=native

[Install]
WantedBy=multi-user.target
";

/// The unit that starts this binary.
#[must_use]
pub fn text(binary: &Path) -> String {
    TEXT.replace("{binary}", &binary.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_starts_the_binary_and_leaves_its_instances_alone() {
        let text = text(Path::new("/usr/bin/baton"));
        assert!(
            text.contains("\nExecStart=/usr/bin/baton serve\n"),
            "{text}"
        );
        assert!(text.contains("\nKillMode=process\n"), "{text}");
        assert!(!text.contains('{'), "{text}");
    }
}
