//! Where a value was written, so that a refusal can point at it.

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A configuration file.
    File(Arc<Place>),
    /// The command line.
    Flag(&'static str),
    /// Nobody wrote it.
    Default(&'static str),
}

/// A place in a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub path: Arc<Path>,
    /// Line, counted from 1.
    pub line: usize,
    /// Key, with the tables it is in; empty when the text is not even TOML.
    pub key: String,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, line, key } = self;
        write!(f, "{} line {line}", path.display())?;
        if key.is_empty() { Ok(()) } else { write!(f, ", {key}") }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(place) => write!(f, "{place}"),
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Default(what) => write!(f, "{what}"),
        }
    }
}

/// A value and where it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// Where it was written.
    pub at: Origin,
}

impl<T> Sourced<T> {
    /// A value from the command line.
    pub const fn flag(value: T, flag: &'static str) -> Self {
        Self { value, at: Origin::Flag(flag) }
    }
}

/// A configuration file's text, for turning byte offsets into lines and keys.
#[derive(Clone, Debug)]
pub(super) struct Text<'a> {
    pub(super) path: Arc<Path>,
    pub(super) text: &'a str,
}

impl Text<'_> {
    /// The origin of a byte range, with the innermost key around it.
    pub(super) fn origin(&self, span: Range<usize>) -> Origin {
        Origin::File(Arc::new(Place {
            path: Arc::clone(&self.path),
            line: self.line(span.start),
            key: key_at(self.text, &span).unwrap_or_default(),
        }))
    }

    /// `value` with its origin.
    pub(super) fn sourced<T>(&self, value: Spanned<T>) -> Sourced<T> {
        let at = self.origin(value.span());
        Sourced { value: value.into_inner(), at }
    }

    fn line(&self, offset: usize) -> usize {
        1 + self.text.bytes().take(offset).filter(|b| *b == b'\n').count()
    }
}

fn key_at(text: &str, span: &Range<usize>) -> Option<String> {
    let table = DeTable::parse(text).ok()?;
    let mut best = None;
    search(table.get_ref(), "", span, &mut best);
    best.map(|(_, key)| key)
}

/// The smallest key or value that contains `span`; array elements count as their array.
fn search(table: &DeTable<'_>, prefix: &str, span: &Range<usize>, best: &mut Option<(usize, String)>) {
    for (key, value) in table {
        let path =
            if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        for candidate in [key.span(), value.span()] {
            let contains = candidate.start <= span.start && span.end <= candidate.end;
            if contains && best.as_ref().is_none_or(|(size, _)| candidate.len() < *size) {
                *best = Some((candidate.len(), path.clone()));
            }
        }
        match value.get_ref() {
            DeValue::Table(inner) => search(inner, &path, span, best),
            DeValue::Array(elements) => {
                for element in elements {
                    if let DeValue::Table(inner) = element.get_ref() {
                        search(inner, &path, span, best);
                    }
                }
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_key_and_line_of_an_offset() {
        let text = "max_flows = 5\n[[pool]]\nname = \"a\"\n[[pool]]\nname = \"b\"\neips = [\n  \"x\",\n]\n";
        let file = Text { path: Path::new("f.toml").into(), text };
        let at = |needle: &str| {
            let start = text.rfind(needle).expect("present");
            file.origin(start..start + needle.len()).to_string()
        };
        assert_eq!(at("5"), "f.toml line 1, max_flows");
        assert_eq!(at("\"b\""), "f.toml line 5, pool.name");
        assert_eq!(at("\"x\""), "f.toml line 7, pool.eips");
    }

    #[test]
    fn text_that_is_no_toml_still_has_lines() {
        let file = Text { path: Path::new("f.toml").into(), text: "a = 1\nb = = 2\n" };
        assert_eq!(file.origin(10..11).to_string(), "f.toml line 2");
    }
}
