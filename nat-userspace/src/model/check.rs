//! What `natgw doctor` finds: one answer for each question about the host.

use serde::Serialize;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// As it should be.
    Ok,
    /// natgw works, and something is slower or missing.
    Warn,
    /// natgw does not work.
    Fail,
}

impl Outcome {
    /// As in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Warn => "warn",
            Self::Fail => "fail",
        }
    }
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What was looked at: a word that scripts can rely on, and the interface where it is about one.
    pub check: String,
    /// How it ended.
    pub outcome: Outcome,
    /// What was found.
    pub text: String,
    /// What to do about it; nothing when all is well.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub what_to_do: Option<String>,
}

impl Check {
    /// All is well.
    pub fn ok(check: impl Into<String>, text: impl Into<String>) -> Self {
        Self { check: check.into(), outcome: Outcome::Ok, text: text.into(), what_to_do: None }
    }

    /// Not as well as it might be.
    pub fn warn(check: impl Into<String>, text: impl Into<String>, what_to_do: impl Into<String>) -> Self {
        Self { outcome: Outcome::Warn, what_to_do: Some(what_to_do.into()), ..Self::ok(check, text) }
    }

    /// natgw does not work like that.
    pub fn fail(check: impl Into<String>, text: impl Into<String>, what_to_do: impl Into<String>) -> Self {
        Self { outcome: Outcome::Fail, ..Self::warn(check, text, what_to_do) }
    }
}
