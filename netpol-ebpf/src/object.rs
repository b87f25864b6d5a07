//! What every object needs beside its programs: the licence under which the kernel lends its helpers (some only to
//! GPL-compatible programs), and a handler for panics, of which there are none: the verifier would refuse them.

use core::panic::PanicInfo;

#[panic_handler]
fn panic(_info: &PanicInfo<'_>) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 4] = *b"GPL\0";
