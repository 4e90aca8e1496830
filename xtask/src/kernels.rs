//! TABLE 5, the kernel matrix: the only place that names a kernel version.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{apt, command};

/// A series of stock kernels.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Series {
    /// As a person names it.
    pub(crate) name: &'static str,
    /// The suite of Debian it is packaged in.
    suite: &'static str,
    /// Start and end of the name of the package with the image; between them stands the release.
    image: (&'static str, &'static str),
    /// Likewise for the modules, where they have a package of their own.
    modules: Option<(&'static str, &'static str)>,
}

/// The matrix, oldest first.
pub(crate) const MATRIX: [Series; 5] = [
    Series {
        name: "5.10",
        suite: "bullseye",
        image: ("linux-image-5.10.0-", "-cloud-amd64-unsigned"),
        modules: None,
    },
    Series {
        name: "6.1",
        suite: "bookworm",
        image: ("linux-image-6.1.0-", "-cloud-amd64-unsigned"),
        modules: None,
    },
    Series {
        name: "6.12",
        suite: "trixie",
        image: ("linux-image-6.12.", "-cloud-amd64-unsigned"),
        modules: None,
    },
    Series {
        name: "6.18",
        suite: "trixie-backports",
        image: ("linux-image-6.18.", "-cloud-amd64"),
        modules: None,
    },
    Series {
        name: "7.3",
        suite: "trixie-backports",
        image: ("linux-binary-7.3.", "-cloud-amd64"),
        modules: Some(("linux-modules-7.3.", "-cloud-amd64")),
    },
];

/// The kernel for the demo and for the mutations.
pub(crate) const USUAL: &str = "6.1";

/// How many versions of a series are asked for: the archive lists some that are gone.
const TRIES: usize = 8;

/// The kinds of modules that are kept of a package: what a test of the network may want, and what speaks TCP by itself.
const KINDS: [&str; 11] = [
    "net",
    "drivers/net",
    "lib",
    "crypto",
    "arch/x86/crypto",
    "drivers/nvme/host",
    "fs/nfs",
    "fs/nfs_common",
    "fs/lockd",
    // What the file systems need.
    "fs/fscache",
    "fs/netfs",
];

/// An unpacked kernel.
#[derive(Clone, Debug)]
pub(crate) struct Kernel {
    /// Name of its series.
    pub(crate) series: &'static str,
    /// The package it came in, with its version.
    pub(crate) package: String,
    folder: PathBuf,
}

impl Kernel {
    /// The bootable image.
    pub(crate) fn image(&self) -> PathBuf {
        self.folder.join("vmlinuz")
    }

    /// The tree of modules.
    pub(crate) fn modules(&self) -> PathBuf {
        self.folder.join("modules")
    }
}

/// The row of a series.
pub(crate) fn series(name: &str) -> Result<&'static Series> {
    MATRIX.iter().find(|series| series.name == name).with_context(|| {
        let names: Vec<_> = MATRIX.iter().map(|series| series.name).collect();
        format!("no kernel series '{name}' in the matrix; there are {}", names.join(", "))
    })
}

/// The rows of these series; all of them when none is named.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<&'static Series>> {
    if names.is_empty() {
        Ok(MATRIX.iter().collect())
    } else {
        names.iter().map(|name| series(name)).collect()
    }
}

/// Downloads and other things that are made once and kept outside the repository.
pub(crate) fn cache() -> Result<PathBuf> {
    if let Some(folder) = std::env::var_os("TCPTRACE_CACHE") {
        return Ok(folder.into());
    }
    let home = std::env::var_os("HOME").context("neither TCPTRACE_CACHE nor HOME is set")?;
    Ok(Path::new(&home).join(".cache/tcptrace"))
}

impl Series {
    /// The newest kernel of the series in the cache.
    pub(crate) fn cached(&self) -> Result<Option<Kernel>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(self.store()?).into_iter().flatten() {
            let package = entry?.file_name().to_string_lossy().into_owned();
            // A name with a dot in front is a download that was not finished.
            if !package.starts_with('.') {
                found.push(package);
            }
        }
        found.sort_by_key(|package| apt::numbers(package));
        found.pop().map(|package| self.kernel(package)).transpose()
    }

    /// The cached kernel, or the newest that the archive gives.
    pub(crate) fn ready(&self) -> Result<Kernel> {
        if let Some(kernel) = self.cached()? { Ok(kernel) } else { self.download() }
    }

    /// The newest kernel that the archive gives, from the cache when it is there.
    pub(crate) fn download(&self) -> Result<Kernel> {
        eprintln!("+ kernel {}: asking {} for its newest package", self.name, self.suite);
        let suite = apt::Suite::fetch(self.suite, &cache()?.join("apt").join(self.suite))?;
        let packages = suite.packages(self.image.0, self.image.1)?;
        let mut failures = Vec::new();
        for package in packages.iter().take(TRIES) {
            let kept = format!("{}_{}", package.name, package.version);
            if self.store()?.join(&kept).exists() {
                return self.kernel(kept);
            }
            match self.fetch(&suite, package, &kept) {
                Ok(kernel) => return Ok(kernel),
                // The lists name packages that the archive has dropped.
                Err(error) => failures.push(format!("{kept}: {error:#}")),
            }
        }
        bail!("no kernel {} could be had from {}\n{}", self.name, self.suite, failures.join("\n"))
    }

    fn fetch(&self, suite: &apt::Suite, package: &apt::Package, kept: &str) -> Result<Kernel> {
        let store = self.store()?;
        let work = store.join(format!(".{kept}.{}", std::process::id()));
        let made = self.unpack(suite, package, &work);
        // Only a whole kernel gets its name, so that a broken-off download is never taken for one.
        let done = made.and_then(|()| Ok(fs::rename(work.join("kernel"), store.join(kept))?));
        fs::remove_dir_all(&work).ok();
        done?;
        eprintln!("+ kernel {}: {kept} unpacked", self.name);
        self.kernel(kept.to_owned())
    }

    fn unpack(&self, suite: &apt::Suite, package: &apt::Package, work: &Path) -> Result<()> {
        let mut wanted = vec![package.clone()];
        if let (Some((start, end)), Some(release)) = (self.modules, self.release(&package.name)) {
            wanted.push(apt::Package {
                name: format!("{start}{release}{end}"),
                version: package.version.clone(),
            });
        }
        let tree = work.join("tree");
        for package in &wanted {
            let file = suite.download(package, work)?;
            command::output(
                std::process::Command::new("dpkg-deb").arg("-x").arg(&file).arg(&tree),
            )?;
        }
        let kernel = work.join("kernel");
        fs::create_dir_all(kernel.join("modules"))?;
        fs::rename(find_image(&tree)?, kernel.join("vmlinuz"))?;
        keep_modules(&tree, &kernel.join("modules"))
    }

    /// What stands between start and end of the package's name.
    fn release<'a>(&self, package: &'a str) -> Option<&'a str> {
        package.strip_prefix(self.image.0)?.strip_suffix(self.image.1)
    }

    fn kernel(&self, package: String) -> Result<Kernel> {
        let series = series(self.name)?.name;
        Ok(Kernel { series, folder: self.store()?.join(&package), package })
    }

    /// Where its kernels are kept. What was unpacked with other kinds of modules lies in another folder and is left alone:
    /// another checkout may be at work with it.
    fn store(&self) -> Result<PathBuf> {
        let folder = cache()?.join("kernels").join(format!("{}-{:08x}", self.name, digest(&KINDS)));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }
}

/// Where packages keep the image: in `/boot`, and beside the modules where the package is split.
fn find_image(tree: &Path) -> Result<PathBuf> {
    for entry in fs::read_dir(tree.join("boot")).into_iter().flatten() {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with("vmlinuz") {
            return Ok(entry.path());
        }
    }
    let beside = release_folders(tree)?
        .into_iter()
        .map(|folder| folder.join("vmlinuz"))
        .find(|file| file.exists());
    beside.context("no kernel image in the package")
}

/// A number that changes with the words (FNV-1a).
fn digest(words: &[&str]) -> u32 {
    words
        .iter()
        .flat_map(|word| word.bytes().chain([0]))
        .fold(0x811c_9dc5, |sum, byte| (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// Keeps [`KINDS`].
fn keep_modules(tree: &Path, to: &Path) -> Result<()> {
    for folder in release_folders(tree)? {
        for kind in KINDS {
            let from = folder.join("kernel").join(kind);
            if from.is_dir() {
                fs::rename(from, to.join(kind.replace('/', "-")))?;
            }
        }
    }
    Ok(())
}

/// `lib/modules/RELEASE`, with and without `/usr`.
fn release_folders(tree: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = Vec::new();
    for place in ["lib/modules", "usr/lib/modules"] {
        for entry in fs::read_dir(tree.join(place)).into_iter().flatten() {
            folders.push(entry?.path());
        }
    }
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::{KINDS, digest};

    #[test]
    fn what_is_kept_decides_where_it_is_kept() {
        let fewer: Vec<&str> = KINDS.into_iter().skip(1).collect();
        assert_ne!(digest(&KINDS), digest(&fewer));
        // The parts of two words are not those of one.
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
    }
}
