//! The modules a guest loads: found in the kernel's tree, decompressed, in the order of their dependencies.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::command;

/// What the scenarios use; one that a kernel has built in or lacks is passed over.
pub(crate) const WANTED: [&str; 18] = [
    "tun",
    "veth",
    "dummy",
    "sch_netem",
    "sch_tbf",
    "sch_fq",
    // A copy of what a device is given, before its queueing discipline.
    "sch_ingress",
    "cls_matchall",
    "act_mirred",
    // Ends a socket of another process, as `ss -K` does.
    "tcp_diag",
    "kcm",
    "tls",
    // What it encrypts with.
    "aesni_intel",
    "ghash_clmulni_intel",
    "ghash_generic",
    "ctr",
    "gcm",
    "seqiv",
];

/// A module ready to be loaded.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) name: String,
    pub(crate) content: Vec<u8>,
}

/// The wanted modules of the tree, each after those it depends on.
pub(crate) fn in_order(tree: &Path, wanted: &[&str]) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    index(tree, &mut files)?;
    let mut loaded = Vec::new();
    for name in wanted {
        add(name, &files, &mut loaded)?;
    }
    Ok(loaded)
}

/// Where a guest has them.
const IN_GUEST: &str = "/lib/modules";

/// Loads modules into the guest that this runs in, each after those it depends on; one that is loaded is passed over.
pub(crate) fn load(wanted: &[&str]) -> Result<()> {
    for module in in_order(Path::new(IN_GUEST), wanted)? {
        let (content, no_parameters) = (module.content.as_ptr(), c"".as_ptr());
        // SAFETY: the pointer and the length describe the module, and the parameters end in zero.
        let result = unsafe {
            libc::syscall(libc::SYS_init_module, content, module.content.len(), no_parameters)
        };
        let error = io::Error::last_os_error();
        if result != 0 && error.kind() != io::ErrorKind::AlreadyExists {
            return Err(error).with_context(|| format!("load {}", module.name));
        }
    }
    Ok(())
}

fn add(name: &str, files: &BTreeMap<String, PathBuf>, loaded: &mut Vec<Module>) -> Result<()> {
    if loaded.iter().any(|module| module.name == name) {
        return Ok(());
    }
    let Some(file) = files.get(name) else { return Ok(()) };
    let content = read(file)?;
    for dependency in dependencies(&content) {
        add(&dependency, files, loaded)?;
    }
    loaded.push(Module { name: name.to_owned(), content });
    Ok(())
}

fn index(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            index(&path, files)?;
        } else if let Some((name, _)) =
            path.file_name().and_then(|name| name.to_str()?.split_once(".ko"))
        {
            // The kernel takes both for the same.
            files.insert(name.replace('-', "_"), path);
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<Vec<u8>> {
    if file.extension().is_some_and(|extension| extension == "xz") {
        command::output(Command::new("xz").arg("-dc").arg(file))
    } else {
        Ok(fs::read(file)?)
    }
}

/// `depends=` of `.modinfo`: the packages come without the `modules.dep` that depmod makes on installation.
fn dependencies(module: &[u8]) -> Vec<String> {
    let key = b"\0depends=";
    let Some(at) = module.windows(key.len()).position(|window| window == key) else {
        return Vec::new();
    };
    let value: Vec<u8> =
        module.iter().skip(at + key.len()).copied().take_while(|&byte| byte != 0).collect();
    let value = String::from_utf8_lossy(&value);
    value.split(',').filter(|name| !name.is_empty()).map(|name| name.replace('-', "_")).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn dependencies_are_read_from_the_module_itself() {
        let module = b"x\0license=GPL\0depends=nf-conntrack,libcrc32c\0name=a\0";
        assert_eq!(super::dependencies(module), ["nf_conntrack", "libcrc32c"]);
        assert!(super::dependencies(b"\0depends=\0").is_empty());
    }
}
