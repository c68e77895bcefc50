//! What is written about metrics must be what there is.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::table::{Kind, TABLE};

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

const HEAD: &str = "\
# Metrics

`baton serve --metrics 127.0.0.1:9180` answers `GET /metrics` in the Prometheus text format. It is off by default. There is no
password and no TLS: leave it on loopback, or on an address that only your Prometheus reaches.

```yaml
scrape_configs:
  - job_name: baton
    static_configs: [{ targets: [\"127.0.0.1:9180\"] }]
```

[grafana.json](grafana.json) is a board for these metrics: *Dashboards → New → Import*.

Counters begin at 0 with the daemon, as Prometheus expects; they never fall while it runs, also when the instances that were
counted have ended. Certificates are not among them.

| label | is |
| --- | --- |
| `app` | the app's name |
| `role` | `live`, or `preview` for what the test server's hosts served |
| `color` | `blue` or `green`; `none` where Baton answered itself (redirects, refusals, pages, 502, 503, 504) |
| `code` | class of the status: `1xx` (an upgraded connection) to `5xx` |

";

fn page() -> String {
    let mut page = HEAD.to_owned();
    page.push_str("| metric | kind | unit | labels | |\n| --- | --- | --- | --- | --- |\n");
    for metric in TABLE {
        let labels: Vec<_> = metric
            .labels
            .iter()
            .map(|label| format!("`{label}`"))
            .collect();
        let _ = writeln!(
            page,
            "| `{}` | {} | {} | {} | {} |",
            metric.name,
            metric.kind.as_str(),
            metric.unit,
            labels.join(", "),
            metric.help
        );
    }
    page
}

/// `INSTA_UPDATE=always` writes it.
#[test]
fn the_page_about_metrics_is_the_table() {
    let path = docs().join("metrics.md");
    if std::env::var("INSTA_UPDATE").is_ok_and(|value| value == "always") {
        std::fs::write(&path, page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        written,
        page(),
        "INSTA_UPDATE=always writes docs/metrics.md anew"
    );
}

fn queries<'v>(value: &'v Value, found: &mut Vec<&'v str>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields {
                match value {
                    Value::String(text) if matches!(key.as_str(), "expr" | "query") => {
                        found.push(text);
                    }
                    other => queries(other, found),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| queries(item, found)),
        _ => {}
    }
}

#[test]
fn the_board_asks_for_nothing_that_is_not_there() {
    let text = std::fs::read_to_string(docs().join("grafana.json")).unwrap();
    let board: Value = serde_json::from_str(&text).unwrap();
    let mut known: BTreeSet<String> = BTreeSet::new();
    for metric in TABLE {
        match metric.kind {
            Kind::Histogram => {
                known.extend(["bucket", "sum", "count"].map(|s| format!("{}_{s}", metric.name)));
            }
            _ => drop(known.insert(metric.name.to_owned())),
        }
    }
    let mut found = Vec::new();
    queries(&board, &mut found);
    let words = found
        .iter()
        .flat_map(|query| query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')));
    let used: BTreeSet<&str> = words.filter(|word| word.starts_with("baton_")).collect();
    for name in &used {
        assert!(known.contains(*name), "{name} is no metric of the table");
    }
    assert!(used.len() > 8, "{used:?}");
}
