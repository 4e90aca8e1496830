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
    /// `send` with `MSG_OOB`: the last byte is urgent.
    Urgent,
    /// `send` with `MSG_OOB` and `MSG_MORE`.
    UrgentMore,
    /// `sendto` with `MSG_FASTOPEN`, which opens the connection.
    Fastopen,
    /// The same with `MSG_MORE`.
    FastopenMore,
    /// The same with `MSG_DONTWAIT`; what would have to wait is not given.
    FastopenDontWait,
    /// `IORING_OP_SEND`.
    IoUring,
    /// `IORING_OP_SEND` by a thread of the ring's own (`IOSQE_ASYNC`).
    IoUringWorker,
    /// `IORING_OP_SENDMSG` of two pieces.
    IoUringSendmsg,
    /// `IORING_OP_WRITE`.
    IoUringWrite,
    /// `IORING_OP_SEND_ZC`.
    IoUringZerocopy,
    /// `IORING_OP_SENDMSG_ZC` of two pieces.
    IoUringSendmsgZerocopy,
    /// A message of KCM, which the kernel itself gives to TCP.
    Kcm,
    /// `send` with `MSG_DONTWAIT`; what would have to wait is not given.
    DontWait,
}

impl Way {
    /// Those after which TCP does with the bytes as after `write`.
    pub(crate) const PLAIN: [Self; 14] = [
        Self::Writev,
        Self::Sendmsg,
        Self::Sendmmsg,
        Self::Sendfile,
        Self::Splice,
        Self::Zerocopy,
        Self::IoUring,
        Self::IoUringWorker,
        Self::IoUringSendmsg,
        Self::IoUringWrite,
        Self::IoUringZerocopy,
        Self::IoUringSendmsgZerocopy,
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
            Self::Urgent => "urgent",
            Self::UrgentMore => "urgent_more",
            Self::Fastopen => "fastopen",
            Self::FastopenMore => "fastopen_more",
            Self::FastopenDontWait => "fastopen_dontwait",
            Self::IoUring => "io_uring",
            Self::IoUringWorker => "io_uring_worker",
            Self::IoUringSendmsg => "io_uring_sendmsg",
            Self::IoUringWrite => "io_uring_write",
            Self::IoUringZerocopy => "io_uring_zerocopy",
            Self::IoUringSendmsgZerocopy => "io_uring_sendmsg_zerocopy",
            Self::Kcm => "kcm",
            Self::DontWait => "dontwait",
        }
    }

    /// Whether TCP is told that more will follow.
    pub(crate) const fn says_more(self) -> bool {
        matches!(
            self,
            Self::SpliceMore | Self::SendfilePastEnd | Self::UrgentMore | Self::FastopenMore
        )
    }

    /// Whether the last byte is urgent.
    pub(crate) const fn is_urgent(self) -> bool {
        matches!(self, Self::Urgent | Self::UrgentMore)
    }

    /// Whether the write opens the connection.
    pub(crate) const fn opens(self) -> bool {
        matches!(self, Self::Fastopen | Self::FastopenMore | Self::FastopenDontWait)
    }

    /// Whether the bytes of two calls never share a buffer: a buffer tells one of them only that its pages are free again
    /// (`skb_zerocopy_iter_stream()`).
    pub(crate) const fn keeps_apart(self) -> bool {
        matches!(self, Self::IoUringZerocopy | Self::IoUringSendmsgZerocopy)
    }

    /// Whether TCP is given pages, not bytes to copy.
    pub(crate) const fn gives_pages(self) -> bool {
        matches!(
            self,
            Self::Sendfile | Self::SendfilePastEnd | Self::Splice | Self::SpliceMore | Self::Kcm
        )
    }
}
