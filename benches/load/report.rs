//! What is told at the end: a table for people, and one JSON object.

use serde_json::{Map, Value};

/// Lines and values, in the order they came.
#[derive(Debug, Default)]
pub struct Report {
    lines: Vec<(String, String)>,
    values: Map<String, Value>,
}

impl Report {
    /// A line of the table.
    pub fn line(&mut self, what: &str, figure: String) {
        self.lines.push((what.into(), figure));
    }

    /// A member of the JSON object.
    pub fn value(&mut self, name: &str, value: Value) {
        self.values.insert(name.into(), value);
    }

    /// Prints the table, unless only JSON is wanted, and the JSON object on a line of its own.
    pub fn print(self, only_json: bool) {
        let width = self.lines.iter().map(|(what, _)| what.len()).max();
        let width = width.unwrap_or(0) + 2;
        for (what, figure) in self.lines.iter().filter(|_| !only_json) {
            println!("{what:width$} {figure}");
        }
        println!("{}", Value::Object(self.values));
    }
}
