//! What a source file names of other modules and crates: enough of Rust to follow `use` trees and written-out paths.

/// The file without comments and without the tests at its end.
pub(crate) fn code(source: &str) -> String {
    let mut code = String::new();
    for line in source.lines() {
        if line.trim() == "#[cfg(test)]" {
            break;
        }
        // What follows two slashes within a text is lost too, which hides nothing that matters here.
        code.push_str(line.split_once("//").map_or(line, |(before, _)| before));
        code.push('\n');
    }
    code
}

/// All paths that begin with one of the roots, `use` trees spelled out: `crate::event::Event`.
pub(crate) fn paths(code: &str, roots: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    let mut rest = code;
    let mut in_word = false;
    while let Some(first) = rest.chars().next() {
        let at_root = !in_word
            && roots
                .iter()
                .any(|root| rest.strip_prefix(root).is_some_and(|after| after.starts_with("::")));
        if at_root {
            expand(rest, "", &mut found);
        }
        in_word = first.is_alphanumeric() || first == '_' || first == ':';
        rest = rest.get(first.len_utf8()..).unwrap_or_default();
    }
    found
}

/// Spells out the tree at the start of the text; returns what follows it.
fn expand<'a>(text: &'a str, before: &str, found: &mut Vec<String>) -> &'a str {
    let text = text.trim_start();
    let end =
        text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '*')).unwrap_or(text.len());
    let (word, rest) = text.split_at(end);
    let path = if before.is_empty() { word.to_owned() } else { format!("{before}::{word}") };
    let Some(below) = rest.trim_start().strip_prefix("::") else {
        found.push(path);
        return rest;
    };
    let Some(mut list) = below.trim_start().strip_prefix('{') else {
        return expand(below, &path, found);
    };
    loop {
        list = list.trim_start().trim_start_matches(',').trim_start();
        if let Some(after) = list.strip_prefix('}') {
            return after;
        }
        let next = expand(list, &path, found);
        // Past a renaming, and past anything that is no tree.
        let stop = next.find([',', '}']).unwrap_or(next.len());
        list = next.get(stop..).unwrap_or_default();
        if list.is_empty() {
            return list;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trees_and_written_out_paths_are_followed() {
        let source = "use crate::{event::{Event, Name as N}, finding};\nuse std::fs;\n\
                      fn f() { crate::render::text(); my_crate::x() }\n// crate::cli\n\
                      #[cfg(test)]\nmod tests { use crate::source; }\n";
        let found = paths(&code(source), &["crate", "std"]);
        let wanted = [
            "crate::event::Event",
            "crate::event::Name",
            "crate::finding",
            "std::fs",
            "crate::render::text",
        ];
        assert_eq!(found, wanted);
    }
}
