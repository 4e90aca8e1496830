//! One instruction of a BPF program, and what it does to numbers (RFC 9669).

/// Bytes of an instruction; `ld_imm64` takes two of them.
pub(super) const SLOT: usize = 8;
/// `r0` to `r10`.
pub(super) const REGISTERS: usize = 11;
/// The frame pointer, which nothing writes.
pub(super) const FRAME: usize = 10;

/// An instruction as it lies in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Insn {
    pub(super) op: u8,
    pub(super) dst: usize,
    pub(super) src: usize,
    pub(super) off: i16,
    pub(super) imm: i32,
}

/// What kind of instruction it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// `ld_imm64`: a number of 64 bits, or an address that the loader fills in.
    Wide,
    /// Reads so many bytes of memory, and fills the register up with zeros.
    Load(usize),
    /// Writes memory; an atomic operation may also write a register.
    Store,
    Atomic,
    Alu,
    /// Goes on elsewhere, always.
    Goto,
    Branch,
    Call,
    Exit,
}

impl Kind {
    /// How many slots it takes.
    pub(super) fn slots(self) -> usize {
        if self == Self::Wide { 2 } else { 1 }
    }
}

/// `BPF_ALU64 | BPF_MOV | BPF_K`: the immediate with its sign.
const MOV64: u8 = 0xb7;
/// `BPF_ALU | BPF_MOV | BPF_K`: the immediate with zeros above.
const MOV32: u8 = 0xb4;
/// `BPF_JMP | BPF_JA`.
const GOTO: u8 = 0x05;
/// `BPF_X`: the second operand is a register.
const BY_REGISTER: u8 = 0x08;

impl Insn {
    /// Goes on with the next instruction: the verifier takes it out.
    pub(super) const NOTHING: Self = Self { op: GOTO, dst: 0, src: 0, off: 0, imm: 0 };

    /// Goes on elsewhere if `r0` is not 0 (`BPF_JMP | BPF_JNE | BPF_K`).
    pub(super) const IF_R0: Self = Self { op: 0x55, ..Self::NOTHING };
    /// Leaves the function (`BPF_JMP | BPF_EXIT`).
    pub(super) const EXIT: Self = Self { op: 0x95, ..Self::NOTHING };

    pub(super) fn from_bytes(bytes: [u8; SLOT]) -> Self {
        let [op, registers, off0, off1, imm0, imm1, imm2, imm3] = bytes;
        Self {
            op,
            dst: usize::from(registers & 15),
            src: usize::from(registers >> 4),
            off: i16::from_le_bytes([off0, off1]),
            imm: i32::from_le_bytes([imm0, imm1, imm2, imm3]),
        }
    }

    pub(super) fn bytes(self) -> [u8; SLOT] {
        let [off0, off1] = self.off.to_le_bytes();
        let [imm0, imm1, imm2, imm3] = self.imm.to_le_bytes();
        let registers = u8::try_from(self.dst | self.src << 4).unwrap_or(0);
        [self.op, registers, off0, off1, imm0, imm1, imm2, imm3]
    }

    /// `None` for what this file does not know, or a register that does not exist.
    pub(super) fn kind(self) -> Option<Kind> {
        if self.dst >= REGISTERS || self.src >= REGISTERS {
            return None;
        }
        match (self.op & 7, self.op >> 4) {
            (0, _) if self.op == 0x18 => Some(Kind::Wide),
            (1, _) if self.op & 0xe0 == 0x60 => Some(Kind::Load(self.size())),
            (2 | 3, _) if self.op & 0xe0 == 0x60 => Some(Kind::Store),
            (3, _) if self.op & 0xe0 == 0xc0 => Some(Kind::Atomic),
            (4 | 7, 0..=0xd) => Some(Kind::Alu),
            (5, 0) => Some(Kind::Goto),
            (5, 8) => Some(Kind::Call),
            (5, 9) => Some(Kind::Exit),
            (5 | 6, 1..=7 | 0xa..=0xd) => Some(Kind::Branch),
            _ => None,
        }
    }

    fn size(self) -> usize {
        match self.op & 0x18 {
            0x00 => 4,
            0x08 => 2,
            0x10 => 1,
            _ => 8,
        }
    }

    /// Whether it computes with 64 bits.
    pub(super) fn is_64(self) -> bool {
        matches!(self.op & 7, 5 | 7)
    }

    /// Whether its second operand is the register `src`; a change of the byte order has none.
    pub(super) fn is_by_register(self) -> bool {
        self.op & BY_REGISTER != 0 && !self.is_byte_order()
    }

    fn is_byte_order(self) -> bool {
        matches!(self.op & 7, 4 | 7) && self.op >> 4 == 0xd
    }

    /// Whether it copies its second operand as it is.
    pub(super) fn is_move(self) -> bool {
        matches!(self.op & 7, 4 | 7) && self.op >> 4 == 0xb && self.off == 0
    }

    /// Whether it adds (`Some(false)`) or takes away (`Some(true)`) 64 bits.
    pub(super) fn adds(self) -> Option<bool> {
        match self.op {
            0x07 | 0x0f => Some(false),
            0x17 | 0x1f => Some(true),
            _ => None,
        }
    }

    /// The register gets a number; `None` where one instruction cannot say it.
    pub(super) fn number(dst: usize, number: u64) -> Option<Self> {
        let plain = Self { op: MOV64, dst, src: 0, off: 0, imm: 0 };
        if let Some(imm) = signed(number) {
            return Some(Self { imm, ..plain });
        }
        let low = u32::try_from(number).ok()?;
        Some(Self { op: MOV32, imm: i32::from_ne_bytes(low.to_ne_bytes()), ..plain })
    }

    /// The same with a number in the place of the second register; `None` where there is no room for it, or the operation
    /// is a division, which the verifier guards.
    pub(super) fn with_number(self, number: u64) -> Option<Self> {
        let divides = matches!(self.op & 7, 4 | 7) && matches!(self.op >> 4, 3 | 9);
        if divides || self.off != 0 && matches!(self.op & 7, 4 | 7) {
            return None;
        }
        let imm = if self.is_64() { signed(number)? } else { low(number) };
        Some(Self { op: self.op & !BY_REGISTER, src: 0, imm, ..self })
    }

    /// The second operand, where it is no register.
    pub(super) fn immediate(self) -> u64 {
        i64::from(self.imm).cast_unsigned()
    }

    /// What it computes of two numbers; `None` for what is not worth it, or not defined everywhere.
    pub(super) fn computed(self, a: u64, b: u64) -> Option<u64> {
        if self.is_byte_order() {
            return self.in_other_order(a);
        }
        if self.off != 0 {
            return None;
        }
        // The lower half of what the lower halves come to is what 32 bits come to, but for the sign.
        let (a, b, signed, most) = if self.is_64() {
            (a, b, a.cast_signed(), 63)
        } else {
            let (a, b) = (lower(a), lower(b));
            (u64::from(a), u64::from(b), i64::from(a.cast_signed()), 31)
        };
        let by = u32::try_from(b & most).ok()?;
        let made = match self.op >> 4 {
            0 => a.wrapping_add(b),
            1 => a.wrapping_sub(b),
            2 => a.wrapping_mul(b),
            4 => a | b,
            5 => a & b,
            6 => a << by,
            7 => a >> by,
            8 => a.wrapping_neg(),
            0xa => a ^ b,
            0xb => b,
            0xc => (signed >> by).cast_unsigned(),
            _ => return None,
        };
        Some(if self.is_64() { made } else { u64::from(lower(made)) })
    }

    /// Numbers are stored low byte first here, as on every machine that the tool is built for.
    fn in_other_order(self, a: u64) -> Option<u64> {
        let swaps = match self.op {
            0xd4 => false,
            0xdc => true,
            _ => return None,
        };
        match self.imm {
            16 => {
                let low = u16::try_from(a & 0xffff).ok()?;
                Some(u64::from(if swaps { low.swap_bytes() } else { low }))
            }
            32 => Some(u64::from(if swaps { lower(a).swap_bytes() } else { lower(a) })),
            64 => Some(if swaps { a.swap_bytes() } else { a }),
            _ => None,
        }
    }

    /// Whether the branch is taken.
    pub(super) fn takes(self, a: u64, b: u64) -> Option<bool> {
        let (a, b, signed_a, signed_b) = if self.is_64() {
            (a, b, a.cast_signed(), b.cast_signed())
        } else {
            let (a, b) = (lower(a), lower(b));
            let (signed_a, signed_b) = (i64::from(a.cast_signed()), i64::from(b.cast_signed()));
            (u64::from(a), u64::from(b), signed_a, signed_b)
        };
        Some(match self.op >> 4 {
            1 => a == b,
            2 => a > b,
            3 => a >= b,
            4 => a & b != 0,
            5 => a != b,
            6 => signed_a > signed_b,
            7 => signed_a >= signed_b,
            0xa => a < b,
            0xb => a <= b,
            0xc => signed_a < signed_b,
            0xd => signed_a <= signed_b,
            _ => return None,
        })
    }

    /// Whether it leaves the register as it is, which has no other bits than these.
    pub(super) fn keeps(self, second: u64, bits: u64) -> bool {
        self.is_64()
            && match self.op >> 4 {
                0 | 1 | 4 | 6 | 7 | 0xa | 0xc => second == 0,
                5 => second & bits == bits,
                _ => false,
            }
    }

    /// Whether it calls a function of the program (`BPF_PSEUDO_CALL`).
    pub(super) fn calls_function(self) -> bool {
        self.kind() == Some(Kind::Call) && self.src == 1
    }

    /// How many of `r1` to `r5` a call reads: of helpers that the programs use, as the kernel declares them
    /// (`include/uapi/linux/bpf.h`); of any other function, all.
    pub(super) fn arguments(self) -> usize {
        match (self.src, self.imm) {
            // bpf_ktime_get_ns, bpf_get_smp_processor_id, bpf_get_current_pid_tgid, bpf_jiffies64.
            (0, 5 | 8 | 14 | 118) => 0,
            // bpf_skc_to_tcp_sock and the like.
            (0, 136..=140) => 1,
            // bpf_map_lookup_elem, bpf_map_delete_elem, bpf_get_current_comm, bpf_ringbuf_submit, bpf_ringbuf_discard,
            // bpf_ringbuf_query.
            (0, 1 | 3 | 16 | 132..=134) => 2,
            // bpf_probe_read_user, bpf_probe_read_kernel, bpf_ringbuf_reserve.
            (0, 112 | 113 | 131) => 3,
            // bpf_map_update_elem.
            (0, 2) => 4,
            _ => 5,
        }
    }
}

/// The number as an immediate whose sign goes on.
fn signed(number: u64) -> Option<i32> {
    i32::try_from(number.cast_signed()).ok()
}

/// The lower half.
fn lower(number: u64) -> u32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn low(number: u64) -> i32 {
    lower(number).cast_signed()
}

/// Where an instruction goes on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Next {
    pub(super) behind: Option<usize>,
    pub(super) elsewhere: Option<usize>,
}

impl Next {
    /// Where it goes on when the outcome of the branch is known.
    pub(super) fn after(self, outcome: Option<bool>) -> Self {
        match outcome {
            Some(true) => Self { behind: None, ..self },
            Some(false) => Self { elsewhere: None, ..self },
            None => self,
        }
    }

    pub(super) fn all(self) -> impl Iterator<Item = usize> {
        self.behind.into_iter().chain(self.elsewhere)
    }
}

/// Where the instruction at `at` goes on, whatever the registers hold; `None` where that is outside of the function.
pub(super) fn next(insns: &[Insn], at: usize) -> Option<Next> {
    let insn = insns.get(at)?;
    let kind = insn.kind()?;
    let inside = |place: usize| (place < insns.len()).then_some(place);
    let behind = || inside(at + kind.slots());
    let target = || inside((at + 1).checked_add_signed(isize::from(insn.off))?);
    Some(match kind {
        Kind::Exit => Next::default(),
        Kind::Goto => Next { behind: None, elsewhere: Some(target()?) },
        Kind::Branch => Next { behind: Some(behind()?), elsewhere: Some(target()?) },
        _ => Next { behind: Some(behind()?), elsewhere: None },
    })
}
