//! Steps of the slow path that the verifier checks by themselves.

use nat_common::{Reason, Verdict};

/// What a [`checked_alone!`] function may return. The kernel's verifier takes nothing but a number or a fieldless enum from such a
/// function, so a struct, or an enum with fields, is turned into a number in the function and back in its caller.
pub trait Register: Sized {
    /// The number that crosses.
    type Number;

    /// What such a function returns when the pointer to its work is null: a value that refuses the packet. No caller passes null,
    /// but the verifier checks the function without its callers and wants the case handled.
    const REFUSED: Self;

    /// Turns it into the number, in the function that returns.
    fn to_number(self) -> Self::Number;

    /// Turns the number back, in the caller.
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
/// one register ([`Register`]). It cannot be generic, so each kind of frame has a symbol of its own, and the generic wrapper that
/// callers use picks one.
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
            _ => $crate::frame::Register::REFUSED,
        }
    };
    (@call $view:ident $frame:ident ($symbol:ident $work:ident $($arg:ident)*) $kind:ident
     [$other:ident $other_symbol:ident $third:ident $third_symbol:ident]) => {
        match $view::KIND {
            $crate::frame::Kind::$kind => $crate::frame::Register::from_number($symbol($frame.context().cast(), $work $(, $arg)*)),
            $crate::frame::Kind::$other => $crate::frame::Register::from_number($other_symbol($frame.context().cast(), $work $(, $arg)*)),
            $crate::frame::Kind::$third => $crate::frame::Register::from_number($third_symbol($frame.context().cast(), $work $(, $arg)*)),
        }
    };
    (@type Xdp) => { $crate::frame::xdp::Xdp };
    (@type Skb) => { $crate::frame::skb::Skb };
    (@type Ip) => { $crate::frame::skb::Ip };
}
pub(crate) use checked_alone;
