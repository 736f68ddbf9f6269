# syntax=docker/dockerfile:1
# mpsync in an image: one binary with the libraries that it is linked to, the system's certificates, a user without rights; no shell. Without the embedded ClickHouse (libchdb, 200 MB
# packed): in containers the tiers are servers of their own. To have it all the same, mount the library and set MPSYNC_LIBCHDB.
#
#   docker build --tag mpsync .

FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /src
# The allocator is built with it; any version does.
# hadolint ignore=DL3008
RUN apt-get update && apt-get install -y --no-install-recommends make && rm -rf /var/lib/apt/lists/*
COPY Cargo.toml Cargo.lock ./
COPY .cargo ./.cargo
COPY crates ./crates
COPY src ./src
COPY benches ./benches
COPY tests ./tests
COPY config ./config
COPY LICENSE ./
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --bin mpsync \
    && install -D target/release/mpsync /image/usr/bin/mpsync \
    && install -D --mode=644 LICENSE /image/usr/share/doc/mpsync/LICENSE \
    && install -D --mode=644 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
    && ldd target/release/mpsync > /tmp/linked \
    && grep -o '/[^ ]*' /tmp/linked > /tmp/libraries \
    && xargs -a /tmp/libraries -I LIBRARY install -D LIBRARY /imageLIBRARY \
    && install -d --mode=1777 /image/tmp \
    && install -d --mode=700 /owned/var/lib/mpsync /owned/archive

FROM scratch
COPY --from=build /image /
# What is mounted here later takes over this owner.
COPY --from=build --chown=65532:65532 /owned /
ENV HOME=/var/lib/mpsync
WORKDIR /var/lib/mpsync
# By number, so that Kubernetes' runAsNonRoot can tell.
USER 65532:65532
STOPSIGNAL SIGTERM
# Asks by the configuration that the daemon has; STORAGE_MODE=cold for a cold one.
HEALTHCHECK --interval=15s --timeout=10s --start-period=30s --retries=4 CMD ["/usr/bin/mpsync", "health"]
ENTRYPOINT ["/usr/bin/mpsync"]
CMD ["--help"]
