//! Giving memory back to the kernel: which pages may go is decided by what was loaded read-only, which nobody can have written to,
//! and by the present depth of the stack.
#![allow(unsafe_code)]

use std::ffi::{c_int, c_void};

/// What lies this far below a local variable is used by nobody: the calls from there on need less.
const STACK_KEPT: usize = 64 << 10;

/// Drops the stack below the present depth; `maps` is the text of /proc/self/maps.
pub fn drop_stack(maps: &str) {
    let here = 0_u8;
    let depth = (&raw const here as usize).saturating_sub(STACK_KEPT);
    let stack = maps.lines().find(|line| line.ends_with("[stack]")).and_then(|line| line.split_once('-'));
    if let Some(start) = stack.and_then(|(start, _)| usize::from_str_radix(start, 16).ok()) {
        drop_pages(start, depth);
    }
}

/// Drops code and constants.
pub fn drop_program() {
    // SAFETY: `drop_segments` is called with descriptions of what is loaded, which are valid while it runs, and keeps none.
    unsafe {
        libc::dl_iterate_phdr(Some(drop_segments), std::ptr::null_mut());
    }
}

/// Returns free memory of the allocator.
pub fn drop_heap() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim only touches free memory of the allocator.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Lets blocks of a MiB and more be mappings of their own, always.
pub fn map_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt only sets a number of the allocator's, under its lock.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 1 << 20);
    }
}

/// Drops the segments that are loaded read-only: neither the program nor the loader has written to them. What is made read-only
/// after relocation belongs to a segment that may be written, and stays.
///
/// # Safety
/// `info` describes a loaded object, as dl_iterate_phdr(3) hands it out.
unsafe extern "C" fn drop_segments(info: *mut libc::dl_phdr_info, _: usize, _: *mut c_void) -> c_int {
    // SAFETY: the caller's promise; the headers are part of the object.
    let (base, headers) = unsafe {
        let info = &*info;
        (info.dlpi_addr as usize, std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)))
    };
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD && header.p_flags & libc::PF_W == 0) {
        let start = base.wrapping_add(header.p_vaddr as usize);
        drop_pages(start, start.wrapping_add(header.p_memsz as usize));
    }
    0
}

/// Drops the whole pages between two addresses.
fn drop_pages(start: usize, end: usize) {
    let page = rustix::param::page_size();
    let (start, end) = (start.next_multiple_of(page), end / page * page);
    if start < end {
        // SAFETY: the callers name memory that nobody uses or whose content comes back. A refusal changes nothing.
        unsafe {
            libc::madvise(start as *mut c_void, end - start, libc::MADV_DONTNEED);
        }
    }
}
