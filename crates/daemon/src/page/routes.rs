//! The routes of the page.

use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY};

use super::assets::{ASSETS, Asset};

/// The page loads its own styles and scripts, sends requests to its own server only, and cannot be framed.
const POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
                      require-trusted-types-for 'script'; trusted-types 'none'";

/// Returns a route for each file of the page.
pub(crate) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    ASSETS.iter().fold(Router::new(), |router, asset| {
        router.route(asset.path, get(async move || answer(asset)))
    })
}

/// Returns whether a path is that of a file of the page.
pub(crate) fn is_asset(path: &str) -> bool {
    files().any(|(file, _)| file == path)
}

/// Returns the path of each file with its media type.
pub(crate) fn files() -> impl Iterator<Item = (&'static str, &'static str)> {
    ASSETS.iter().map(|asset| (asset.path, asset.content_type))
}

fn answer(asset: &'static Asset) -> Response {
    // An upgrade of mpsync changes the page under the same name.
    let headers = [
        (CONTENT_TYPE, asset.content_type),
        (CACHE_CONTROL, "no-cache"),
        (CONTENT_SECURITY_POLICY, POLICY),
        (REFERRER_POLICY, "no-referrer"),
    ];
    (headers, asset.body).into_response()
}
