//! Reads the Prometheus text format, and refuses what is not in it.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;

use super::machine;

/// A metric with its labels.
type Series = (String, BTreeMap<String, String>);

/// One scrape: values by metric and labels.
#[derive(Debug, Default)]
pub(crate) struct Scrape(BTreeMap<Series, f64>);

impl Scrape {
    pub(crate) fn of(address: SocketAddr) -> Scrape {
        let (status, head, body) = machine::get(address, "metrics.test", "/metrics").unwrap();
        assert_eq!(status, 200, "{head}");
        let head = head.to_lowercase();
        assert!(
            head.contains("content-type: text/plain; version=0.0.4"),
            "{head}"
        );
        Scrape::read(&body)
    }

    fn read(text: &str) -> Scrape {
        assert!(text.ends_with('\n'));
        let mut scrape = Scrape::default();
        let (mut family, mut kind) = (String::new(), String::new());
        let mut families = BTreeSet::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                family = help.split(' ').next().unwrap().to_owned();
                assert!(families.insert(family.clone()), "{family} is there twice");
            } else if let Some(of) = line.strip_prefix("# TYPE ") {
                let (name, what) = of.split_once(' ').expect("a type");
                assert_eq!(name, family, "the type follows the help");
                assert!(matches!(what, "counter" | "gauge" | "histogram"), "{line}");
                kind = what.to_owned();
            } else {
                scrape.sample(line, &family, &kind);
            }
        }
        scrape
    }

    fn sample(&mut self, line: &str, family: &str, kind: &str) {
        let end = line.find(['{', ' ']).expect("a sample");
        let name = &line[..end];
        let suffix = name
            .strip_prefix(family)
            .unwrap_or_else(|| panic!("{line} is not of {family}"));
        match kind {
            "histogram" => assert!(matches!(suffix, "_bucket" | "_sum" | "_count"), "{line}"),
            _ => assert_eq!(suffix, "", "{line}"),
        }
        let (labels, value) = match line[end..].strip_prefix('{') {
            Some(rest) => labels(rest),
            None => (BTreeMap::new(), &line[end..]),
        };
        let value = value.strip_prefix(' ').expect("one space");
        let value: f64 = value
            .parse()
            .unwrap_or_else(|_| panic!("{line}: no number"));
        let before = self.0.insert((name.to_owned(), labels), value);
        assert_eq!(before, None, "{line} is there twice");
    }

    /// The sum of all that have these labels.
    pub(crate) fn sum(&self, name: &str, wanted: &[(&str, &str)]) -> u64 {
        let fits = |labels: &BTreeMap<String, String>| {
            wanted
                .iter()
                .all(|(key, value)| labels.get(*key).is_some_and(|v| v == value))
        };
        let all = self.0.iter();
        let sum: f64 = all
            .filter(|((of, labels), _)| of == name && fits(labels))
            .map(|(_, value)| value)
            .sum();
        sum as u64
    }

    /// Every histogram's buckets rise with their bounds, and end with its count.
    pub(crate) fn assert_histograms(&self) -> usize {
        let mut buckets: BTreeMap<Series, Vec<(f64, f64)>> = BTreeMap::new();
        for ((name, labels), value) in &self.0 {
            if let Some(name) = name.strip_suffix("_bucket") {
                let mut labels = labels.clone();
                let bound = labels.remove("le").expect("a bound").replace("+Inf", "inf");
                let key = (name.to_owned(), labels);
                buckets
                    .entry(key)
                    .or_default()
                    .push((bound.parse().unwrap(), *value));
            }
        }
        for ((name, labels), list) in &mut buckets {
            list.sort_by(|a, b| a.0.total_cmp(&b.0));
            assert!(
                list.is_sorted_by(|a, b| a.1 <= b.1),
                "{name} {labels:?}: {list:?}"
            );
            let count = self.0[&(format!("{name}_count"), labels.clone())];
            let (bound, last) = *list.last().unwrap();
            assert!(bound.is_infinite() && last == count, "{name} {labels:?}");
        }
        buckets.len()
    }
}

/// What stands behind the brace, and what comes behind the closing one.
fn labels(mut rest: &str) -> (BTreeMap<String, String>, &str) {
    let mut labels = BTreeMap::new();
    loop {
        let (name, value) = rest.split_once("=\"").expect("a label");
        let mut text = String::new();
        let mut chars = value.char_indices();
        let end = loop {
            match chars.next().expect("a closing quote") {
                (_, '\\') => match chars.next().expect("an escaped character").1 {
                    'n' => text.push('\n'),
                    c @ ('"' | '\\') => text.push(c),
                    c => panic!("\\{c} is no escape"),
                },
                (at, '"') => break at + 1,
                (_, c) => text.push(c),
            }
        };
        assert_eq!(labels.insert(name.to_owned(), text), None, "{name} twice");
        rest = &value[end..];
        if let Some(after) = rest.strip_prefix('}') {
            return (labels, after);
        }
        rest = rest.strip_prefix(',').expect("a comma");
    }
}
