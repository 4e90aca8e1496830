//! `--netns`, `--cgroup` and `--container`: what is typed, as a number and as paths.

use std::path::{Path, PathBuf};

use super::command::{Failure, WRONG};
use crate::kernel::{cgroup, netns};

/// Fewest digits of a container's number that are taken for one.
const FEWEST_DIGITS: usize = 12;
/// Most names that an error lists.
const MOST_LISTED: usize = 8;
/// Where the root of the cgroups usually is, for paths that were typed with it.
const USUAL: [&str; 2] = ["/sys/fs/cgroup/unified", "/sys/fs/cgroup"];

/// The number of a network namespace: of a process, of a file, or as the kernel writes it, `net:[4026531840]`.
pub(super) fn netns(text: &str, live: bool) -> Result<u32, Failure> {
    if let Some(number) = netns::number(text) {
        return Ok(number);
    }
    if !live {
        return wrong(format!(
            "--netns {text}: that is of this host and moment, a recording knows numbers only\n  try: --netns 'net:[4026531840]', as readlink /proc/PID/ns/net printed it"
        ));
    }
    let try_this = "\n  try: --netns $(pidof -s server), or --netns /run/netns/NAME";
    let found = match text.parse::<u32>() {
        Ok(pid) => netns::of_process(pid).map(Some),
        Err(_) => netns::of_file(Path::new(text)),
    };
    match found {
        Ok(Some(number)) => Ok(number),
        Ok(None) => wrong(format!("--netns {text}: it is no network namespace{try_this}")),
        Err(error) => wrong(format!("--netns {text}: {error}{try_this}")),
    }
}

/// The path of a cgroup from the root; live, one that is there.
pub(super) fn cgroup(text: &str, live: bool) -> Result<String, Failure> {
    let mount = if live { Some(mount("--cgroup")?) } else { None };
    let roots: Vec<&str> = mount.as_deref().into_iter().chain(USUAL).collect();
    let path = normal(text, &roots);
    if path.split('/').any(|part| part == "..") {
        return wrong(format!(
            "--cgroup {text}: it is not a path from the root of the cgroups\n  try: --cgroup \"$(sed -n s/^0:://p /proc/PID/cgroup)\""
        ));
    }
    if let Some(mount) = mount.filter(|mount| !Path::new(&folder(mount, &path)).is_dir()) {
        return wrong(format!(
            "--cgroup {text}: there is no {path} below {mount}\n  try: --cgroup \"$(sed -n s/^0:://p /proc/PID/cgroup)\", or systemd-cgls, which lists them"
        ));
    }
    Ok(path)
}

/// The folders of cgroups that were typed, to be opened.
pub(super) fn folders(paths: &[String]) -> Result<Vec<PathBuf>, Failure> {
    if paths.is_empty() {
        return Ok(Vec::new());
    }
    let mount = mount("--cgroup")?;
    Ok(paths.iter().map(|path| PathBuf::from(folder(&mount, path))).collect())
}

/// The cgroup of the container that has this name or number, by the paths alone.
pub(super) fn container(text: &str) -> Result<String, Failure> {
    let mount = mount("--container")?;
    let all = cgroup::all(&mount).map_err(|error| Failure {
        message: format!("--container: cannot read {mount}: {error}"),
        code: WRONG,
    })?;
    one_container(text, &all)
}

fn one_container(text: &str, all: &[String]) -> Result<String, Failure> {
    let named = |path: &&String| path.rsplit('/').next().is_some_and(|last| is_of(last, text));
    let found: Vec<&String> = all.iter().filter(named).collect();
    // What stands below one that was found belongs to it.
    let outermost = |path: &&&String| {
        !found
            .iter()
            .any(|other| path.strip_prefix(other.as_str()).is_some_and(|r| r.starts_with('/')))
    };
    let found: Vec<&String> = found.iter().filter(outermost).copied().collect();
    match found.as_slice() {
        [only] => Ok((*only).clone()),
        [] => wrong(format!(
            "--container {text}: no cgroup is called so; the names of Docker and Kubernetes stand in none, their numbers do\n  try: --container \"$(docker inspect -f '{{{{.Id}}}}' {text})\", or --cgroup PATH"
        )),
        several => {
            let listed: Vec<&str> =
                several.iter().take(MOST_LISTED).map(|path| path.as_str()).collect();
            let more = match several.len().saturating_sub(MOST_LISTED) {
                0 => String::new(),
                more => format!("\n  and {more} more"),
            };
            wrong(format!(
                "--container {text}: {} cgroups could be meant:\n  {}{more}\n  try: --cgroup {}",
                several.len(),
                listed.join("\n  "),
                listed.first().unwrap_or(&"PATH")
            ))
        }
    }
}

/// Whether a cgroup with this name is the container's: by its number or the start of that, or by its name, as
/// `docker-ID.scope`, `ID`, `cri-containerd-ID.scope`, `machine-NAME.scope`, `systemd-nspawn@NAME.service`,
/// `lxc.payload.NAME`, `NAME`. The processes that guard a container (conmon) are not in it.
fn is_of(cgroup: &str, text: &str) -> bool {
    let bare = cgroup.strip_suffix(".scope").or(cgroup.strip_suffix(".service")).unwrap_or(cgroup);
    if bare.contains("conmon-") {
        return false;
    }
    let is_number = |word: &str| {
        word.len() >= FEWEST_DIGITS && word.bytes().all(|byte| byte.is_ascii_hexdigit())
    };
    let number = bare.rsplit(['-', ':']).next().filter(|word| is_number(word));
    if number.is_some_and(|number| is_number(text) && number.starts_with(text)) {
        return true;
    }
    let affixes = ["", "machine-", "systemd-nspawn@", "lxc.payload.", "docker-", "libpod-"];
    let named = |affix: &str| bare.strip_prefix(affix).is_some_and(|name| name == text);
    affixes.iter().any(|affix| named(affix)) || cgroup == text
}

/// Where the cgroups of version 2 are.
fn mount(flag: &str) -> Result<String, Failure> {
    let mount = cgroup::mount().and_then(|path| path.into_os_string().into_string().ok());
    mount.map_or_else(
        || {
            wrong(format!(
                "{flag}: it needs cgroups of version 2, and none are mounted here\n  try: mount -t cgroup2 none /sys/fs/cgroup/unified, or --pid"
            ))
        },
        Ok,
    )
}

fn folder(mount: &str, path: &str) -> String {
    format!("{}{path}", mount.trim_end_matches('/'))
}

/// From the root of the cgroups, with one slash between the parts and none at the end.
fn normal(text: &str, roots: &[&str]) -> String {
    let below = roots
        .iter()
        .filter_map(|root| text.strip_prefix(*root))
        .find(|rest| rest.is_empty() || rest.starts_with('/'));
    let parts = below.unwrap_or(text).split('/').filter(|part| !part.is_empty() && *part != ".");
    format!("/{}", parts.collect::<Vec<_>>().join("/"))
}

fn wrong<T>(message: String) -> Result<T, Failure> {
    Err(Failure { message, code: WRONG })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    #[test]
    fn a_path_is_from_the_root_however_it_is_typed() {
        let roots = ["/mnt", "/sys/fs/cgroup"];
        for (typed, path) in [
            ("/a/b", "/a/b"),
            ("a/b/", "/a/b"),
            ("/sys/fs/cgroup/a//b", "/a/b"),
            ("/sys/fs/cgroup", "/"),
            ("/mnt/a", "/a"),
            ("/mntx/a", "/mntx/a"),
            ("/", "/"),
        ] {
            assert_eq!(normal(typed, &roots), path, "{typed}");
        }
        assert!(cgroup("/a/../b", false).is_err());
        assert_eq!(cgroup("/sys/fs/cgroup/a", false).ok().as_deref(), Some("/a"));
    }

    #[test]
    fn a_container_is_found_by_number_and_by_name() {
        for cgroup in [
            format!("docker-{ID}.scope"),
            ID.to_owned(),
            format!("cri-containerd-{ID}.scope"),
            format!("crio-{ID}.scope"),
            format!("kubepods-pod1.slice:cri-containerd:{ID}"),
        ] {
            assert!(is_of(&cgroup, ID) && is_of(&cgroup, &ID[..12]), "{cgroup}");
            assert!(!is_of(&cgroup, &ID[..11]) && !is_of(&cgroup, "123456789abc"), "{cgroup}");
        }
        for cgroup in ["machine-web.scope", "systemd-nspawn@web.service", "lxc.payload.web", "web"]
        {
            assert!(is_of(cgroup, "web") && !is_of(cgroup, "we"), "{cgroup}");
        }
        assert!(!is_of(&format!("libpod-conmon-{ID}.scope"), ID));
    }

    #[test]
    fn one_container_is_meant_or_all_are_listed() {
        let all = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let said = |found: Result<String, Failure>| found.map_err(|failure| failure.message);
        let below = all(&["/a/web", "/a/web/web", "/b"]);
        assert_eq!(said(one_container("web", &below)), Ok("/a/web".to_owned()));
        let two = said(one_container("web", &all(&["/a/web", "/b/web", "/c"]))).unwrap_err();
        assert!(two.contains("2 cgroups") && two.contains("\n  /a/web\n  /b/web\n"), "{two}");
        let none = said(one_container("web", &all(&["/a"]))).unwrap_err();
        assert!(none.contains("no cgroup is called so") && none.contains("{{.Id}}"), "{none}");
    }

    #[test]
    fn a_recording_knows_numbers_of_namespaces_only() {
        assert_eq!(netns("net:[7]", false).ok(), Some(7));
        assert!(netns("1", false).is_err() && netns("/proc/self/ns/net", false).is_err());
        assert!(netns("/proc/self/ns/net", true).is_ok());
        for (typed, why) in
            [("/none", "No such file"), ("/proc/self/ns/uts", "no network namespace")]
        {
            let error = netns(typed, true).err().map(|failure| failure.message).unwrap();
            assert!(error.contains(why) && error.contains("try:"), "{error}");
        }
    }
}
