//! A frame as the packet path handles it: what can be read of it ([`View`]), and what can be done with it ([`Frame`]).
//!
//! XDP programs and tc programs get frames in different forms. Everything that depends on the form is here, so that the
//! rest of the packet path is written once, generic over the frame, and compiled for each form.

mod alone;
pub mod skb;
mod view;
pub mod xdp;

pub use alone::Register;
pub(crate) use alone::{checked_alone, registers};
pub use view::{Change, Frame, Kind, View, Wire};
