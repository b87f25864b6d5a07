//! The memory that the agent takes of the node.

/// Lets every large block go back to the kernel when it is freed. glibc would keep blocks up to the size of the largest
/// that was ever freed, and aya reads some megabytes of the kernel's own types at the start.
pub(crate) fn return_large_blocks() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes two numbers, and holds glibc's own lock while it notes them.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 128 * 1024);
    }
}

/// Gives back to the kernel what was freed: glibc would keep it for as long as anything lies behind it that stays.
pub(crate) fn give_back() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number, and holds glibc's own locks while it looks at what is free.
    unsafe {
        libc::malloc_trim(0);
    }
}
