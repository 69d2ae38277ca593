//! What the kernel is asked: shared memory of maps, the clock, routes, sockets. Decides nothing.

pub mod clock;
pub mod conntrack;
pub mod fib;
pub mod memory;
pub mod register;
pub mod sockets;
