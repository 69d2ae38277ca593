//! Values of the maps that userspace fills in and reads, a file for each group of programs.

mod value;

pub mod births;
pub mod driver;
pub mod endpoints;
pub mod rig;
