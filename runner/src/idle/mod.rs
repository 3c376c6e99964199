//! A process that mostly sleeps takes little memory: monitors live as long as their containers, one each.
//!
//! What such a process no longer needs is given back when nothing has happened for a second. Code and constants are the file's and
//! come back from the page cache when they are needed, for a few dozen page faults, so a monitor that is busy keeps them.

mod sys;

use std::io;
use std::time::Duration;

/// How long nothing happens before memory is given back.
const BUSY: Duration = Duration::from_secs(1);

/// As [`crate::sys::poll`], giving memory back when nothing happens for a while.
pub fn poll(entries: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<usize> {
    if timeout.is_some_and(|timeout| timeout <= BUSY) {
        return crate::sys::poll(entries, timeout);
    }
    match crate::sys::poll(entries, Some(BUSY))? {
        0 => {
            trim_memory();
            crate::sys::poll(entries, timeout.map(|timeout| timeout - BUSY))
        }
        count => Ok(count),
    }
}

/// Gives back what a process that now sleeps does not need: the stack below the present depth, the program's code and constants,
/// and the free heap, where the C library can.
pub fn trim_memory() {
    sys::drop_stack(&crate::sys::read_small("/proc/self/maps").unwrap_or_default());
    sys::drop_program();
    sys::drop_heap();
}

/// For a process that holds large tables one after another: from now on the kernel gets each back as soon as it is freed.
/// Left to itself, glibc keeps blocks of up to 32 MiB once it has seen one of that size freed, and has them scattered.
pub fn return_large_blocks() {
    sys::map_large_blocks();
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The program's constants are still there after all was given back, what was written since it began is as well, and so is
    /// what lies on the heap and the stack.
    #[test]
    fn what_is_used_stays() {
        static WRITTEN: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(1);
        WRITTEN.store(7, std::sync::atomic::Ordering::Relaxed);
        let heap: Vec<u8> = (0..200_000_u32).map(|number| number as u8).collect();
        let stack: [u8; 8192] = std::array::from_fn(|number| number as u8);
        trim_memory();
        assert_eq!(WRITTEN.load(std::sync::atomic::Ordering::Relaxed), 7);
        assert!(heap.iter().enumerate().all(|(number, byte)| *byte == number as u8));
        assert!(stack.iter().enumerate().all(|(number, byte)| *byte == number as u8));
    }

    #[test]
    fn waiting_is_as_long_as_asked() {
        let began = std::time::Instant::now();
        assert_eq!(poll(&mut [], Some(BUSY + Duration::from_millis(200))).unwrap(), 0);
        assert!(began.elapsed() >= BUSY + Duration::from_millis(200));
        let began = std::time::Instant::now();
        assert_eq!(poll(&mut [], Some(Duration::from_millis(20))).unwrap(), 0);
        assert!(began.elapsed() >= Duration::from_millis(20) && began.elapsed() < BUSY);
    }
}
