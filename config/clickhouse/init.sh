#!/bin/sh
# Runs once, when the official ClickHouse image starts on an empty volume (it is mounted into /docker-entrypoint-initdb.d/): makes
# the users of users.sql, with the passwords in /run/secrets. A password is hashed here: no process list holds it.
set -eu

hash() { tr -d '\n' < "/run/secrets/$1" | sha256sum | cut -d' ' -f1; }

clickhouse-client --multiquery \
    --param_schema_sha256="$(hash clickhouse_schema)" \
    --param_ingest_sha256="$(hash clickhouse_ingest)" \
    --param_transfer_sha256="$(hash clickhouse_transfer)" \
    --param_readonly_sha256="$(hash clickhouse_readonly)" \
    < /etc/mpsync/users.sql
