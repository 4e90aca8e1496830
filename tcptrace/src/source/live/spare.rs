//! What attaching took and following does not need, given back.

use std::{
    ffi::{c_int, c_void},
    ptr, slice,
};

/// Free memory that the allocator may keep at the end of its heap, bytes.
const KEPT_BYTES: c_int = 2 << 20;

/// From this size on a piece of memory is the kernel's own, bytes: a table of sockets that grows is moved then, not copied, and
/// leaves no hole where it was. What is printed at one time is smaller.
const OWN_BYTES: c_int = 1 << 20;

/// Lets go of memory: half of what the process has by now was for the kernel's types, in pieces that the allocator would keep,
/// and most of the program that has run will not run again.
pub(super) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number, and changes nothing that anybody has.
    unsafe {
        libc::malloc_trim(0)
    };
    // From here on the allocator may keep what one tick's findings take: to get it from the kernel again for each tick costs as
    // much as they do.
    #[cfg(target_env = "gnu")]
    for (what, bytes) in [(libc::M_TRIM_THRESHOLD, KEPT_BYTES), (libc::M_MMAP_THRESHOLD, OWN_BYTES)]
    {
        // SAFETY: as above.
        unsafe { libc::mallopt(what, bytes) };
    }
    // SAFETY: the function is called during the call only, for objects that are there.
    unsafe { libc::dl_iterate_phdr(Some(unmap_unchanged), ptr::null_mut()) };
}

/// Takes the pages of an object's code and constants out of the process. They are the file's, unchanged: what is used again is
/// found where the kernel keeps the file, and what is not is no longer resident.
unsafe extern "C" fn unmap_unchanged(
    object: *mut libc::dl_phdr_info,
    _size: usize,
    _data: *mut c_void,
) -> c_int {
    // SAFETY: it is called with what describes an object.
    let object = unsafe { &*object };
    let many = usize::from(object.dlpi_phnum);
    // SAFETY: there are as many headers as it says.
    let headers = unsafe { slice::from_raw_parts(object.dlpi_phdr, many) };
    let unchanged = |header: &&libc::Elf64_Phdr| {
        header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0
    };
    // SAFETY: it only asks.
    let page_bytes = u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
    for header in headers.iter().filter(unchanged) {
        let start = object.dlpi_addr + header.p_vaddr;
        let page = start - start % page_bytes;
        let sizes = (usize::try_from(page), usize::try_from(header.p_memsz + start - page));
        if let (Ok(page), Ok(bytes)) = sizes {
            // SAFETY: nobody may write there, so that nothing is lost: a page that is touched again comes from the file.
            unsafe {
                libc::madvise(ptr::with_exposed_provenance_mut(page), bytes, libc::MADV_DONTNEED)
            };
        }
    }
    0
}
