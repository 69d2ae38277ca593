//! Settings of the whole machine, changed for a while.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};

/// Files under /proc/sys and /sys with other values, for as long as this lives.
#[derive(Debug)]
pub struct Knobs {
    /// A shell that writes the old values back when this process is done with them, whichever way it ends.
    keeper: Child,
}

impl Knobs {
    /// Writes a value into each file.
    pub fn set(files: &[(&str, &str)]) -> Result<Self> {
        let mut script = "read -r _".to_owned();
        for (path, _) in files.iter().rev() {
            write!(script, "; echo {} >{path}", read(path)?)?;
        }
        let mut keeper = Command::new("sh");
        keeper.args(["-c", &script]).stdin(Stdio::piped());
        let knobs = Self { keeper: keeper.spawn().context("start sh")? };
        for (path, value) in files {
            fs::write(path, value).with_context(|| format!("write {value} to {path}"))?;
        }
        Ok(knobs)
    }
}

impl Drop for Knobs {
    fn drop(&mut self) {
        if let Some(mut stdin) = self.keeper.stdin.take() {
            // A keeper that is gone already has put everything back.
            let _ = stdin.write_all(b"done\n");
        }
        let _ = self.keeper.wait();
    }
}

/// The value in a file.
pub fn read(path: &str) -> Result<String> {
    let text = fs::read_to_string(path).with_context(|| format!("read {path}"))?;
    Ok(text.trim().to_owned())
}
