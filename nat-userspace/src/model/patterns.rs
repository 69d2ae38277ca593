//! Patterns of interface names, for interfaces that come and go: `inside = ["veth-*"]`.

use std::fmt;

use glob::Pattern;

/// A pattern of interface names: `*` stands for any characters, `?` for one, `[ab]` for one of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern(Pattern);

impl NamePattern {
    /// Whether a name in a configuration is a pattern. The kernel allows these characters in names; nobody uses them.
    pub fn is_one(text: &str) -> bool {
        text.contains(['*', '?', '['])
    }

    /// From its text; the error says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, String> {
        Pattern::new(text).map(Self).map_err(|e| e.msg.to_owned())
    }

    /// Whether it matches a name.
    pub fn matches(&self, interface: &str) -> bool {
        self.0.matches(interface)
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str())
    }
}

/// The patterns of both sides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Patterns {
    /// Of interfaces towards the clients.
    pub inside: Vec<NamePattern>,
    /// Of interfaces towards the internet.
    pub outside: Vec<NamePattern>,
}

/// Which side's patterns match a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matched {
    /// None.
    No,
    /// Inside.
    Inside,
    /// Outside.
    Outside,
    /// One of each side, so that natgw does not know which one it is on.
    Both,
}

impl Patterns {
    /// Which side's patterns match a name.
    pub fn side_of(&self, interface: &str) -> Matched {
        let is_in = |patterns: &[NamePattern]| patterns.iter().any(|p| p.matches(interface));
        match (is_in(&self.inside), is_in(&self.outside)) {
            (false, false) => Matched::No,
            (true, false) => Matched::Inside,
            (false, true) => Matched::Outside,
            (true, true) => Matched::Both,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn patterns(inside: &[&str], outside: &[&str]) -> Patterns {
        let parse =
            |texts: &[&str]| texts.iter().map(|t| NamePattern::parse(t).expect("a pattern")).collect();
        Patterns { inside: parse(inside), outside: parse(outside) }
    }

    #[test]
    fn names_are_matched_as_a_whole() {
        let patterns = patterns(&["veth-*", "tap?", "p[12]"], &["ppp*"]);
        for (name, side) in [
            ("veth-", Matched::Inside),
            ("veth-a1", Matched::Inside),
            ("xveth-a", Matched::No),
            ("veth", Matched::No),
            ("tap0", Matched::Inside),
            ("tap10", Matched::No),
            ("p1", Matched::Inside),
            ("p3", Matched::No),
            ("ppp0", Matched::Outside),
        ] {
            assert_eq!(patterns.side_of(name), side, "{name}");
        }
    }

    #[test]
    fn one_that_both_sides_match_is_on_neither() {
        let patterns = patterns(&["eth*"], &["*0"]);
        assert_eq!(patterns.side_of("eth0"), Matched::Both);
        assert_eq!(patterns.side_of("eth1"), Matched::Inside);
    }

    #[test]
    fn a_pattern_is_told_from_a_name() {
        assert!(
            NamePattern::is_one("veth-*") && NamePattern::is_one("p[1]") && !NamePattern::is_one("eth0.7")
        );
        assert!(NamePattern::parse("veth-[").is_err());
        assert_eq!(NamePattern::parse("veth-*").expect("a pattern").to_string(), "veth-*");
    }
}
