//! The tc classifiers' parts: [`maps`], the [`skb`] they look at, the parser ([`parse`]), the tables and flows of the
//! decision function over BPF maps ([`tables`], [`flows`]), and what they [`report`].
//!
//! Only netpol-common is known here: nothing of Kubernetes, nothing of names.
#![no_std]
#![feature(asm_experimental_arch)]

pub mod flows;
pub mod known;
pub mod maps;
pub mod parse;
pub mod report;
pub mod skb;
pub mod tables;

/// What every object needs beside its programs: the licence under which the kernel lends its helpers (some only to
/// GPL-compatible programs), and a handler for panics, of which there are none: the verifier would refuse them.
#[macro_export]
macro_rules! object {
    () => {
        #[panic_handler]
        fn panic(_info: &core::panic::PanicInfo<'_>) -> ! {
            loop {}
        }

        #[unsafe(link_section = "license")]
        #[unsafe(no_mangle)]
        static LICENSE: [u8; 4] = *b"GPL\0";
    };
}
