//! The shared page: one time for each mark, written once by whichever process comes by.

#![allow(unsafe_code)]

use std::io;
use std::sync::atomic::{AtomicPtr, AtomicU64, Ordering};
use std::time::Duration;

/// Marks there are; one more slot is the beginning.
pub const SLOTS: usize = 16;

type Page = [AtomicU64; SLOTS + 1];

static PAGE: AtomicPtr<Page> = AtomicPtr::new(std::ptr::null_mut());

/// Nanoseconds of CLOCK_MONOTONIC, which all processes see alike.
fn now() -> u64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Makes the page, and begins `before` ago.
pub fn share(before: Duration) -> io::Result<()> {
    // SAFETY: a fresh anonymous mapping at an address of the kernel's choice touches no memory that is in use.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            size_of::<Page>(),
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if page == libc::MAP_FAILED {
        return Err(io::Error::last_os_error());
    }
    PAGE.store(page.cast(), Ordering::Release);
    if let Some(page) = page_of_all() {
        page[SLOTS].store(now().saturating_sub(before.as_nanos() as u64), Ordering::Relaxed);
    }
    Ok(())
}

fn page_of_all() -> Option<&'static Page> {
    // SAFETY: either null, or a page mapped by `share` that is never unmapped, aligned and zeroed, of which only atomics are used.
    unsafe { PAGE.load(Ordering::Acquire).as_ref() }
}

/// Writes the time into a slot that is empty.
pub fn set(slot: usize) {
    if let Some(slot) = page_of_all().and_then(|page| page[..SLOTS].get(slot)) {
        // Taken already: the first one counts.
        let _ = slot.compare_exchange(0, now(), Ordering::Relaxed, Ordering::Relaxed);
    }
}

/// The beginning and all marks; `None` if there is no page.
pub fn read() -> Option<(u64, [u64; SLOTS])> {
    let page = page_of_all()?;
    let mut marks = [0; SLOTS];
    for (mark, slot) in marks.iter_mut().zip(page) {
        *mark = slot.load(Ordering::Relaxed);
    }
    Some((page[SLOTS].load(Ordering::Relaxed), marks))
}
