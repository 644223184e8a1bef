//! The report: a readable table and one JSON object.

use serde_json::{Map, Value};

/// Lines and values, in the order in which they were added.
#[derive(Debug, Default)]
pub struct Report {
    lines: Vec<(String, String)>,
    values: Map<String, Value>,
}

impl Report {
    /// Adds a line to the table.
    pub fn line(&mut self, what: &str, figure: String) {
        self.lines.push((what.into(), figure));
    }

    /// Adds a member to the JSON object.
    pub fn value(&mut self, name: &str, value: Value) {
        self.values.insert(name.into(), value);
    }

    /// Prints the table, unless only JSON was requested, and the JSON object on a separate line.
    pub fn print(self, only_json: bool) {
        let width = self.lines.iter().map(|(what, _)| what.len()).max();
        let width = width.unwrap_or(0) + 2;
        for (what, figure) in self.lines.iter().filter(|_| !only_json) {
            println!("{what:width$} {figure}");
        }
        println!("{}", Value::Object(self.values));
    }
}
