//! The running kernel's own description of its types: where each [`Field`] is, what each function's parameters are.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd},
};

use btf_rs::{Backend, Btf, Struct, Type};
use tcptrace_common::{
    field::Field,
    hook::Hook,
    layout::{Layout, NO_DEREF, Place},
};

/// Where the kernel shows its type information.
pub const PATH: &str = "/sys/kernel/btf/vmlinux";

/// The kernel's types, and those among them that fields and hooks name.
pub struct Types {
    btf: Btf,
    named: BTreeMap<String, Vec<Type>>,
}

impl std::fmt::Debug for Types {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Types")
    }
}

/// Why the types cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum BtfError {
    /// The file cannot be read.
    #[error("cannot read the kernel's type information {PATH}: {0}")]
    Read(#[from] io::Error),
    /// It is not BTF.
    #[error("cannot understand the kernel's type information {PATH}: {0}")]
    Parse(#[from] btf_rs::Error),
}

impl Types {
    /// The running kernel's types.
    ///
    /// # Errors
    /// [`BtfError`]: the kernel was built without `CONFIG_DEBUG_INFO_BTF`, or the file is not readable.
    pub fn of_running_kernel() -> Result<Self, BtfError> {
        let mut from = File::open(PATH)?;
        // SAFETY: a plain system call with a valid C string.
        let fd = unsafe { libc::memfd_create(c"btf".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error().into());
        }
        // SAFETY: the call above has just opened it, and nobody else knows it.
        let mut copy = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        // The file itself can be mapped only from 6.18 on; a mapped copy takes a tenth of the memory of a parsed one.
        io::copy(&mut from, &mut copy)?;
        let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
        let btf = Btf::from_file_with_backend(path, Backend::Mmap)?;
        let named = named(&btf);
        Ok(Self { btf, named })
    }

    /// The types of this name.
    fn of_name(&self, name: &str) -> &[Type] {
        self.named.get(name).map_or(&[], Vec::as_slice)
    }

    /// Places of the wanted fields; the others stay empty.
    pub fn layout(&self, wanted: &[Field]) -> Layout {
        let mut layout = Layout::EMPTY;
        for field in wanted {
            let found = field.places().iter().find_map(|(strukt, path)| self.place(strukt, path));
            if let (Some(place), Some(row)) = (found, layout.place.get_mut(*field as usize)) {
                *row = place;
            }
        }
        layout
    }

    /// Whether the kernel has a tracepoint of this name that tracing programs can use.
    pub fn has_tracepoint(&self, name: &str) -> bool {
        !self.of_name(&traced(name)).is_empty()
    }

    /// Names of the parameters of `function`; `None` when the kernel's BTF does not describe it.
    pub fn parameters(&self, function: &str) -> Option<Vec<String>> {
        self.of_name(function).iter().find_map(|t| {
            let Type::Func(f) = t else { return None };
            let Type::FuncProto(p) = self.btf.resolve_chained_type(f).ok()? else { return None };
            Some(
                p.parameters.iter().map(|a| self.btf.resolve_name(a).unwrap_or_default()).collect(),
            )
        })
    }

    /// Place of the member at `path` in `strukt`; the path's grammar stands in [`tcptrace_common::field`].
    fn place(&self, strukt: &str, path: &str) -> Option<Place> {
        let mut hops = Vec::new();
        let mut end = (self.structure(strukt)?, 0);
        for part in path.split("->") {
            if !hops.is_empty() {
                let Type::Ptr(p) = &end.0 else { return None };
                end.0 = self.strip(self.btf.resolve_chained_type(p).ok()?)?;
            }
            let mut bits = 0;
            for (i, cast) in part.split('|').enumerate() {
                let mut names = cast.split('.');
                if i > 0 {
                    end.0 = self.structure(names.next()?)?;
                }
                for name in names {
                    let (Type::Struct(s) | Type::Union(s)) = &end.0 else { return None };
                    let (offset, width, next) = self.member(s, name)?;
                    bits += offset;
                    end = (next, width);
                }
            }
            hops.push(bits);
        }
        let (last, width) = (*hops.last()?, end.1);
        let shift = if width == 0 { 0 } else { last % 8 };
        let size = if width == 0 {
            match (&end.0, self.size(&end.0)?) {
                // Of a larger struct only the place can be of use: its first word stands for it.
                (Type::Struct(_), 17..) => 8,
                (_, size) => size,
            }
        } else {
            (shift + width).div_ceil(8).next_power_of_two()
        };
        let (offset, deref) = match hops[..] {
            [only] => (only / 8, NO_DEREF),
            [first, second] => (first / 8, u16::try_from(second / 8).ok()?),
            _ => return None,
        };
        Some(Place {
            offset: offset.try_into().ok()?,
            deref,
            size: size.try_into().ok().filter(|s| matches!(s, 1 | 2 | 4 | 8 | 16))?,
            shift: shift.try_into().ok()?,
            width: width.try_into().ok()?,
            pad: 0,
        })
    }

    fn structure(&self, name: &str) -> Option<Type> {
        let mut types = self.of_name(name).iter();
        types.find(|t| matches!(t, Type::Struct(_) | Type::Union(_))).cloned()
    }

    /// Bit offset, bit width (0: no bitfield) and type of a member, looked for in anonymous members too.
    fn member(&self, strukt: &Struct, name: &str) -> Option<(u32, u32, Type)> {
        for m in &strukt.members {
            let found = self.btf.resolve_name(m).unwrap_or_default();
            if found == name {
                let t = self.strip(self.btf.resolve_chained_type(m).ok()?)?;
                return Some((m.bit_offset(), m.bitfield_size().unwrap_or(0), t));
            }
            if found.is_empty()
                && let Some(Type::Struct(s) | Type::Union(s)) =
                    self.strip(self.btf.resolve_chained_type(m).ok()?)
                && let Some((offset, width, t)) = self.member(&s, name)
            {
                return Some((offset + m.bit_offset(), width, t));
            }
        }
        None
    }

    /// Follows typedefs and qualifiers to the type that has a size.
    fn strip(&self, mut t: Type) -> Option<Type> {
        loop {
            t = match &t {
                Type::Typedef(x) => self.btf.resolve_chained_type(x).ok()?,
                Type::Const(x) | Type::Volatile(x) => self.btf.resolve_chained_type(x).ok()?,
                Type::TypeTag(x) => self.btf.resolve_chained_type(x).ok()?,
                _ => return Some(t),
            }
        }
    }

    fn size(&self, t: &Type) -> Option<u32> {
        let bytes = match t {
            Type::Int(i) => i.size(),
            Type::Enum(e) => e.size(),
            Type::Ptr(_) => 8,
            Type::Struct(s) | Type::Union(s) => s.size(),
            Type::Array(a) => {
                let each = self.strip(self.btf.resolve_chained_type(a).ok()?)?;
                return Some(self.size(&each)? * u32::try_from(a.len()).ok()?);
            }
            _ => return None,
        };
        u32::try_from(bytes).ok()
    }
}

/// The name of a tracepoint's type.
fn traced(tracepoint: &str) -> String {
    format!("btf_trace_{tracepoint}")
}

/// Every type that a field's place or a hook names, found in one pass: a look for each would be one.
fn named(btf: &Btf) -> BTreeMap<String, Vec<Type>> {
    let places = Field::ALL.iter().flat_map(|field| field.places());
    let structs = places.flat_map(|(strukt, path)| {
        let casts = path.split('|').skip(1).filter_map(|cast| cast.split('.').next());
        casts.chain([*strukt]).map(str::to_owned)
    });
    let functions = Hook::ALL.iter().flat_map(|hook| hook.symbols()).map(|name| (*name).to_owned());
    let tracepoints = Hook::ALL.iter().filter_map(|hook| hook.tracepoint()).map(traced);
    let mut named: BTreeMap<String, Vec<Type>> =
        structs.chain(functions).chain(tracepoints).map(|name| (name, Vec::new())).collect();
    let (first, last) = btf.base().type_id_range();
    for one in (first..=last).filter_map(|id| btf.resolve_type_by_id(id).ok()) {
        let Some(name) = one.as_btf_type().and_then(|known| btf.resolve_name(known).ok()) else {
            continue;
        };
        if let Some(found) = named.get_mut(&name) {
            found.push(one);
        }
    }
    named
}
