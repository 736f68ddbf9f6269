//! The eight built-in datasets.

use std::sync::LazyLock;

use super::definition::Dataset;

macro_rules! embedded {
    ($($name:literal),* $(,)?) => {
        [$((
            concat!("built-in ", $name, ".yaml"),
            include_str!(concat!("builtin/", $name, ".yaml")),
            include_str!(concat!("builtin/", $name, ".sql")),
        )),*]
    };
}

const EMBEDDED: [(&str, &str, &str); 8] = embedded![
    "orderbooks",
    "trades",
    "funding_rates",
    "open_interests",
    "liquidations",
    "lsr_top_positions",
    "lsr_all_accounts",
    "volatility_indices",
];

/// The eight built-in datasets.
#[must_use]
pub fn builtin() -> &'static [Dataset] {
    static BUILTIN: LazyLock<Vec<Dataset>> = LazyLock::new(|| {
        let read = |(origin, yaml, ddl): (&str, &str, &str)| {
            Dataset::from_yaml(origin, yaml, ddl.to_owned())
                .unwrap_or_else(|e| unreachable!("{e}: held by a test"))
        };
        EMBEDDED.into_iter().map(read).collect()
    });
    &BUILTIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eight_built_in_datasets_are_well_formed() {
        let names: Vec<_> = builtin().iter().map(|d| d.name.as_str()).collect();
        assert_eq!(names.len(), 8);
        assert!(names.contains(&"lsr_top_positions"));
    }
}
