//! The command line: one file per verb. [`args`] is what can be typed, [`instance`] which gateway is meant, [`table`] how
//! output looks.

mod args;
mod check;
mod completions;
mod delete;
mod detach;
mod doctor;
mod eip;
mod flows;
mod instance;
mod man;
mod outcome;
mod run;
mod stats;
mod status;
mod table;
mod verbs;

pub use outcome::main;
