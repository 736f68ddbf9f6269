# syntax=docker/dockerfile:1
# mpsync in an image: one binary, the system's certificates, a user without rights. Without the embedded ClickHouse (libchdb, 200 MB
# packed): in containers the tiers are servers of their own. To have it all the same, mount the library and set MPSYNC_LIBCHDB.
#
#   docker build --tag mpsync .

FROM rust:1.95.0-slim-bookworm AS build
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
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
    && install -d --mode=700 /image/var/lib/mpsync /image/archive

FROM debian:bookworm-slim
COPY --from=build /image/usr /usr
COPY --from=build /image/etc/ssl /etc/ssl
# What is mounted here later takes over this owner.
COPY --from=build --chown=65532:65532 /image/var/lib/mpsync /var/lib/mpsync
COPY --from=build --chown=65532:65532 /image/archive /archive
ENV HOME=/var/lib/mpsync
WORKDIR /var/lib/mpsync
# By number, so that Kubernetes' runAsNonRoot can tell.
USER 65532:65532
STOPSIGNAL SIGTERM
# Asks by the configuration that the daemon has; STORAGE_MODE=cold for a cold one.
HEALTHCHECK --interval=15s --timeout=10s --start-period=30s --retries=4 CMD ["/usr/bin/mpsync", "health"]
ENTRYPOINT ["/usr/bin/mpsync"]
CMD ["--help"]
