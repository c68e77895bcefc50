//! `user: NAME|UID[:GROUP|GID]`, looked up in `/etc/passwd` and `/etc/group` by ourselves: a static
//! glibc cannot load the name services.

use std::fs;

/// As whom a command runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Identity {
    pub(super) uid: u32,
    pub(super) gid: u32,
    /// Supplementary groups, `gid` included.
    pub(super) groups: Vec<u32>,
    pub(super) home: Option<String>,
}

/// Looks `user` up on this machine. The error says what was not found.
pub(super) fn resolve(user: &str) -> Result<Identity, String> {
    let read = |path: &str| fs::read_to_string(path).map_err(|error| format!("{path}: {error}"));
    resolve_in(user, &read("/etc/passwd")?, &read("/etc/group")?)
}

fn resolve_in(user: &str, passwd: &str, group: &str) -> Result<Identity, String> {
    let (user, wanted_group) = match user.split_once(':') {
        Some((user, group)) => (user, Some(group)),
        None => (user, None),
    };
    let entry = passwd
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() >= 7 && (fields[0] == user || fields[2] == user));
    let number = |text: &str| text.parse::<u32>().ok();
    let uid = match &entry {
        Some(fields) => number(fields[2]),
        None => number(user),
    }
    .ok_or_else(|| format!("user {user:?} is not in /etc/passwd"))?;
    let gid = match (wanted_group, &entry) {
        (Some(name), _) => {
            group_id(name, group).ok_or_else(|| format!("group {name:?} is not in /etc/group"))?
        }
        (None, Some(fields)) => number(fields[3])
            .ok_or_else(|| format!("user {user:?} has no valid group in /etc/passwd"))?,
        (None, None) => {
            return Err(format!(
                "uid {uid} is not in /etc/passwd, so its group is unknown: write \"{uid}:GID\""
            ));
        }
    };
    let mut groups = vec![gid];
    // A group that was asked for by name is the only one, as with `docker run --user`.
    if let (None, Some(fields)) = (wanted_group, &entry) {
        groups.extend(groups_of(fields[0], group).filter(|id| *id != gid));
    }
    Ok(Identity {
        uid,
        gid,
        groups,
        home: entry.map(|fields| fields[5].to_owned()),
    })
}

fn group_id(name: &str, group: &str) -> Option<u32> {
    group
        .lines()
        .map(|line| line.split(':').collect::<Vec<_>>())
        .find(|fields| fields.len() >= 3 && fields[0] == name)
        .map_or_else(|| name.parse().ok(), |fields| fields[2].parse().ok())
}

fn groups_of<'a>(user: &'a str, group: &'a str) -> impl Iterator<Item = u32> + 'a {
    group.lines().filter_map(move |line| {
        let fields: Vec<&str> = line.split(':').collect();
        let member = fields.get(3)?.split(',').any(|member| member == user);
        member.then(|| fields[2].parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\nweb:x:33:33::/var/www:/bin/false\n";
    const GROUP: &str = "root:x:0:\nweb:x:33:\nssl:x:110:web,root\nlogs:x:120:web\n";

    #[test]
    fn a_name_brings_its_groups_and_home() {
        assert_eq!(
            resolve_in("web", PASSWD, GROUP),
            Ok(Identity {
                uid: 33,
                gid: 33,
                groups: vec![33, 110, 120],
                home: Some("/var/www".to_owned())
            })
        );
    }

    #[test]
    fn a_number_is_looked_up_too() {
        assert_eq!(
            resolve_in("33", PASSWD, GROUP),
            resolve_in("web", PASSWD, GROUP)
        );
    }

    #[test]
    fn a_group_that_is_named_is_the_only_one() {
        let identity = resolve_in("web:ssl", PASSWD, GROUP).expect("known");
        assert_eq!((identity.uid, identity.groups), (33, vec![110]));
        let identity = resolve_in("5000:6000", PASSWD, GROUP).expect("numbers");
        assert_eq!((identity.uid, identity.gid), (5000, 6000));
    }

    #[test]
    fn what_is_unknown_is_named() {
        let error = |user| resolve_in(user, PASSWD, GROUP).expect_err("unknown");
        assert_eq!(error("nobody"), "user \"nobody\" is not in /etc/passwd");
        assert_eq!(error("web:x"), "group \"x\" is not in /etc/group");
        assert!(error("5000").contains("write \"5000:GID\""));
    }
}
