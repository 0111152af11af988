//! The tables as a JSON Schema (draft 2020-12), for editors and for programs that write documents.

use serde_json::{Map, Value, json};

use super::{Form, Key, Kind, ROOT, Section};

/// The schema of a cloud-config. A key is known with underscores and with hyphens.
#[must_use]
pub fn json_schema() -> Value {
    let mut schema = section(&ROOT, "#");
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "cloud-config".into();
    // An empty document is one.
    schema["type"] = json!(["object", "null"]);
    schema
}

fn section(section: &Section, here: &str) -> Value {
    let mut properties = Map::new();
    let mut patterns = Map::new();
    for key in section.keys {
        let place = format!("{here}/properties/{}", key.name);
        properties.insert(key.name.into(), described(key, section, &place));
        if key.name.contains('_') {
            let pattern = format!("^{}$", key.name.replace('_', "[-_]"));
            patterns.insert(pattern, json!({ "$ref": place }));
        }
    }
    let required = section.keys.iter().filter(|key| key.required);
    let required: Vec<&str> = required.map(|key| key.name).collect();
    let mut schema = json!({
        "type": ["object", "null"],
        "properties": properties,
        "additionalProperties": false,
    });
    if section.open {
        schema["additionalProperties"] = scalar();
    }
    if !patterns.is_empty() {
        schema["patternProperties"] = patterns.into();
    }
    if !required.is_empty() {
        // What lists hold is never nothing.
        schema["type"] = "object".into();
        schema["required"] = required.into();
    }
    schema
}

fn described(key: &Key, section: &Section, place: &str) -> Value {
    let mut schema = if section.open {
        json!({ "anyOf": [scalar(), { "type": "array", "items": scalar() }] })
    } else {
        kind(key.kind, place)
    };
    let mut about = key.about.to_owned();
    if let Some(variable) = section.variable(key.name) {
        let space = if about.is_empty() { "" } else { " " };
        about = format!("{about}{space}Becomes the variable {variable}.");
    }
    if let Some(why) = key.deprecated {
        schema["deprecated"] = true.into();
        let space = if about.is_empty() { "" } else { " " };
        about = format!("{about}{space}Deprecated: {why}.");
    }
    schema["description"] = about.into();
    schema
}

/// What stands for a text: a number or boolean is its own text, nothing is as if the key were not there.
fn scalar() -> Value {
    json!({ "type": ["string", "number", "boolean", "null"] })
}

fn kind(kind: Kind, here: &str) -> Value {
    match kind {
        Kind::Text(form) => text(form),
        Kind::Bool => {
            json!({ "type": ["boolean", "string", "null"], "pattern": "^([yY]([eE][sS])?|[nN][oO]?|[tT][rR][uU][eE]|[fF][aA][lL][sS][eE]|[oO]([nN]|[fF][fF]))$" })
        }
        Kind::Integer => json!({ "type": ["integer", "string", "null"], "pattern": "^[-+]?[0-9]" }),
        Kind::Float => json!({ "type": ["number", "string", "null"], "pattern": "^[-+.]?[0-9]" }),
        Kind::List(item) => {
            let items = self::kind(*item, &format!("{here}/items"));
            json!({ "type": ["array", "null"], "items": items })
        }
        Kind::Section(inner) => section(inner, here),
    }
}

fn text(form: Form) -> Value {
    let mut schema = scalar();
    if let Form::OneOf(words) | Form::Setting(words) = form {
        // To a reader of YAML 1.1, off is false.
        let mut all: Vec<Value> = words.iter().map(|word| (*word).into()).collect();
        all.push(Value::Null);
        for (word, meant) in [("on", true), ("off", false)] {
            if words.contains(&word) {
                all.push(meant.into());
            }
        }
        return json!({ "enum": all });
    }
    if let Some(pattern) = form.pattern() {
        // An address that is filled in later may be anything.
        schema["pattern"] = format!("({pattern})|\\$(public|private)_ipv[46]").into();
    }
    schema
}
