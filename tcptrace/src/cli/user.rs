//! Who runs COMMAND: under sudo the user who typed it, or `--user`. The files are read by ourselves: a static program
//! cannot ask the C library.

use std::{env, fs};

use super::command::{Failure, WRONG};

/// A user, as far as the files know him.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    /// Number of the user.
    pub(super) uid: u32,
    /// Number of his first group.
    pub(super) gid: u32,
    /// Numbers of all his groups.
    pub(super) groups: Vec<u32>,
    /// His name and his home.
    pub(super) names: Option<(String, String)>,
}

/// Whom COMMAND is to run as; `None` is whoever runs tcptrace.
pub(super) fn of_command(wanted: Option<&str>) -> Result<Option<Account>, Failure> {
    // SAFETY: the call has no argument and cannot fail.
    let root = unsafe { libc::geteuid() } == 0;
    let (passwd, group) = (read("/etc/passwd"), read("/etc/group"));
    let number = |name: &str| env::var(name).ok().and_then(|text| text.parse().ok());
    match wanted {
        Some(name) if !root => Err(Failure {
            message: format!(
                "--user: only root can run a command as '{name}'\n  try: the command line with sudo"
            ),
            code: WRONG,
        }),
        Some(name) => account(&passwd, &group, name).map(Some).ok_or_else(|| Failure {
            message: format!("--user: no user '{name}' in /etc/passwd\n  try: --user nobody"),
            code: WRONG,
        }),
        None => Ok(root
            .then(|| Some((number("SUDO_UID")?, number("SUDO_GID")?)))
            .flatten()
            .map(|(uid, gid)| numbered(&passwd, &group, uid, gid))),
    }
}

/// A file that is not there knows nobody.
fn read(path: &str) -> String {
    fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
}

/// A user by his name; a number may be one that nobody has, and is its own group then.
fn account(passwd: &str, group: &str, name: &str) -> Option<Account> {
    let known = |line: &&str| line.split(':').next() == Some(name);
    if let Some([uid, gid, ..]) = passwd.lines().find(known).and_then(fields) {
        return Some(numbered(passwd, group, uid.parse().ok()?, gid.parse().ok()?));
    }
    let digits = !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit());
    // (uid_t) -1 means "leave it as it is".
    let uid = name.parse().ok().filter(|uid| digits && *uid != u32::MAX)?;
    let gid = by_number(passwd, uid).and_then(|[_, gid, ..]| gid.parse().ok());
    Some(numbered(passwd, group, uid, gid.unwrap_or(uid)))
}

fn numbered(passwd: &str, group: &str, uid: u32, gid: u32) -> Account {
    let names = by_number(passwd, uid).map(|[_, _, home, name]| (name.to_owned(), home.to_owned()));
    let mut groups = vec![gid];
    if let Some((name, _)) = &names {
        let member = |line: &str| {
            let [_, _, number, members] = line.split(':').collect::<Vec<_>>().try_into().ok()?;
            let number: u32 = number.parse().ok()?;
            (number != gid && members.split(',').any(|one| one.trim() == name)).then_some(number)
        };
        groups.extend(group.lines().filter_map(member));
    }
    Account { uid, gid, groups, names }
}

fn by_number(passwd: &str, uid: u32) -> Option<[&str; 4]> {
    passwd.lines().filter_map(fields).find(|[number, ..]| number.parse() == Ok(uid))
}

/// User, group, home and name of a line of `/etc/passwd`.
fn fields(line: &str) -> Option<[&str; 4]> {
    let mut words = line.split(':');
    let name = words.next()?;
    let (uid, gid) = (words.nth(1)?, words.next()?);
    Some([uid, gid, words.nth(1)?, name])
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n# a comment\n\
                          anna:x:1000:1001:Anna,,,:/home/anna:/bin/bash\nbroken:x\n";
    const GROUP: &str = "root:x:0:\nadm:x:4:syslog,anna\nanna:x:1001:anna\nsudo:x:27:anna,ben\nx\n";

    #[test]
    fn users_have_all_their_groups() {
        let anna = Account {
            uid: 1000,
            gid: 1001,
            groups: vec![1001, 4, 27],
            names: Some(("anna".to_owned(), "/home/anna".to_owned())),
        };
        assert_eq!(account(PASSWD, GROUP, "anna"), Some(anna.clone()));
        assert_eq!(account(PASSWD, GROUP, "1000"), Some(anna.clone()));
        assert_eq!(numbered(PASSWD, GROUP, 1000, 1001), anna);
    }

    #[test]
    fn numbers_need_no_name_and_names_need_a_line() {
        let nameless = Account { uid: 77, gid: 77, groups: vec![77], names: None };
        assert_eq!(account(PASSWD, GROUP, "77"), Some(nameless));
        for name in ["", "ben", "broken", "-1", "+5", "4294967295", "# a comment"] {
            assert_eq!(account(PASSWD, GROUP, name), None, "{name}");
        }
    }
}
