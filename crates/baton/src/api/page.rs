//! The files of the status page, which are part of the binary.

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;

pub(super) const HTML: &str = "text/html; charset=utf-8";
pub(super) const CSS: &str = "text/css; charset=utf-8";
pub(super) const JS: &str = "text/javascript; charset=utf-8";
pub(super) const SVG: &str = "image/svg+xml";

pub(super) async fn index() -> Response {
    file(HTML, include_str!("../../page/index.html"))
}

pub(super) async fn css() -> Response {
    file(CSS, include_str!("../../page/page.css"))
}

pub(super) async fn script() -> Response {
    file(JS, include_str!("../../page/page.js"))
}

pub(super) async fn words() -> Response {
    file(JS, include_str!("../../page/words.js"))
}

pub(super) async fn charts() -> Response {
    file(JS, include_str!("../../page/charts.js"))
}

pub(super) async fn icon() -> Response {
    file(SVG, include_str!("../../page/icon.svg"))
}

fn file(media_type: &'static str, text: &'static str) -> Response {
    ([(CONTENT_TYPE, media_type)], text).into_response()
}
