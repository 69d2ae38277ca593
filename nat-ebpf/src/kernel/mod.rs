//! What the kernel is asked: atomics on map memory, the clock, routes, sockets. Decides nothing.

pub mod atomics;
pub mod clock;
pub mod fib;
pub mod sockets;
