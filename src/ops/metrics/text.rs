//! The text format of Prometheus, version 0.0.4.

use std::fmt::{Display, Write as _};

use crate::metrics::Histogram;

/// The text that Prometheus reads.
#[derive(Default)]
pub struct Text(pub String);

impl Text {
    /// A metric with one sample for each value of a label. Without a name, the label is absent.
    fn family<L: Display>(
        &mut self,
        (name, kind): (&str, &str),
        help: &str,
        label: &str,
        samples: impl IntoIterator<Item = (L, f64)>,
    ) {
        self.head(name, kind, help);
        for (value, sample) in samples {
            // Writing into a string cannot fail.
            let _ = if label.is_empty() {
                writeln!(self.0, "dmwire_{name} {sample}")
            } else {
                writeln!(self.0, "dmwire_{name}{{{label}=\"{value}\"}} {sample}")
            };
        }
    }

    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = writeln!(
            self.0,
            "# HELP dmwire_{name} {help}\n# TYPE dmwire_{name} {kind}"
        );
    }

    /// A value that can fall.
    pub fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.family((name, "gauge"), help, "", [("", value)]);
    }

    /// A value that can fall, for each value of a label.
    pub fn gauges<'l>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        samples: impl IntoIterator<Item = (&'l str, f64)>,
    ) {
        self.family((name, "gauge"), help, label, samples);
    }

    /// A count.
    pub fn total(&mut self, name: &str, help: &str, value: u64) {
        self.counter(name, help, "", [("", value)]);
    }

    /// A count for each value of a label.
    pub fn counter<L: Display>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        samples: impl IntoIterator<Item = (L, u64)>,
    ) {
        let samples = samples.into_iter().map(|(value, n)| (value, n as f64));
        self.family((name, "counter"), help, label, samples);
    }

    /// A sum of durations.
    pub fn seconds(&mut self, name: &str, help: &str, value: f64) {
        self.family((name, "counter"), help, "", [("", value)]);
    }

    /// A count for values of two labels.
    pub fn counter_of_two<'l>(
        &mut self,
        name: &str,
        help: &str,
        (first, second): (&str, &str),
        samples: impl IntoIterator<Item = (&'l str, &'l str, u64)>,
    ) {
        self.head(name, "counter", help);
        for (a, b, sample) in samples {
            let _ = writeln!(
                self.0,
                "dmwire_{name}{{{first}=\"{a}\",{second}=\"{b}\"}} {sample}"
            );
        }
    }

    /// Durations.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        let recorded = histogram.get();
        self.head(name, "histogram", help);
        for (limit, count) in recorded.cumulative() {
            let _ = writeln!(self.0, "dmwire_{name}_bucket{{le=\"{limit}\"}} {count}");
        }
        let (count, sum) = (recorded.count(), recorded.sum.as_secs_f64());
        let _ = writeln!(self.0, "dmwire_{name}_bucket{{le=\"+Inf\"}} {count}");
        let _ = writeln!(
            self.0,
            "dmwire_{name}_sum {sum}\ndmwire_{name}_count {count}"
        );
    }
}
