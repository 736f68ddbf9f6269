//! The files of the page, compiled in. Pure.

/// One file of the page.
pub(crate) struct Asset {
    /// The path of its route.
    pub path: &'static str,
    /// Its media type.
    pub content_type: &'static str,
    /// Its text.
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

/// All files, the page itself first.
pub(crate) const ASSETS: &[Asset] = assets! {
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

    /// Returns the quoted texts of `from`, `src` and `href`.
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
    fn all_loaded_files_are_served() {
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
    fn no_script_turns_text_into_markup() {
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
