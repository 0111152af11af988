//! The tables as a JSON Schema (draft 2020-12), for editors and for programs that write documents.

use serde_json::{Map, Value, json};

use super::{Form, Key, Kind, Mapping};

/// Describes a whole document. A key is accepted with underscores and with hyphens.
pub(crate) fn json_schema(root: &Mapping) -> Value {
    let mut schema = mapping(root, "#");
    schema["$schema"] = "https://json-schema.org/draft/2020-12/schema".into();
    schema["title"] = "cloud-config".into();
    // A document may be empty.
    schema["type"] = json!(["object", "null"]);
    schema
}

fn mapping(mapping: &Mapping, here: &str) -> Value {
    let mut properties = Map::new();
    let mut patterns = Map::new();
    for key in mapping.keys {
        let path = format!("{here}/properties/{}", key.name);
        properties.insert(key.name.into(), described(key, mapping, &path));
        if key.name.contains('_') {
            let pattern = format!("^{}$", key.name.replace('_', "[-_]"));
            patterns.insert(pattern, json!({ "$ref": path }));
        }
    }
    let required = mapping.keys.iter().filter(|key| key.required);
    let required: Vec<&str> = required.map(|key| key.name).collect();
    let mut schema = json!({
        "type": ["object", "null"],
        "properties": properties,
        "additionalProperties": false,
    });
    if mapping.open {
        schema["additionalProperties"] = scalar();
    }
    if !patterns.is_empty() {
        schema["patternProperties"] = patterns.into();
    }
    if !required.is_empty() {
        // An item of a list is never empty.
        schema["type"] = "object".into();
        schema["required"] = required.into();
    }
    schema
}

fn described(key: &Key, mapping: &Mapping, path: &str) -> Value {
    let mut schema = if mapping.open {
        json!({ "anyOf": [scalar(), { "type": "array", "items": scalar() }] })
    } else {
        kind(key.kind, path)
    };
    let mut about = key.about.to_owned();
    if let Some(variable) = mapping.variable(key.name) {
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

/// Describes what is accepted as a text: a number or boolean is its own text, null counts as no value.
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
        Kind::Mapping(inner) => mapping(inner, here),
    }
}

fn text(form: Form) -> Value {
    let mut schema = scalar();
    if let Form::OneOf(words) | Form::Setting(words) = form {
        // A YAML 1.1 parser reads off as false.
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
        // A variable may become anything.
        schema["pattern"] = format!("({pattern})|\\$(public|private)_ipv[46]").into();
    }
    schema
}
