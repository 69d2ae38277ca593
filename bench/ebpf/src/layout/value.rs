//! How a layout becomes the value of a map.

/// Lets a layout be stored in a BPF map from userspace. It must be [`bytemuck::Pod`] already: no padding, and any bit
/// pattern valid.
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
pub(super) use map_value;
