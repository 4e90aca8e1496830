//! Debian's own programs for guests: what a package needs, unpacked as a tree of its own that a guest enters by chroot.

use std::{
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{apt, command, initramfs::Archive, kernels};

/// The suite they are of: none of them looks at the kernel's version.
const SUITE: &str = "trixie";
/// Where a guest has the tree.
pub(crate) const ROOT: &str = "/debian";
/// What no program reads.
const LEFT_OUT: [&str; 9] = [
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/i18n",
    "usr/share/zoneinfo",
    "usr/share/perl",
    "usr/lib/x86_64-linux-gnu/perl-base",
    "usr/lib/x86_64-linux-gnu/gconv",
    "usr/bin/perl",
];
/// The links of a merged `/usr`, which no package brings.
const MERGED: [(&str, &str); 4] =
    [("bin", "usr/bin"), ("sbin", "usr/sbin"), ("lib", "usr/lib"), ("lib64", "usr/lib64")];

/// An archive with these packages and all they depend on, for [`crate::vm::Guest::append`]; made once and kept.
pub(crate) fn tree(packages: &[&str]) -> Result<PathBuf> {
    let store = kernels::cache()?.join("debian");
    let kept = store.join(format!("{SUITE}_{}.cpio", packages.join("_")));
    if kept.exists() {
        return Ok(kept);
    }
    fs::create_dir_all(&store)?;
    eprintln!("+ {} of {SUITE}: asking the archive", packages.join(", "));
    let work = store.join(format!(".{}", std::process::id()));
    let made = make(packages, &work);
    // Only a whole archive gets its name.
    let done = made.and_then(|()| Ok(fs::rename(work.join("tree.cpio"), &kept)?));
    fs::remove_dir_all(&work).ok();
    done?;
    Ok(kept)
}

fn make(packages: &[&str], work: &Path) -> Result<()> {
    let suite = apt::Suite::fetch(SUITE, &work.join("apt"))?;
    let tree = work.join("tree");
    fs::create_dir_all(&tree)?;
    for (link, to) in MERGED {
        fs::create_dir_all(tree.join(to))?;
        std::os::unix::fs::symlink(to, tree.join(link))?;
    }
    for file in suite.download_with_needs(packages)? {
        // A folder of the package must not replace a link of the tree.
        let mut unpack = Command::new("sh");
        unpack.args([
            "-c",
            "dpkg-deb --fsys-tarfile \"$0\" | tar -x --keep-directory-symlink -C \"$1\"",
        ]);
        command::output(unpack.arg(&file).arg(&tree))?;
    }
    for path in LEFT_OUT {
        let path = tree.join(path);
        let gone = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        gone.ok();
    }
    let mut archive = Archive::default();
    archive.folder(ROOT);
    for folder in ["proc", "dev", "tmp", "run", "var", "var/log", "var/lib", "root"] {
        fs::create_dir_all(tree.join(folder))?;
    }
    enter(&mut archive, &tree, ROOT)?;
    fs::write(work.join("tree.cpio"), archive.finish())?;
    Ok(())
}

/// Everything below a folder, in the order of the names, folders before what is in them.
fn enter(archive: &mut Archive, folder: &Path, inside: &str) -> Result<()> {
    let mut entries = fs::read_dir(folder)?.collect::<std::io::Result<Vec<_>>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let (path, name) = (entry.path(), entry.file_name());
        let inside = format!("{inside}/{}", name.to_str().context("a name that is no text")?);
        let about = fs::symlink_metadata(&path)?;
        if about.is_symlink() {
            let to = fs::read_link(&path)?;
            archive.link(&inside, to.to_str().context("a link that is no text")?);
        } else if about.is_dir() {
            archive.folder(&inside);
            enter(archive, &path, &inside)?;
        } else if about.permissions().mode() & 0o111 != 0 {
            archive.program(&inside, &fs::read(&path)?);
        } else {
            archive.file(&inside, &fs::read(&path)?);
        }
    }
    Ok(())
}
