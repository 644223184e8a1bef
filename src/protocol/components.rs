//! The components of a description (AsyncAPI, OpenAPI): definitions of the exported schemas whose references lead to each other.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use percent_encoding::percent_decode_str;
use serde_json::{Value, json};

/// The definitions of one direction: what clients send, or what they get.
pub(crate) struct Side<'a> {
    /// The definitions that are different in the other direction, and need a name of their own.
    pub renamed: &'a BTreeSet<String>,
    pub prefix: &'static str,
}

/// The definitions of a schema.
pub(crate) fn definitions(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema["$defs"].as_object().into_iter().flatten()
}

/// The name of the definition that a reference leads to, or leads into, and the rest of the reference.
pub(crate) fn target(reference: &str) -> Option<(String, &str)> {
    let path = reference.strip_prefix("#/$defs/")?;
    let (name, rest) = path.split_at(path.find('/').unwrap_or(path.len()));
    let name = percent_decode_str(name).decode_utf8().ok()?;
    Some((name.replace("~1", "/").replace("~0", "~"), rest))
}

/// Visits every reference in a schema, not those in values.
pub(crate) fn each_reference(schema: &mut Value, visit: &mut impl FnMut(&mut String)) {
    match schema {
        Value::Object(object) => {
            for (name, value) in object {
                match value {
                    Value::String(reference) if name == "$ref" => visit(reference),
                    // Their members are names, not keywords.
                    Value::Object(schemas)
                        if matches!(
                            name.as_str(),
                            "properties" | "patternProperties" | "dependentSchemas" | "$defs"
                        ) =>
                    {
                        schemas
                            .values_mut()
                            .for_each(|schema| each_reference(schema, visit));
                    }
                    value
                        if !matches!(name.as_str(), "examples" | "const" | "enum" | "default") =>
                    {
                        each_reference(value, visit);
                    }
                    _ => {}
                }
            }
        }
        Value::Array(values) => values
            .iter_mut()
            .for_each(|value| each_reference(value, visit)),
        _ => {}
    }
}

/// The names that mean different definitions in the two schemas, also because of definitions that they refer to.
pub(crate) fn different(client: &Value, server: &Value) -> BTreeSet<String> {
    let shared = definitions(client).filter(|(name, _)| server["$defs"].get(*name).is_some());
    let shared: Vec<(&String, &Value)> = shared.collect();
    let changed = shared
        .iter()
        .filter(|(name, definition)| server["$defs"][*name] != **definition);
    let mut different: BTreeSet<String> = changed.map(|(name, _)| (*name).clone()).collect();
    loop {
        let before = different.len();
        for (name, definition) in &shared {
            let mut refers = false;
            each_reference(&mut (*definition).clone(), &mut |reference| {
                refers |= target(reference).is_some_and(|(name, _)| different.contains(&name));
            });
            if refers {
                different.insert((*name).clone());
            }
        }
        if different.len() == before {
            return different;
        }
    }
}

impl Side<'_> {
    /// The component for a definition. Names of components consist of letters, digits, `.`, `-` and `_`.
    pub fn component(&self, name: &str) -> String {
        let mut component = String::new();
        if self.renamed.contains(name) {
            component.push_str(self.prefix);
        }
        for c in name.chars() {
            if c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_') {
                component.push(c);
            } else {
                // Writing into a string cannot fail.
                let _ = write!(component, "_{:X}_", u32::from(c));
            }
        }
        component
    }

    /// A definition whose references lead to components.
    pub fn payload(&self, definition: &Value) -> Value {
        // In AsyncAPI, a component is an object.
        let mut payload = match definition {
            Value::Bool(true) => json!({}),
            Value::Bool(false) => json!({"not": {}}),
            _ => definition.clone(),
        };
        if let Some(object) = payload.as_object_mut() {
            // They would change what references are relative to, and the format of the schema.
            object.remove("$id");
            object.remove("$schema");
        }
        each_reference(&mut payload, &mut |reference| {
            if let Some((name, rest)) = target(reference) {
                let component = self.component(&name);
                *reference = format!("#/components/schemas/{component}{rest}");
            }
        });
        payload
    }
}
