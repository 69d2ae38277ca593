//! The page that the lab prints: headings, steps with a tick or a cross, blocks of other programs' output.

use std::io::{IsTerminal as _, Write as _};

/// Writes to stdout; in colour on a terminal, unless `NO_COLOR` is set.
#[derive(Debug)]
pub struct Page {
    colour: bool,
    failures: usize,
}

impl Default for Page {
    fn default() -> Self {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty());
        Self { colour: wanted && std::io::stdout().is_terminal(), failures: 0 }
    }
}

impl Page {
    /// Steps that failed so far.
    pub fn failures(&self) -> usize {
        self.failures
    }

    /// A heading.
    pub fn heading(&self, text: &str) {
        self.line(&format!("\n{}", self.paint("1", text)));
    }

    /// A line of plain text.
    pub fn line(&self, text: &str) {
        let mut out = std::io::stdout().lock();
        // A reader that went away (`| head`) is no reason to leave a lab standing.
        let _ = writeln!(out, "{text}");
        let _ = out.flush();
    }

    /// A step and what came of it: `Ok` holds what was seen, `Err` what went wrong.
    pub fn step(&mut self, what: &str, outcome: anyhow::Result<String>) {
        let (mark, text) = match outcome {
            Ok(text) => (self.paint("32", "ok  "), text),
            Err(e) => {
                self.failures += 1;
                (self.paint("31", "FAIL"), format!("{e:#}"))
            }
        };
        let mut lines = text.lines();
        self.line(&format!("  {mark}  {what:<38}  {}", lines.next().unwrap_or_default()));
        for more in lines {
            self.line(&format!("{:48}{more}", ""));
        }
    }

    /// Another program's output, indented.
    pub fn block(&self, text: &str) {
        for line in text.trim_end().lines() {
            self.line(&format!("  {line}"));
        }
    }

    /// A command to type, and what it does.
    pub fn command(&self, what: &str, command: &str) {
        self.line(&format!("  {}\n      {}", what, self.paint("36", command)));
    }

    fn paint(&self, code: &str, text: &str) -> String {
        if self.colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
