//! What the TOML reader and serde say, in words of the documentation.

/// One line for the operator from the reader's `message` about the text `at`.
pub(super) fn in_our_words(message: &str, at: &str) -> String {
    let line = message.trim().replace('\n', " ");
    if line == "duplicate key" && !at.is_empty() {
        return format!("the key {at} stands here a second time; remove one");
    }
    if let Some(rest) = line.strip_prefix("unknown field ") {
        return match rest.split_once(", expected ") {
            Some((key, known)) => {
                format!("unknown key {key}; known here: {}", known.trim_start_matches("one of "))
            }
            None => format!("unknown key {rest}"),
        };
    }
    if let Some((value, known)) =
        line.strip_prefix("unknown variant ").and_then(|rest| rest.split_once(", expected "))
    {
        let known = known.trim_start_matches("one of ").replace('`', "\"");
        return format!("unknown value {}; write {}", value.replace('`', "\""), alternatives(&known));
    }
    let wrong = line.strip_prefix("invalid type: ").or_else(|| line.strip_prefix("invalid value: "));
    match wrong.and_then(|rest| rest.split_once(", expected ")) {
        Some((found, "a sequence")) if at.starts_with('"') => {
            format!("{found} stands here; write a list: [{at}]")
        }
        Some((found, expected)) => format!("{found} stands here; write {}", kind(expected)),
        None => line,
    }
}

/// `"a", "b", "c"` and `"a" or "b"` alike.
fn alternatives(known: &str) -> String {
    match known.rsplit_once(", ") {
        Some((first, last)) => format!("{first} or {last}"),
        None => known.to_owned(),
    }
}

/// What serde expects, as an operator would call it.
fn kind(expected: &str) -> &str {
    match expected {
        "a sequence" => "a list: [...]",
        "u64" | "u32" | "u16" => "a whole number, not negative",
        "a boolean" => "true or false",
        "a string" => "a text in quotes: \"...\"",
        // There is one: ports under [reserved].
        "a map" => "{ \"EIP\" = [\"udp/4789\"] }",
        other if other.starts_with("struct ") => "a table: [...] in a line of its own",
        other => other,
    }
}
