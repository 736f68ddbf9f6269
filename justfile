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

# Build a release and install program, man pages and completions below PREFIX
[group('run')]
install PREFIX="/usr/local":
    cargo build --release --locked
    scripts/install {{ target / "release" / "mpsync" }} {{ quote(PREFIX) }}

# Send real and generated messages down the whole road on this machine (`just demo --keep` leaves it running)
[group('run')]
demo *ARGS: tools build
    {{ mpsync }} demo {{ ARGS }}

# Run all tests, on the real servers (`just test NAME` runs those whose name contains it)
[group('test')]
test *ARGS: tools build
    cargo test --workspace --locked -- {{ ARGS }}

# Run the tests that need no server: every crate's unit tests and the rules of the house
[group('test')]
unit *ARGS:
    cargo test --workspace --locked --lib --bins -- {{ ARGS }}
    cargo test --locked --test house -- {{ ARGS }}

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

# Run transfer, ingest and seeded kills on two ClickHouse replicas over a ZooKeeper (installs Debian's if it is missing and this is root)
[group('test')]
test-cluster *TESTS: tools build
    tests/cluster/run {{ mpsync }} {{ TESTS }}

# Open the page of a running daemon in headless Chromium (installs Debian's where it is missing and this is root)
[group('test')]
test-page: tools build
    tests/page/run {{ mpsync }}

# Hostile HTTP against a running daemon: rows keep landing
[group('test')]
test-http: tools build
    tests/http/run {{ mpsync }}

# Schemathesis against a running daemon's /openapi.json
[group('test')]
test-openapi: tools build
    tests/http/run {{ mpsync }} openapi

# Make the screenshots under docs/images anew, from a running daemon
[group('test')]
screenshots: tools build
    tests/page/run {{ mpsync }} screenshots

# As the crash test in `just test`, with 1,000 kills and stalls; takes 15 minutes and more (MPSYNC_SEED repeats a run)
[group('test')]
soak KILLS="1000": tools build
    MPSYNC_KILLS={{ KILLS }} cargo test --locked --test it -- chaos::whatever --nocapture

# As the test in `just test` that breaks every call of a transfer and of retention in one way, in all ways (MPSYNC_SEED repeats a run of that one)
[group('test')]
faults: tools build
    MPSYNC_FAULTS=all cargo test --locked --test it -- transfer_faults --nocapture

# Ingest, archive, replay and ingest again MESSAGES generated messages beside the real ones, and compare; a million takes minutes
[group('test')]
round-trip MESSAGES="1000000": tools build
    MPSYNC_MESSAGES={{ MESSAGES }} cargo test --locked --test it -- replay::what_was_ingested --nocapture

# Feed the decoder damaged messages for SECONDS; what it finds is in fuzz/artifacts (`just fuzz 60 FILE` tries one again)
[group('test')]
fuzz SECONDS="600" *FILES: build
    cp Cargo.lock fuzz/Cargo.lock
    RUSTC_WRAPPER="$PWD/fuzz/instrument" cargo build --manifest-path fuzz/Cargo.toml --target-dir {{ quote(target) }}
    mkdir -p fuzz/corpus fuzz/artifacts
    MPSYNC_SEEDS=fuzz/corpus {{ quote(target / "debug" / "fuzz-decode") }}
    {{ quote(target / "debug" / "fuzz-decode") }} -max_total_time={{ SECONDS }} -max_len=4096 -dict=fuzz/json.dict \
        -artifact_prefix=fuzz/artifacts/ {{ if FILES == "" { "fuzz/corpus" } else { FILES } }}

# Measure (`just bench ingest`, `decode`, `replay`; `just bench ingest trades`, `just bench transfer --rows 100000`); benches/README.md says what and how
[group('test')]
bench NAME *ARGS: tools
    cargo bench --locked --bench {{ NAME }} -- {{ ARGS }}

# Format the code
[group('code')]
fmt:
    cargo fmt --all

# Build the documentation of all crates, warnings denied, and run its examples
[group('code')]
doc:
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked
    cargo test --workspace --doc --locked

# Formatting, lints, house rules, dependencies, spelling
[group('code')]
check:
    cargo fmt --all --check
    cargo clippy --workspace --locked --all-targets -- -D warnings
    cargo test --locked --test house
    "$(scripts/tools cargo-deny)" --locked check bans licenses sources
    "$(scripts/venv typos scripts/typos.txt)/bin/typos"

# Look for known vulnerabilities of dependencies (needs the network)
[group('code')]
advisories:
    "$(scripts/tools cargo-deny)" --locked check advisories

# What CI runs
[group('code')]
ci: check test test-clients test-readers test-openapi test-page check-packaging

# Make the damaged archives under fixtures/archives anew; their snapshots change with them
[private]
fixtures: tools build
    cargo test --locked --test it -- transfer::fixtures::the_fixtures_are_made_anew --ignored
    INSTA_UPDATE=always cargo test --locked --test it -- transfer::fixtures::what_verify

# Remove what was built; the fetched tools stay
[group('code')]
clean:
    cargo clean
