//! The schema of `--json`, closed: what it does not name does not pass.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::{Value, json};

/// Checks that the schema passes this line, and that every field of it is one the schema names.
#[track_caller]
pub(crate) fn check(line: &str) {
    let wrong = complaints(&parsed(line));
    assert!(wrong.is_empty(), "{line}{}", wrong.join("\n"));
}

/// What the closed schema has against this.
pub(crate) fn complaints(value: &Value) -> Vec<String> {
    let errors = VALIDATOR.iter_errors(value);
    errors.map(|error| format!("{}: {error}", error.instance_path())).collect()
}

/// The line as a value.
#[track_caller]
pub(crate) fn parsed(line: &str) -> Value {
    assert!(line.ends_with('\n') && line.matches('\n').count() == 1, "not one line: {line}");
    serde_json::from_str(line).expect("the line is JSON")
}

static VALIDATOR: LazyLock<Validator> = LazyLock::new(|| {
    let mut schema = Value::from(tcptrace::render::schema());
    let kinds = schema.pointer_mut("/$defs").and_then(Value::as_object_mut);
    kinds.into_iter().flat_map(|kinds| kinds.values_mut()).for_each(close);
    jsonschema::options().should_validate_formats(true).build(&schema).expect("it is a schema")
});

/// Closes `place`, which describes one value as a whole, and what is in that value. The parts of a `oneOf` describe the
/// same value again, and would not know the fields of the others.
fn close(place: &mut Value) {
    inside(place, &mut close);
    if let Some(place) = place.as_object_mut() {
        place.insert("unevaluatedProperties".to_owned(), json!(false));
    }
}

/// Calls `each` with the schema of every value that is directly inside the value `schema` describes.
fn inside(schema: &mut Value, each: &mut dyn FnMut(&mut Value)) {
    let Some(schema) = schema.as_object_mut() else { return };
    for (keyword, part) in schema {
        match (keyword.as_str(), part) {
            ("properties", Value::Object(fields)) => fields.values_mut().for_each(&mut *each),
            ("items" | "additionalProperties", part) => each(part),
            ("oneOf" | "anyOf" | "allOf", Value::Array(parts)) => {
                for part in parts {
                    inside(part, each);
                }
            }
            _ => {}
        }
    }
}
