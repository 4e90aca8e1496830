//! Debian's archive through apt: a private set of lists for a suite that is not the machine's own.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::command;

/// Signs all suites of Debian, the old ones too.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One suite, with lists and a cache of its own.
#[derive(Debug)]
pub(crate) struct Suite {
    folder: PathBuf,
}

/// A package that can be asked for: its name and version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
}

impl Suite {
    /// Fetches the suite's lists into `folder`.
    pub(crate) fn fetch(name: &str, folder: &Path) -> Result<Self> {
        let archive = Archive::of_this_machine()?;
        for part in ["lists/partial", "cache/archives/partial"] {
            fs::create_dir_all(folder.join(part))?;
        }
        // What is installed here must not decide what is offered there.
        fs::write(folder.join("status"), "")?;
        fs::write(folder.join("sources.list"), archive.sources(name)?)?;
        let suite = Self { folder: folder.to_owned() };
        command::output(suite.apt("apt-get").arg("update"))
            .with_context(|| format!("no lists for {name}"))?;
        Ok(suite)
    }

    /// The packages whose names start and end like this, newest first.
    pub(crate) fn packages(&self, start: &str, end: &str) -> Result<Vec<Package>> {
        let names = command::text(self.apt("apt-cache").args(["pkgnames", start]))?;
        let fits = |name: &&str| {
            name.strip_prefix(start)
                .and_then(|rest| rest.strip_suffix(end))
                .is_some_and(|middle| !middle.is_empty() && !middle.contains('-'))
        };
        let names: Vec<&str> = names.lines().filter(fits).collect();
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let table = command::text(self.apt("apt-cache").arg("madison").args(names))?;
        let mut packages: Vec<Package> = table.lines().filter_map(madison_line).collect();
        packages.sort_by_key(|package| std::cmp::Reverse(numbers(&package.version)));
        packages.dedup();
        Ok(packages)
    }

    /// Downloads a package into `folder`; apt checks its signature and sums.
    pub(crate) fn download(&self, package: &Package, folder: &Path) -> Result<PathBuf> {
        fs::create_dir_all(folder)?;
        let wanted = format!("{}={}", package.name, package.version);
        command::output(self.apt("apt-get").current_dir(folder).args(["download", &wanted]))?;
        let start = format!("{}_", package.name);
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(&start) {
                return Ok(entry.path());
            }
        }
        anyhow::bail!("apt downloaded {wanted} and left no file")
    }

    /// Downloads packages and all they depend on; apt checks their signatures and sums.
    pub(crate) fn download_with_needs(&self, packages: &[&str]) -> Result<Vec<PathBuf>> {
        let mut apt = self.apt("apt-get");
        apt.args(["install", "--download-only", "--yes", "--no-install-recommends"]).args(packages);
        command::output(&mut apt)?;
        let mut files = Vec::new();
        for entry in fs::read_dir(self.folder.join("cache/archives"))? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "deb") {
                files.push(path);
            }
        }
        files.sort();
        ensure!(!files.is_empty(), "apt downloaded nothing for {}", packages.join(" "));
        Ok(files)
    }

    fn apt(&self, program: &str) -> Command {
        let mut apt = Command::new(program);
        let place = |key: &str, part: &str| format!("{key}={}", self.folder.join(part).display());
        let options = [
            place("Dir::Etc::SourceList", "sources.list"),
            "Dir::Etc::SourceParts=/dev/null".to_owned(),
            place("Dir::State::Lists", "lists"),
            place("Dir::State::status", "status"),
            place("Dir::Cache", "cache"),
            "Acquire::Languages=none".to_owned(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".to_owned(),
            // Downloads are made in folders that apt's own user need not see.
            "APT::Sandbox::User=root".to_owned(),
        ];
        apt.args(options.iter().flat_map(|option| ["-o", option]));
        apt
    }
}

/// `name | version | where` of `apt-cache madison`.
fn madison_line(line: &str) -> Option<Package> {
    let mut parts = line.split('|').map(str::trim);
    Some(Package { name: parts.next()?.to_owned(), version: parts.next()?.to_owned() })
}

/// The numbers in a version, in order: enough to compare versions of one series.
pub(crate) fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|digits| digits.parse().ok()).collect()
}

/// Where this machine gets Debian from.
#[derive(Debug, Default, PartialEq, Eq)]
struct Archive {
    main: String,
    security: String,
}

/// One place that apt is told of.
#[derive(Debug, PartialEq, Eq)]
struct Source {
    uri: String,
    suites: Vec<String>,
}

impl Archive {
    fn of_this_machine() -> Result<Self> {
        ensure!(
            Path::new(KEYRING).exists(),
            "{KEYRING} is missing: the kernels come from Debian's archive (apt-get install debian-archive-keyring)"
        );
        let mut sources = Vec::new();
        let mut files = vec![PathBuf::from("/etc/apt/sources.list")];
        for entry in fs::read_dir("/etc/apt/sources.list.d").into_iter().flatten() {
            files.push(entry?.path());
        }
        files.sort();
        for file in files {
            let text = fs::read_to_string(&file).unwrap_or_default();
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("list") => sources.extend(text.lines().filter_map(one_line)),
                Some("sources") => sources.extend(text.split("\n\n").flat_map(stanza)),
                _ => {}
            }
        }
        Self::among(&sources)
            .context("apt's configuration names no archive of Debian, which the kernels come from")
    }

    fn among(sources: &[Source]) -> Option<Self> {
        let has = |source: &Source, test: &dyn Fn(&str) -> bool| {
            source.suites.iter().any(|suite| test(suite))
        };
        let is_security = |suite: &str| suite.ends_with("-security") || suite.ends_with("/updates");
        let is_main = |suite: &str| SUITES.contains(&suite);
        let main = sources.iter().find(|source| has(source, &is_main))?.uri.clone();
        // Without a line of its own, the security suites are taken to be where the others are.
        let security = sources.iter().find(|source| has(source, &is_security));
        let security = security
            .map_or_else(|| format!("{}-security", main.trim_end_matches('/')), |s| s.uri.clone());
        Some(Self { main, security })
    }

    fn sources(&self, suite: &str) -> Result<String> {
        let line =
            |uri: &str, suite: &str| format!("deb [signed-by={KEYRING}] {uri} {suite} main\n");
        let mut text = line(&self.main, suite);
        if !suite.ends_with("-backports") {
            text += &line(&self.security, &format!("{suite}-security"));
        }
        ensure!(!text.contains('\0'), "apt's configuration is not text");
        Ok(text)
    }
}

/// The suites that mark a line of apt's configuration as Debian's.
const SUITES: [&str; 9] =
    ["buster", "bullseye", "bookworm", "trixie", "forky", "sid", "stable", "testing", "unstable"];

/// `deb [options] URI SUITE COMPONENT...`
fn one_line(line: &str) -> Option<Source> {
    let rest = line.trim().strip_prefix("deb ")?.trim();
    let rest = if rest.starts_with('[') { rest.split_once(']')?.1 } else { rest };
    let mut words = rest.split_whitespace();
    Some(Source { uri: words.next()?.to_owned(), suites: vec![words.next()?.to_owned()] })
}

/// A stanza of the deb822 form; one source for each of its URIs.
fn stanza(text: &str) -> Vec<Source> {
    let field = |name: &str| {
        let line = text.lines().find(|line| {
            line.split_once(':').is_some_and(|(key, _)| key.eq_ignore_ascii_case(name))
        });
        line.and_then(|line| line.split_once(':'))
            .map(|(_, value)| value.trim())
            .unwrap_or_default()
    };
    let on = !field("Enabled").eq_ignore_ascii_case("no");
    if !on || !field("Types").split_whitespace().any(|kind| kind == "deb") {
        return Vec::new();
    }
    let suites: Vec<String> = field("Suites").split_whitespace().map(str::to_owned).collect();
    field("URIs")
        .split_whitespace()
        .map(|uri| Source { uri: uri.to_owned(), suites: suites.clone() })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_configuration_name_the_archive() {
        let wanted = Archive {
            main: "http://a.invalid/debian".into(),
            security: "http://a.invalid/sec".into(),
        };
        let lines = "# deb http://b.invalid/debian bookworm main\n\
                     deb http://c.invalid/other nodistro main\n\
                     deb [arch=amd64] http://a.invalid/debian bookworm main\n\
                     deb http://a.invalid/sec bookworm-security main";
        let sources: Vec<Source> = lines.lines().filter_map(one_line).collect();
        assert_eq!(Archive::among(&sources), Some(Archive { ..wanted }));

        let text = "Types: deb\n# URIs: http://b.invalid/x\nURIs: http://a.invalid/debian\n\
                    Suites: bookworm bookworm-updates\nComponents: main\n\n\
                    Types: deb\nURIs: http://a.invalid/sec\nSuites: bookworm-security\n\n\
                    Types: deb\nEnabled: no\nURIs: http://d.invalid/\nSuites: bookworm\n";
        let sources: Vec<Source> = text.split("\n\n").flat_map(stanza).collect();
        assert_eq!(sources.len(), 2);
        let archive = Archive::among(&sources).unwrap();
        assert_eq!(archive.security, "http://a.invalid/sec");
        assert!(archive.sources("trixie-backports").unwrap().lines().count() == 1);
    }

    #[test]
    fn versions_compare_by_number() {
        assert!(numbers("6.1.99-1") < numbers("6.1.192-2"));
        assert!(numbers("6.12.115-1") < numbers("6.12.115-2"));
    }
}
