//! The Prometheus text format, version 0.0.4. Written by hand: the figures are read from counters that
//! belong to others, and the names come from the table, so that a registry would hold nothing.

use std::fmt::Write as _;
use std::time::Duration;

use super::table::{Kind, Metric};

/// The media type of what is written here.
pub const MEDIA: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A page of metrics, one family after the other.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
    #[cfg(test)]
    pub written: Vec<&'static str>,
}

/// What a histogram has counted.
#[derive(Debug, Clone, Default)]
pub struct Buckets {
    /// Upper bounds, rising, and how many were below each.
    pub below: Vec<(Duration, u64)>,
    pub count: u64,
    pub sum: Duration,
}

impl Page {
    /// Every family is there, also with no sample: a board can tell 'none' from 'no such thing'.
    pub fn family(&mut self, metric: &'static Metric) -> Family<'_> {
        let (name, kind) = (metric.name, metric.kind.as_str());
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {}", help(metric.help));
        let _ = writeln!(self.text, "# TYPE {name} {kind}");
        #[cfg(test)]
        self.written.push(name);
        Family {
            text: &mut self.text,
            metric,
        }
    }

    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }
}

/// The samples of one metric.
#[derive(Debug)]
pub struct Family<'p> {
    text: &'p mut String,
    metric: &'static Metric,
}

impl Family<'_> {
    /// `labels`: a value for each of the metric's.
    pub fn sample(&mut self, labels: &[&str], value: u64) {
        debug_assert_ne!(self.metric.kind, Kind::Histogram);
        self.line("", labels, None, value);
    }

    pub fn histogram(&mut self, labels: &[&str], buckets: &Buckets) {
        debug_assert_eq!(self.metric.kind, Kind::Histogram);
        for (bound, below) in &buckets.below {
            let bound = bound.as_secs_f64().to_string();
            self.line("_bucket", labels, Some(&bound), below);
        }
        self.line("_bucket", labels, Some("+Inf"), buckets.count);
        self.line("_sum", labels, None, buckets.sum.as_secs_f64());
        self.line("_count", labels, None, buckets.count);
    }

    fn line(
        &mut self,
        suffix: &str,
        values: &[&str],
        bound: Option<&str>,
        value: impl std::fmt::Display,
    ) {
        debug_assert_eq!(values.len(), self.metric.labels.len());
        self.text.push_str(self.metric.name);
        self.text.push_str(suffix);
        let labels = self
            .metric
            .labels
            .iter()
            .copied()
            .zip(values.iter().copied());
        let mut between = '{';
        for (name, value) in labels.chain(bound.map(|bound| ("le", bound))) {
            let _ = write!(self.text, "{between}{name}=\"{}\"", label(value));
            between = ',';
        }
        if between == ',' {
            self.text.push('}');
        }
        let _ = writeln!(self.text, " {value}");
    }
}

fn help(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\n', "\\n")
}

fn label(text: &str) -> String {
    help(text).replace('"', "\\\"")
}

#[cfg(test)]
mod tests {
    use super::super::table::{BUILD, LATENCY, LOG_LINES};
    use super::*;

    #[test]
    fn label_values_are_escaped() {
        let mut page = Page::default();
        page.family(&BUILD).sample(&["a\"b\\c\nd"], 1);
        page.family(&LOG_LINES).sample(&[], 7);
        let text = page.into_text();
        assert!(
            text.contains("\nbaton_build_info{version=\"a\\\"b\\\\c\\nd\"} 1\n"),
            "{text}"
        );
        assert!(
            text.ends_with("\nbaton_access_log_lines_total 7\n"),
            "{text}"
        );
    }

    #[test]
    fn a_histogram_ends_with_all_of_it() {
        let mut page = Page::default();
        let buckets = Buckets {
            below: vec![(Duration::from_micros(128), 2), (Duration::from_secs(1), 3)],
            count: 4,
            sum: Duration::from_millis(2_500),
        };
        page.family(&LATENCY)
            .histogram(&["shop", "live", "blue"], &buckets);
        let text = page.into_text();
        let of = "{app=\"shop\",role=\"live\",color=\"blue\"";
        let name = LATENCY.name;
        for line in [
            format!("{name}_bucket{of},le=\"0.000128\"}} 2"),
            format!("{name}_bucket{of},le=\"1\"}} 3"),
            format!("{name}_bucket{of},le=\"+Inf\"}} 4"),
            format!("{name}_sum{of}}} 2.5"),
            format!("{name}_count{of}}} 4"),
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }
}
