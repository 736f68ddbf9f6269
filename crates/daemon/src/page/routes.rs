//! The page: files in the binary, nothing from elsewhere.

mod assets;

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};

use assets::{ASSETS, Asset};

/// The page loads its own style and script and asks its own server, nothing else; nobody may frame it.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// A route for each file of the page.
pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    ASSETS.iter().fold(Router::new(), |router, asset| {
        router.route(asset.path, get(async move || answer(asset)))
    })
}

/// Whether a path is that of a file of the page.
pub(super) fn is_asset(path: &str) -> bool {
    files().any(|(file, _)| file == path)
}

/// The path of each file, with what it is.
pub(super) fn files() -> impl Iterator<Item = (&'static str, &'static str)> {
    ASSETS.iter().map(|asset| (asset.path, asset.content_type))
}

fn answer(asset: &'static Asset) -> Response {
    // A newer program brings a newer page under the same name.
    let headers = [
        (CONTENT_TYPE, asset.content_type),
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (headers, asset.body).into_response()
}
