//! Plain data: types that cross the border between kernel and user space.

/// A type of which every bit pattern is valid and which has no padding, so that it may be copied as bytes.
///
/// # Safety
///
/// Only implemented by [`pod!`], which proves at compile time that there is no padding.
pub unsafe trait Pod: Copy + 'static {}

/// Defines a `#[repr(C)]` struct of integers (and of other such structs), fails to compile when it has padding,
/// and implements [`Pod`] for it.
macro_rules! pod {
    ($(#[$meta:meta])* $vis:vis struct $name:ident { $($(#[$fmeta:meta])* $fvis:vis $field:ident : $ty:ty,)* }) => {
        $(#[$meta])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        $vis struct $name { $($(#[$fmeta])* $fvis $field: $ty,)* }

        const _: () = assert!(
            core::mem::size_of::<$name>() == 0 $(+ core::mem::size_of::<$ty>())*,
            concat!(stringify!($name), " has padding")
        );

        // SAFETY: the fields are integers or Pod themselves, and the assertion above excludes padding.
        unsafe impl $crate::pod::Pod for $name {}
    };
}

// SAFETY: integers.
unsafe impl Pod for u32 {}
// SAFETY: integers.
unsafe impl Pod for u64 {}
// SAFETY: an array of bytes.
unsafe impl Pod for [u8; 16] {}
