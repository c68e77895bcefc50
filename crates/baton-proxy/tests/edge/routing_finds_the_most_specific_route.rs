//! Exact host, then one-level wildcard, then `*`; longest path prefix on whole segments.

use std::sync::Arc;

use crate::origin::route;
use baton_proxy::RoutingTable;

fn table(routes: &[(&str, &[&str], &str)]) -> RoutingTable {
    let routes = routes
        .iter()
        .map(|(app, hosts, path)| Arc::new(route(app, hosts, path)))
        .collect();
    RoutingTable::new(routes).unwrap()
}

#[track_caller]
fn finds(table: &RoutingTable, host: &str, path: &str, app: Option<&str>) {
    let found = table.find(host, path).map(|route| &*route.app);
    assert_eq!(found, app, "{host} {path}");
}

#[test]
fn hosts_by_how_exact_they_are() {
    let table = table(&[
        ("any", &["*"], "/"),
        ("wild", &["*.example.com"], "/"),
        ("api", &["api.example.com", "api.example.com"], "/"),
        ("deep", &["*.api.example.com"], "/"),
    ]);
    finds(&table, "api.example.com", "/", Some("api"));
    finds(&table, "API.Example.COM:8443", "/", Some("api"));
    finds(&table, "api.example.com.", "/", Some("api"));
    finds(&table, "shop.example.com", "/", Some("wild"));
    finds(&table, "SHOP.example.com:80", "/", Some("wild"));
    finds(&table, "a.api.example.com", "/", Some("deep"));
    finds(&table, "a.b.example.com", "/", Some("any"));
    finds(&table, "example.com", "/", Some("any"));
    finds(&table, ".example.com", "/", Some("any"));
    finds(&table, "[::1]:80", "/", Some("any"));
    finds(&table, "", "/", Some("any"));
}

#[test]
fn no_route_where_nothing_fits() {
    let table = table(&[("api", &["api.example.com"], "/v1")]);
    finds(&table, "api.example.com", "/v2", None);
    finds(&table, "other.example.com", "/v1", None);
    finds(&RoutingTable::default(), "api.example.com", "/", None);
}

#[test]
fn the_longest_prefix_of_whole_segments() {
    let table = table(&[
        ("root", &["a.test"], "/"),
        ("api", &["a.test"], "/api"),
        ("v2", &["a.test"], "/api/v2/"),
    ]);
    finds(&table, "a.test", "/", Some("root"));
    finds(&table, "a.test", "*", Some("root"));
    finds(&table, "a.test", "/apix", Some("root"));
    finds(&table, "a.test", "/api", Some("api"));
    finds(&table, "a.test", "/api?x=/api/v2", Some("api"));
    finds(&table, "a.test", "/api/v20", Some("api"));
    finds(&table, "a.test", "/api/v2", Some("v2"));
    finds(&table, "a.test", "/api/v2/x", Some("v2"));
    finds(&table, "a.test", "/API", Some("root"));
}

#[test]
fn a_host_whose_paths_do_not_fit_leaves_the_request_to_the_others() {
    let table = table(&[
        ("any", &["*"], "/"),
        ("wild", &["*.example.com"], "/app"),
        ("api", &["api.example.com"], "/v1"),
    ]);
    finds(&table, "api.example.com", "/v1", Some("api"));
    finds(&table, "api.example.com", "/app", Some("wild"));
    finds(&table, "api.example.com", "/", Some("any"));
}

#[test]
fn two_apps_cannot_claim_one_host_and_path() {
    let conflict = RoutingTable::new(vec![
        Arc::new(route("shop", &["a.test", "b.test"], "/api")),
        Arc::new(route("blog", &["a.test"], "/")),
        Arc::new(route("wiki", &["B.test"], "/api/")),
    ])
    .unwrap_err();
    assert_eq!((&*conflict.first, &*conflict.second), ("shop", "wiki"));
    assert_eq!(
        conflict.to_string(),
        "wiki cannot take b.test/api: shop already does; give one of them another host or path"
    );
}
