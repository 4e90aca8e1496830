//! The running kernel's own description of its types: where each [`Field`] is, what each function's parameters are.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::{self, File},
    io::{self, Write as _},
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
/// Tracepoints and functions that no hook names and programs are put on: those that keep the table of a command's
/// processes, and the iterator over TCP sockets.
const UNHOOKED: [&str; 3] =
    ["btf_trace_sched_process_fork", "btf_trace_sched_process_free", "bpf_iter_tcp"];

/// What the kernel gives the elements of maps out from, at any time (`kernel/bpf/memalloc.c`, since 6.1).
const ALLOCATOR: &str = "bpf_mem_alloc";

/// `struct btf_header` (`include/uapi/linux/btf.h`) as far as it is used: where types and strings begin, from the end of
/// the header.
const HEADER_BYTES: usize = 24;
/// `struct btf_type`, which begins each type.
const TYPE_BYTES: usize = 12;
/// `BTF_KIND_STRUCT` and the like.
const STRUCT: u32 = 4;
const UNION: u32 = 5;
const FWD: u32 = 7;
const TYPEDEF: u32 = 8;
const FUNC: u32 = 12;

/// The kernel's types, and those among them that fields and hooks name.
pub struct Types {
    btf: Btf,
    named: BTreeMap<String, Vec<Named>>,
}

/// A type that is looked for by its name.
struct Named {
    /// Its number in the kernel's BTF.
    id: u32,
    kind: u32,
    known: Type,
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
    /// It ends within a type.
    #[error("cannot understand the kernel's type information {PATH}: it ends too early")]
    CutOff,
}

impl Types {
    /// The running kernel's types.
    ///
    /// # Errors
    /// [`BtfError`]: the kernel was built without `CONFIG_DEBUG_INFO_BTF`, or the file is not readable.
    pub fn of_running_kernel() -> Result<Self, BtfError> {
        let bytes = fs::read(PATH)?;
        // SAFETY: a plain system call with a valid C string.
        let fd = unsafe { libc::memfd_create(c"btf".as_ptr(), libc::MFD_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error().into());
        }
        // SAFETY: the call above has just opened it, and nobody else knows it.
        let mut copy = File::from(unsafe { OwnedFd::from_raw_fd(fd) });
        // The file itself can be mapped only from 6.18 on; a mapped copy takes a tenth of the memory of a parsed one.
        copy.write_all(&bytes)?;
        let path = format!("/proc/self/fd/{}", copy.as_raw_fd());
        let btf = Btf::from_file_with_backend(path, Backend::Mmap)?;
        let mut named: BTreeMap<String, Vec<Named>> = BTreeMap::new();
        for (id, kind, name) in found(&bytes, &wanted()).ok_or(BtfError::CutOff)? {
            let known = btf.resolve_type_by_id(id)?;
            named.entry(name).or_default().push(Named { id, kind, known });
        }
        Ok(Self { btf, named })
    }

    /// The types of this name.
    fn of_name(&self, name: &str) -> impl Iterator<Item = &Type> {
        self.named.get(name).into_iter().flatten().map(|named| &named.known)
    }

    /// BTF in which only what programs can be put on has a name, each under the number that the kernel gives it.
    pub fn attachable(&self) -> Vec<u8> {
        let mut wanted: Vec<(u32, u32, &str)> = Vec::new();
        for (name, types) in &self.named {
            let on = types.iter().filter(|named| matches!(named.kind, FUNC | TYPEDEF));
            wanted.extend(on.map(|named| (named.id, named.kind, name.as_str())));
        }
        wanted.sort_unstable();
        attachable(&wanted)
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

    /// Whether a program of any kind may put an element into a map that takes the memory for it only then.
    pub fn has_allocator(&self) -> bool {
        self.structure(ALLOCATOR).is_some()
    }

    /// Whether the kernel has a tracepoint of this name that tracing programs can use.
    pub fn has_tracepoint(&self, name: &str) -> bool {
        self.of_name(&traced(name)).next().is_some()
    }

    /// How many arguments a tracepoint has; `None` when tracing programs cannot use it.
    pub fn tracepoint_arguments(&self, name: &str) -> Option<usize> {
        self.of_name(&traced(name)).find_map(|t| {
            let Type::Typedef(t) = t else { return None };
            let Type::Ptr(p) = self.btf.resolve_chained_type(t).ok()? else { return None };
            let Type::FuncProto(p) = self.btf.resolve_chained_type(&p).ok()? else { return None };
            // The first parameter is the tracepoint's own.
            p.parameters.len().checked_sub(1)
        })
    }

    /// Names of the parameters of `function`; `None` when the kernel's BTF does not describe it.
    pub fn parameters(&self, function: &str) -> Option<Vec<String>> {
        self.of_name(function).find_map(|t| {
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
        let mut types = self.of_name(name);
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

/// The names of all types that a field's place or a hook names, or that programs are put on.
fn wanted() -> BTreeSet<String> {
    let places = Field::ALL.iter().flat_map(|field| field.places());
    let structs = places.flat_map(|(strukt, path)| {
        let casts = path.split('|').skip(1).filter_map(|cast| cast.split('.').next());
        casts.chain([*strukt]).map(str::to_owned)
    });
    let functions = Hook::ALL.iter().flat_map(|hook| hook.symbols()).map(|name| (*name).to_owned());
    let tracepoints = Hook::ALL.iter().filter_map(|hook| hook.tracepoint()).map(traced);
    let others = UNHOOKED.into_iter().chain([ALLOCATOR]).map(str::to_owned);
    structs.chain(functions).chain(tracepoints).chain(others).collect()
}

/// Number, kind and name of each type in `btf` that has one of the `wanted` names, in one pass that looks at nothing else;
/// `None` when a type or a name is not whole.
fn found(btf: &[u8], wanted: &BTreeSet<String>) -> Option<Vec<(u32, u32, String)>> {
    let number = |at: usize| Some(u32::from_ne_bytes(btf.get(at..at + 4)?.try_into().ok()?));
    let place = |at: usize| usize::try_from(number(at)?).ok();
    let header = place(4)?;
    let (types, types_len, names) = (header + place(8)?, place(12)?, header + place(16)?);
    // Forty thousand names, of which next to none is wanted: most differ in what is looked at first.
    let mut begins = [[false; 256]; 64];
    let mark = |name: &[u8]| Some((name.len() % 64, usize::from(*name.first()?)));
    for (length, first) in wanted.iter().filter_map(|name| mark(name.as_bytes())) {
        *begins.get_mut(length)?.get_mut(first)? = true;
    }
    let may_be_wanted = |name: &[u8]| {
        let (length, first) = mark(name)?;
        begins.get(length)?.get(first).copied()
    };
    let mut found = Vec::new();
    let (mut at, mut id) = (types, 0);
    while at < types + types_len {
        id += 1;
        let info = number(at + 4)?;
        let kind = info >> 24 & 0x1f;
        if matches!(kind, STRUCT | UNION | TYPEDEF | FUNC) {
            let name = btf.get(names + place(at)?..)?.split(|byte| *byte == 0).next()?;
            if may_be_wanted(name) == Some(true)
                && let Some(name) = str::from_utf8(name).ok().filter(|name| wanted.contains(*name))
            {
                found.push((id, kind, name.to_owned()));
            }
        }
        at += TYPE_BYTES + behind(kind, usize::try_from(info & 0xffff).ok()?);
    }
    Some(found)
}

/// Bytes behind a type's own, which are not those of the next one (`btf_type_int`, `btf_array`, `btf_member` and so on,
/// `Documentation/bpf/btf.rst`).
fn behind(kind: u32, many: usize) -> usize {
    match kind {
        // An integer, a variable, a declaration's tag.
        1 | 14 | 17 => 4,
        // An array.
        3 => 12,
        // A structure, a union, a section, an enumeration of 64 bits.
        STRUCT | UNION | 15 | 19 => many * 12,
        // An enumeration, a function's prototype.
        6 | 13 => many * 8,
        _ => 0,
    }
}

/// BTF with these types, whose numbers rise, and forward declarations without a name between them.
fn attachable(wanted: &[(u32, u32, &str)]) -> Vec<u8> {
    let (mut types, mut names) = (Vec::new(), vec![0]);
    let mut next = 1;
    for (id, kind, name) in wanted {
        let unnamed = [0, FWD << 24, 0];
        while next < *id {
            types.extend(unnamed);
            next += 1;
        }
        types.extend([u32::try_from(names.len()).unwrap_or(0), kind << 24, 0]);
        next += 1;
        names.extend(name.bytes().chain([0]));
    }
    let bytes = |many: usize| u32::try_from(many).unwrap_or(u32::MAX);
    let (types_len, names_len) = (bytes(types.len() * 4), bytes(names.len()));
    // Magic number and version, both in the order of this machine.
    let start = [0x0001_eb9f, bytes(HEADER_BYTES)];
    let header = [0, types_len, types_len, names_len];
    let numbers = start.into_iter().chain(header).chain(types);
    numbers.flat_map(u32::to_ne_bytes).chain(names).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use btf_rs::{Btf, Type};

    use super::{FUNC, HEADER_BYTES, TYPEDEF, attachable, found};

    const NAMES: [(u32, u32, &str); 3] =
        [(2, TYPEDEF, "btf_trace_x"), (7, FUNC, "tcp_push"), (8, FUNC, "tcp_fin")];

    #[test]
    fn types_keep_their_numbers_and_another_reader_finds_them() {
        let bytes = attachable(&NAMES);
        let btf = Btf::from_bytes(&bytes).unwrap();
        for (id, kind, name) in NAMES {
            assert_eq!(btf.resolve_ids_by_name(name).unwrap(), [id]);
            let known = btf.resolve_type_by_id(id).unwrap();
            assert_eq!(matches!(known, Type::Func(_)), kind == FUNC, "{name}");
        }
    }

    #[test]
    fn a_pass_finds_what_is_wanted_and_nothing_else() {
        let bytes = attachable(&NAMES);
        let wanted: BTreeSet<String> = ["tcp_fin", "btf_trace_x", "tcp"].map(str::to_owned).into();
        let names = found(&bytes, &wanted).unwrap();
        let both = [(2, TYPEDEF, "btf_trace_x".to_owned()), (8, FUNC, "tcp_fin".to_owned())];
        assert_eq!(names, both);
    }

    #[test]
    fn what_is_cut_off_is_no_btf() {
        let bytes = attachable(&NAMES);
        let wanted = BTreeSet::new();
        for cut in [0, 3, HEADER_BYTES - 9, HEADER_BYTES + 30] {
            assert_eq!(found(&bytes[..cut], &wanted), None, "{cut}");
        }
    }
}
