# `just` alone lists the recipes. Where just is not installed: `npx --yes rust-just RECIPE`.

set shell := ["bash", "-euo", "pipefail", "-c"]

target := env("CARGO_TARGET_DIR", "target")
mpsync := target / "debug" / "mpsync"

# List the recipes
[private]
default:
    @just --justfile {{ quote(justfile()) }} --list --unsorted

# Fetch nats-server and the ClickHouse engine into the user's cache folder, pinned and checked; does nothing when they are there
[group('run')]
tools:
    @scripts/tools

# Build mpsync
[group('run')]
build:
    cargo build --locked

# Send real and generated messages down the whole road on this machine (`just demo --keep` leaves it running)
[group('run')]
demo *ARGS: tools build
    {{ mpsync }} demo {{ ARGS }}

# Run all tests, on the real servers (`just test NAME` runs those whose name contains it)
[group('test')]
test *ARGS: tools build
    cargo test --locked -- {{ ARGS }}

# Let ClickHouse's own Python and Node clients judge the engine
[group('test')]
test-clients: tools build
    tests/clients/run {{ mpsync }}

# Let DuckDB, pyarrow and Polars read the archive of a demo and compare it with cold
[group('test')]
test-readers: tools build
    tests/readers/demo {{ mpsync }}

# Check Dockerfile, Compose file, units, alert rules, dashboard, and that the documents are true to the program
[group('test')]
check-packaging: tools build
    tests/packaging/run {{ mpsync }}

# As the crash test in `just test`, with 1,000 kills and stalls; takes 15 minutes and more (MPSYNC_SEED repeats a run)
[group('test')]
soak KILLS="1000": tools build
    MPSYNC_KILLS={{ KILLS }} cargo test --locked --test it -- chaos::whatever --nocapture

# Measure (`just bench ingest`, `just bench decode`, `just bench ingest trades`); benches/README.md says what and how
[group('test')]
bench NAME *ARGS: tools
    cargo bench --locked --bench {{ NAME }} -- {{ ARGS }}

# Format the code
[group('code')]
fmt:
    cargo fmt

# Formatting, lints, the house rules, and what dependencies are and may
[group('code')]
check:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings
    cargo test --locked --test house
    "$(scripts/tools cargo-deny)" --locked check bans licenses sources

# Look for known vulnerabilities of dependencies (needs the network)
[group('code')]
advisories:
    "$(scripts/tools cargo-deny)" --locked check advisories

# What CI runs
[group('code')]
ci: check test test-clients test-readers check-packaging

# Remove what was built; the fetched tools stay
[group('code')]
clean:
    cargo clean
