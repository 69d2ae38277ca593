//! Which types may stand in maps.

/// Lets a layout be stored in a BPF map from userspace.
///
/// Only types that are already [`bytemuck::Pod`] (no padding, any bit pattern valid) qualify, which
/// `derive(Pod)` proves at compile time.
macro_rules! map_value {
    ($($t:ty),+ $(,)?) => {$(
        // SAFETY: bytemuck::Pod, required by the assertion below, is the stronger promise.
        #[cfg(feature = "user")]
        unsafe impl aya::Pod for $t {}
        const _: fn() = || {
            const fn pod<T: bytemuck::Pod>() {}
            pod::<$t>();
        };
    )+};
}
pub(crate) use map_value;
