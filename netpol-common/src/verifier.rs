//! What is done for the kernel's verifier alone.

/// The same number, of which the verifier knows nothing any more: so it walks what follows once, and not once for each
/// value that the number has on the way there. `by` is any number that the verifier does not know.
#[inline(always)]
#[must_use]
pub(crate) fn forgotten(number: u64, by: u64) -> u64 {
    #[cfg(target_arch = "bpf")]
    {
        let mut number = number;
        // SAFETY: changes a register, and changes it back.
        unsafe {
            core::arch::asm!(
                "{0} ^= {1}",
                "{0} ^= {1}",
                inout(reg) number,
                in(reg) by,
                options(nomem, nostack, preserves_flags),
            );
        }
        number
    }
    #[cfg(not(target_arch = "bpf"))]
    {
        let _ = by;
        number
    }
}
