//! The files of the page, compiled in. Pure.

/// One file of the page.
pub(in crate::http) struct Asset {
    /// Where it is served.
    pub path: &'static str,
    /// What it is.
    pub content_type: &'static str,
    /// Its bytes, which are text.
    pub body: &'static str,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

macro_rules! assets {
    ($($path:literal $content_type:ident $file:literal)*) => {
        &[$(Asset { path: $path, content_type: $content_type, body: include_str!($file) }),*]
    };
}

/// Every file, the page itself first.
pub(in crate::http) const ASSETS: &[Asset] = assets! {
    "/" HTML "index.html"
    "/page.css" CSS "page.css"
    "/page.js" SCRIPT "page.js"
    "/api.js" SCRIPT "api.js"
    "/calendar.js" SCRIPT "calendar.js"
    "/chart.js" SCRIPT "chart.js"
    "/datasets.js" SCRIPT "datasets.js"
    "/dom.js" SCRIPT "dom.js"
    "/format.js" SCRIPT "format.js"
    "/panels.js" SCRIPT "panels.js"
    "/sections.js" SCRIPT "sections.js"
    "/troubles.js" SCRIPT "troubles.js"
    "/icon.svg" SVG "icon.svg"
};

#[cfg(test)]
mod tests {
    use super::ASSETS;

    /// What stands between quotes in a `from`, `src` or `href`.
    fn references(body: &str) -> impl Iterator<Item = String> {
        [
            "from \"",
            "src=\"",
            "rel=\"icon\" href=\"",
            "rel=\"stylesheet\" href=\"",
        ]
        .into_iter()
        .flat_map(|before| body.split(before).skip(1))
        .filter_map(|rest| rest.split('"').next())
        .map(|name| format!("/{}", name.trim_start_matches(['.', '/'])))
    }

    #[test]
    fn whatever_the_page_loads_is_served_and_comes_from_here() {
        for asset in ASSETS {
            assert!(!asset.body.contains("://") || asset.body.contains("http://www.w3.org/"));
            for name in references(asset.body) {
                assert!(
                    ASSETS.iter().any(|a| a.path == name),
                    "{} loads {name}",
                    asset.path
                );
            }
        }
    }

    #[test]
    fn nothing_turns_text_into_markup() {
        for asset in ASSETS.iter().filter(|a| a.path != "/dom.js") {
            for way in [
                ".innerHTML",
                ".outerHTML",
                "insertAdjacentHTML",
                "document.write",
                "eval(",
                "style=\"",
                "onclick=",
            ] {
                assert!(!asset.body.contains(way), "{} has {way}", asset.path);
            }
        }
    }
}
