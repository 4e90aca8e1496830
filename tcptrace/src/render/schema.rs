//! The JSON Schema of `--json`, made from the types that are serialised.

use schemars::{
    JsonSchema, Schema, SchemaGenerator, generate::SchemaSettings, json_schema, transform,
};
use serde_json::{Map, Value, json};

use super::json::{Finding, GapLine, Own, Start, Summary};
use crate::explain::{self, Questions, Totals, Words};

/// The schema (draft 2020-12) of one line of `--json`, for all questions. Like a reader, it lets fields pass that it
/// does not know.
pub fn schema() -> Schema {
    let settings = SchemaSettings::draft2020_12().for_serialize();
    let mut lines = Lines {
        // A line or an object of it stands where it is used, so that it has no name to collide with another's.
        generator: settings.with(|settings| settings.inline_subschemas = true).into_generator(),
        kinds: Map::new(),
        questions: Vec::new(),
    };
    explain::questions(&mut lines);
    let mut start = lines.line::<Start<'static>>("start");
    describe(&mut start, "question", "enum", json!(lines.questions));
    lines.kinds.insert("start".to_owned(), start.into());
    let gap = lines.line::<GapLine>("gap");
    lines.kinds.insert("gap".to_owned(), gap.into());
    let kinds: Vec<Value> =
        lines.kinds.keys().map(|kind| json!({ "$ref": format!("#/$defs/{kind}") })).collect();
    let mut whole = json_schema!({
        "$schema": lines.generator.settings().meta_schema.as_deref().unwrap_or_default(),
        "title": "tcptrace --json",
        "description": "One line of `tcptrace QUESTION --json`: a start line, findings and gaps, a summary. What is \
                        not known is left out and named in `not_seen`; nothing is null. Times are whole nanoseconds \
                        where the name ends in `_ns`. Readers should ignore types and fields they do not know.",
        "oneOf": kinds,
        "$defs": lines.kinds,
    });
    without_null(&mut whole);
    whole
}

/// The kinds of lines, as they are collected.
struct Lines {
    generator: SchemaGenerator,
    kinds: Map<String, Value>,
    questions: Vec<&'static str>,
}

impl Questions for Lines {
    fn question<F: JsonSchema, E: JsonSchema>(&mut self, words: &'static Words) {
        self.questions.push(words.question);
        let mut finding = self.line::<Finding<'static, F, E>>(words.one);
        finding.insert(
            "description".to_owned(),
            format!("One {} of `tcptrace {}`.", words.one, words.question).into(),
        );
        self.kinds.insert(words.one.to_owned(), finding.into());
        let mut summary = self.line::<Summary<'static>>("summary");
        own(&mut summary, words);
        self.kinds.insert(format!("summary_{}", words.question.replace('-', "_")), summary.into());
    }
}

impl Lines {
    /// The schema of `T`, whose `type` is `kind`.
    fn line<T: JsonSchema>(&mut self, kind: &str) -> Schema {
        let mut line = T::json_schema(&mut self.generator);
        describe(&mut line, "type", "const", json!(kind));
        line
    }
}

/// Says more about the property `name`.
fn describe(object: &mut Schema, name: &str, keyword: &str, value: Value) {
    let property = object.pointer_mut(&format!("/properties/{name}"));
    if let Some(property) = property.and_then(Value::as_object_mut) {
        property.insert(keyword.to_owned(), value);
    }
}

/// The fields of a summary that have the question's own names.
fn own(summary: &mut Schema, words: &'static Words) {
    for (name, description, _) in Own::fields(words, &Totals::default()) {
        let schema = json!({
            "type": "integer", "format": "uint64", "minimum": 0, "description": description
        });
        if let Some(properties) = summary.get_mut("properties").and_then(Value::as_object_mut) {
            properties.insert(name.to_owned(), schema);
        }
        if let Some(required) = summary.get_mut("required").and_then(Value::as_array_mut) {
            required.push(name.into());
        }
    }
}

/// An unknown value is left out, so an optional field is never null.
fn without_null(schema: &mut Schema) {
    if let Some(types) = schema.get_mut("type").and_then(Value::as_array_mut) {
        types.retain(|name| name != "null");
        if let [one] = types.as_slice() {
            let one = one.clone();
            schema.insert("type".to_owned(), one);
        }
    }
    if let Some(choices) = schema.get_mut("anyOf").and_then(Value::as_array_mut) {
        choices.retain(|choice| choice.get("type").and_then(Value::as_str) != Some("null"));
        if let [one] = choices.as_slice() {
            let one = one.as_object().cloned().unwrap_or_default();
            schema.remove("anyOf");
            for (keyword, value) in one {
                // What the field says of itself goes before what its type says.
                if schema.get(&keyword).is_none() {
                    schema.insert(keyword, value);
                }
            }
        }
    }
    transform::transform_subschemas(&mut without_null, schema);
}
