//! A frame as the packet path handles it: what can be read of it ([`View`]), and what can be done with it ([`Frame`]).
//!
//! XDP programs and tc programs get frames in different forms. Everything that depends on the form is here, so that the
//! rest of the packet path is written once, generic over the frame, and compiled for each form.

pub mod skb;
pub mod xdp;

use core::ffi::c_void;

use nat_common::{Reason, Verdict};

/// Which kind of program a frame was given to. A constant of each frame type, so that the compiler picks the branch.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// XDP.
    Xdp,
    /// tc.
    Skb,
}

/// What can be read of a frame.
pub trait View: Copy {
    /// The context, as the kernel's types name it.
    type Context;

    /// Which kind of program this is.
    const KIND: Kind;

    /// Bytes in front of the network header: an Ethernet header.
    const LINK: usize;

    /// The context, for helpers that take it.
    fn context(self) -> *mut c_void;

    /// Address of the first byte of the link-layer header.
    fn start(self) -> usize;

    /// Address behind the last byte that may be read directly. The frame may be longer, see [`Self::len`].
    fn end(self) -> usize;

    /// Bytes of the whole frame, those that cannot be read directly included.
    fn len(self) -> u32;

    /// Index of the interface that the frame came by.
    fn ingress(self) -> u32;
}

/// What can be done with a frame.
pub trait Frame: View {
    /// Action number: the frame is dropped.
    const DROP: u32;

    /// Action number: the kernel gets the frame.
    const PASS: u32;

    /// Moves the first byte of the frame by `bytes`: forward when positive, which takes bytes off. Pointers into the frame
    /// are to be made anew. `false` when the driver has no room for it; the frame is then as it was.
    fn move_start(self, bytes: i32) -> bool;

    /// Cuts the frame down to `len` bytes; one that is shorter stays as it is. `false` when that was not possible.
    fn cut_to(self, len: u32) -> bool;

    /// Copies `len` bytes of the frame from offset `from`; `false` when it has fewer.
    ///
    /// # Safety
    /// `len` bytes from `to` are writable.
    unsafe fn copy(self, from: u32, to: *mut u8, len: u32) -> bool;

    /// Marks the frame as translated by natgw, so that the ingress guard lets it pass to the kernel. `false` when the frame
    /// has no room for a mark. Pointers into the frame are to be made anew.
    fn mark(self) -> bool;

    /// Sends the frame out of the managed interface with this devmap index: the action number. `None` when there is no such
    /// interface.
    fn send(self, egress: u16) -> Option<u32>;

    /// Sends the frame back out of the interface that it came by: the action number.
    fn send_back(self) -> u32;

    /// Applies the change `delta` of a pseudo header and ports to the transport checksum at `field`. The checksum of a
    /// protocol where it is `optional` (UDP) stays zero when it is zero (RFC 768).
    ///
    /// # Safety
    /// `field` points to the two bytes of the checksum, within the frame.
    unsafe fn adjust_checksum(self, field: *mut u8, delta: u16, optional: bool);
}

/// What a [`checked_alone!`] function may return. To the kernel that is a number or a fieldless enum; structs and enums with
/// fields cross as the number that they are.
pub trait Register: Sized {
    /// As the kernel sees it.
    type Number;

    /// What such a function returns when it is called without its work: a value that refuses. No caller does that; the verifier
    /// wants to see it checked.
    const REFUSED: Self;

    /// To the kernel's.
    fn to_number(self) -> Self::Number;

    /// From the kernel's.
    fn from_number(number: Self::Number) -> Self;
}

impl Register for Result<(), Verdict> {
    type Number = u32;
    const REFUSED: Self = Err(Verdict::drop(Reason::Policy));

    #[inline(always)]
    fn to_number(self) -> u32 {
        Verdict::number(self)
    }

    #[inline(always)]
    fn from_number(number: u32) -> Self {
        Verdict::from_number(number)
    }
}

/// Types that are numbers or fieldless enums already.
macro_rules! registers {
    ($($type:ty: $refused:expr),+) => {$(
        impl $crate::frame::Register for $type {
            type Number = Self;
            const REFUSED: Self = $refused;

            #[inline(always)]
            fn to_number(self) -> Self {
                self
            }

            #[inline(always)]
            fn from_number(number: Self) -> Self {
                number
            }
        }
    )+};
}
pub(crate) use registers;

registers!(bool: false, u32: 0);

/// Declares a step of the slow path that the verifier checks once and by itself (a *global* function in the kernel's terms),
/// instead of again on every path that leads to it.
///
/// Such a function takes a context, a pointer to the [`crate::work::Work`] of this CPU, and up to three numbers; it returns
/// one register ([`Register`]). It cannot be generic, so each kind of frame has a symbol of its own, and the generic wrapper that callers
/// use picks one.
///
/// ```text
/// checked_alone! {
///     /// What it does.
///     pub fn step<F: Frame>(frame, work, more: u32) -> bool = body; Xdp as xdp_step
/// }
/// fn body<F: Frame>(frame: F, work: &mut Work, more: u32) -> bool { ... }
/// ```
macro_rules! checked_alone {
    ($(#[$doc:meta])* $vis:vis fn $name:ident<$view:ident: $bound:ident> $arguments:tt -> $returned:ty = $body:ident;
     $($kind:ident as $symbol:ident),+) => {
        $($crate::frame::checked_alone!(@symbol $kind $symbol $arguments $returned, $body);)+
        $crate::frame::checked_alone!(@pick [$(#[$doc])*] [$vis] $name $bound $arguments $returned, [$($kind $symbol)+]);
    };
    (@symbol $kind:ident $symbol:ident (frame, work $(, $arg:ident: $type:ty)*) $returned:ty, $body:ident) => {
        #[inline(never)]
        #[unsafe(no_mangle)]
        extern "C" fn $symbol(
            context: *mut <$crate::frame::checked_alone!(@type $kind) as $crate::frame::View>::Context,
            work: *mut $crate::work::Work
            $(, $arg: $type)*
        ) -> <$returned as $crate::frame::Register>::Number {
            // SAFETY: null, or this CPU's work, which the caller lends for the call.
            let Some(work) = (unsafe { work.as_mut() }) else {
                return $crate::frame::Register::to_number(<$returned as $crate::frame::Register>::REFUSED);
            };
            <$returned as $crate::frame::Register>::to_number($body(
                <$crate::frame::checked_alone!(@type $kind)>::new(context),
                work
                $(, $arg)*
            ))
        }
    };
    (@pick [$(#[$doc:meta])*] [$vis:vis] $name:ident $bound:ident (frame, work $(, $arg:ident: $type:ty)*) $returned:ty,
     [$kind:ident $symbol:ident $($more_kind:ident $more_symbol:ident)*]) => {
        $(#[$doc])*
        #[inline(always)]
        $vis fn $name<F: $crate::frame::$bound>(frame: F, work: &mut $crate::work::Work $(, $arg: $type)*) -> $returned {
            $crate::frame::checked_alone!(@call F frame ($symbol work $($arg)*) $kind [$($more_kind $more_symbol)*])
        }
    };
    (@call $view:ident $frame:ident ($symbol:ident $work:ident $($arg:ident)*) $kind:ident []) => {
        match $view::KIND {
            $crate::frame::Kind::$kind => $crate::frame::Register::from_number($symbol($frame.context().cast(), $work $(, $arg)*)),
            _ => $crate::frame::Register::REFUSED,
        }
    };
    (@call $view:ident $frame:ident ($symbol:ident $work:ident $($arg:ident)*) $kind:ident [$other:ident $other_symbol:ident]) => {
        match $view::KIND {
            $crate::frame::Kind::$kind => $crate::frame::Register::from_number($symbol($frame.context().cast(), $work $(, $arg)*)),
            $crate::frame::Kind::$other => $crate::frame::Register::from_number($other_symbol($frame.context().cast(), $work $(, $arg)*)),
        }
    };
    (@type Xdp) => { $crate::frame::xdp::Xdp };
    (@type Skb) => { $crate::frame::skb::Skb };
}
pub(crate) use checked_alone;
