//! The ways to give bytes to TCP, beside `write` and `send`.

/// A system call that writes, or an option of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// `writev` of two pieces.
    Writev,
    /// `sendmsg` of two pieces.
    Sendmsg,
    /// `sendmmsg` of two messages: two writes in one call.
    Sendmmsg,
    /// `sendfile` of a whole file.
    Sendfile,
    /// `sendfile` of more bytes than the file has: the kernel says of all of them that more will follow.
    SendfilePastEnd,
    /// `splice` from a pipe.
    Splice,
    /// `splice` from a pipe with `SPLICE_F_MORE`.
    SpliceMore,
    /// `send` with `MSG_ZEROCOPY`.
    Zerocopy,
    /// `send` with `MSG_EOR`: nothing is added to these bytes.
    EndOfRecord,
    /// `IORING_OP_SEND`.
    IoUring,
    /// `IORING_OP_SEND` by a thread of the ring's own (`IOSQE_ASYNC`).
    IoUringWorker,
    /// A message of KCM, which the kernel itself gives to TCP.
    Kcm,
    /// `send` with `MSG_DONTWAIT`; what would have to wait is not given.
    DontWait,
}

impl Way {
    /// Those after which TCP does with the bytes as after `write`.
    pub(crate) const PLAIN: [Self; 10] = [
        Self::Writev,
        Self::Sendmsg,
        Self::Sendmmsg,
        Self::Sendfile,
        Self::Splice,
        Self::Zerocopy,
        Self::IoUring,
        Self::IoUringWorker,
        Self::Kcm,
        Self::DontWait,
    ];

    /// Its name in a story's.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Writev => "writev",
            Self::Sendmsg => "sendmsg",
            Self::Sendmmsg => "sendmmsg",
            Self::Sendfile => "sendfile",
            Self::SendfilePastEnd => "sendfile_past_end",
            Self::Splice => "splice",
            Self::SpliceMore => "splice_more",
            Self::Zerocopy => "zerocopy",
            Self::EndOfRecord => "end_of_record",
            Self::IoUring => "io_uring",
            Self::IoUringWorker => "io_uring_worker",
            Self::Kcm => "kcm",
            Self::DontWait => "dontwait",
        }
    }

    /// Whether TCP is told that more will follow.
    pub(crate) const fn says_more(self) -> bool {
        matches!(self, Self::SpliceMore | Self::SendfilePastEnd)
    }
}
