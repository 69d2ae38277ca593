#![no_std]
#![no_main]
//! x
#[panic_handler]
fn p(_: &core::panic::PanicInfo) -> ! {
    loop {}
}
