#!/bin/sh
# Makes the passwords of docker-compose.tiered-storage.yml, once: one file each in config/secrets, which is not in git and only its
# owner enters. The files themselves are readable for all, since Compose mounts them as they are and each container has a user of its
# own.
set -eu
folder=$(cd -- "$(dirname -- "$0")/.." && pwd)/secrets
umask 077
mkdir -p "$folder"
for name in clickhouse_schema clickhouse_ingest clickhouse_transfer clickhouse_readonly nats_mpsync nats_collector nats_admin; do
    file=$folder/$name
    [ -e "$file" ] || od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > "$file"
    chmod 444 "$file"
done
# nats-server reads its passwords from its environment, and Compose reads that from a file.
{
    for user in mpsync collector admin; do
        upper=$(printf %s "$user" | tr '[:lower:]' '[:upper:]')
        printf 'NATS_%s_PASSWORD="%s"\n' "$upper" "$(cat "$folder/nats_$user")"
    done
} > "$folder/nats.env"
chmod 400 "$folder/nats.env"
echo "the passwords are in $folder"
