-- Users of ClickHouse with exactly the rights that mpsync's statements need, and no other. Run by an administrator, once:
--
--   clickhouse-client --param_ingest_sha256=… --param_transfer_sha256=… --param_schema_sha256=… --param_readonly_sha256=… \
--       --multiquery < users.sql
--
-- where each … is `printf %s "$password" | sha256sum | cut -d' ' -f1`: the server keeps no password, and neither does the process list.
--
--   mpsync_schema      creates the databases and tables: `mpsync schema apply`, an upgrade
--   mpsync_hot_ingest  `mpsync run --mode hot`, `mpsync dead-letters replay`
--   mpsync_transfer    `mpsync run --mode cold`, `sync`, `export`, `import`, `verify`, `gc`; both tiers
--   mpsync_readonly    people and dashboards
--
-- Hot and cold on two servers: run the whole script on both; rights on a database that is not there do no harm.
-- Databases of other names: replace marketprism_hot and marketprism_cold. Further datasets (datasets.files): copy the lines of
-- one table. A cluster: the lines at the end. The names with a star (ClickHouse 24.10 and newer) are mpsync's own tables beside
-- a table: doors (_in_), staging (_stage_), comparison (_check_), sealed (_sealed_) tables.
-- None of these users may have a settings profile with readonly = 1 but the last: mpsync sends settings with its queries.

CREATE USER IF NOT EXISTS mpsync_schema IDENTIFIED WITH sha256_hash BY {schema_sha256:String};
CREATE USER IF NOT EXISTS mpsync_hot_ingest IDENTIFIED WITH sha256_hash BY {ingest_sha256:String};
CREATE USER IF NOT EXISTS mpsync_transfer IDENTIFIED WITH sha256_hash BY {transfer_sha256:String};
CREATE USER IF NOT EXISTS mpsync_readonly IDENTIFIED WITH sha256_hash BY {readonly_sha256:String} SETTINGS readonly = 2;

-- The schema: what `mpsync schema show` prints. It cannot drop, and reads nothing but the tables' shape.
GRANT CREATE DATABASE, CREATE TABLE, SHOW TABLES, SHOW COLUMNS ON marketprism_hot.* TO mpsync_schema;
GRANT CREATE DATABASE, CREATE TABLE, SHOW TABLES, SHOW COLUMNS ON marketprism_cold.* TO mpsync_schema;
GRANT TABLE ENGINE ON MergeTree, TABLE ENGINE ON ReplicatedMergeTree TO mpsync_schema;
GRANT SELECT ON system.tables, SELECT ON system.columns, SELECT ON system.databases, SELECT ON system.settings TO mpsync_schema;

-- What mpsync asks the server of itself: which tables, columns and parts there are, whether an insert still runs, how much
-- space is free.
GRANT SELECT ON system.tables, SELECT ON system.columns, SELECT ON system.parts, SELECT ON system.processes, SELECT ON system.disks TO mpsync_hot_ingest;
GRANT SELECT ON system.tables, SELECT ON system.columns, SELECT ON system.parts, SELECT ON system.processes, SELECT ON system.disks TO mpsync_transfer;
-- The doctor: replicas, settings, limits and row policies of the server.
GRANT SELECT ON system.replicas, SELECT ON system.settings, SELECT ON system.server_settings, SELECT ON system.enabled_roles, SELECT ON system.row_policies TO mpsync_hot_ingest, mpsync_transfer;
GRANT SHOW ROW POLICIES ON *.* TO mpsync_hot_ingest, mpsync_transfer;

-- Ingest: inserts through doors that it makes and drops, reads which positions are held (in sealed tables too). It can neither
-- change nor delete a row, nor drop a table of data.
GRANT TABLE ENGINE ON Null TO mpsync_hot_ingest;
GRANT SHOW TABLES ON marketprism_hot.* TO mpsync_hot_ingest;
GRANT SELECT, INSERT ON marketprism_hot.trades, SELECT ON marketprism_hot.trades_sealed_*, SELECT, INSERT, CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW ON marketprism_hot.trades_in_* TO mpsync_hot_ingest;
GRANT SELECT, INSERT ON marketprism_hot.orderbooks, SELECT ON marketprism_hot.orderbooks_sealed_*, SELECT, INSERT, CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW ON marketprism_hot.orderbooks_in_* TO mpsync_hot_ingest;
GRANT SELECT, INSERT ON marketprism_hot.funding_rates, SELECT ON marketprism_hot.funding_rates_sealed_*, SELECT, INSERT, CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW ON marketprism_hot.funding_rates_in_* TO mpsync_hot_ingest;
GRANT SELECT, INSERT ON marketprism_hot.open_interests, SELECT ON marketprism_hot.open_interests_sealed_*, SELECT, INSERT, CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW ON marketprism_hot.open_interests_in_* TO mpsync_hot_ingest;
GRANT SELECT, INSERT ON marketprism_hot.liquidations, SELECT ON marketprism_hot.liquidations_sealed_*, SELECT, INSERT, CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW ON marketprism_hot.liquidations_in_* TO mpsync_hot_ingest;
GRANT SELECT, INSERT ON marketprism_hot.lsr_top_positions, SELECT ON marketprism_hot.lsr_top_positions_sealed_*, SELECT, INSERT, CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW ON marketprism_hot.lsr_top_positions_in_* TO mpsync_hot_ingest;
GRANT SELECT, INSERT ON marketprism_hot.lsr_all_accounts, SELECT ON marketprism_hot.lsr_all_accounts_sealed_*, SELECT, INSERT, CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW ON marketprism_hot.lsr_all_accounts_in_* TO mpsync_hot_ingest;
GRANT SELECT, INSERT ON marketprism_hot.volatility_indices, SELECT ON marketprism_hot.volatility_indices_sealed_*, SELECT, INSERT, CREATE TABLE, CREATE VIEW, DROP TABLE, DROP VIEW ON marketprism_hot.volatility_indices_in_* TO mpsync_hot_ingest;

-- Transfer: moves partitions between a table and mpsync's own tables beside it (which takes SELECT and ALTER DELETE on the one
-- and INSERT on the other), drops only the latter. ALTER DELETE on the tables of data themselves is cleanup and retention:
-- it is what a worker needs that may delete what is proven. Leave it out for one that must not.
GRANT TABLE ENGINE ON MergeTree, TABLE ENGINE ON ReplicatedMergeTree, TABLE ENGINE ON Null TO mpsync_transfer;
GRANT SHOW TABLES ON marketprism_hot.*, SHOW TABLES ON marketprism_cold.* TO mpsync_transfer;
GRANT SELECT, INSERT, ALTER DELETE ON marketprism_hot.trades, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_hot.trades_sealed_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_hot.trades_stage_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_hot.trades_check_* TO mpsync_transfer;
GRANT SELECT, INSERT, ALTER DELETE ON marketprism_hot.orderbooks, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_hot.orderbooks_sealed_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_hot.orderbooks_stage_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_hot.orderbooks_check_* TO mpsync_transfer;
GRANT SELECT, INSERT, ALTER DELETE ON marketprism_hot.funding_rates, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_hot.funding_rates_sealed_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_hot.funding_rates_stage_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_hot.funding_rates_check_* TO mpsync_transfer;
GRANT SELECT, INSERT, ALTER DELETE ON marketprism_hot.open_interests, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_hot.open_interests_sealed_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_hot.open_interests_stage_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_hot.open_interests_check_* TO mpsync_transfer;
GRANT SELECT, INSERT, ALTER DELETE ON marketprism_hot.liquidations, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_hot.liquidations_sealed_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_hot.liquidations_stage_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_hot.liquidations_check_* TO mpsync_transfer;
GRANT SELECT, INSERT, ALTER DELETE ON marketprism_hot.lsr_top_positions, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_hot.lsr_top_positions_sealed_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_hot.lsr_top_positions_stage_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_hot.lsr_top_positions_check_* TO mpsync_transfer;
GRANT SELECT, INSERT, ALTER DELETE ON marketprism_hot.lsr_all_accounts, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_hot.lsr_all_accounts_sealed_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_hot.lsr_all_accounts_stage_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_hot.lsr_all_accounts_check_* TO mpsync_transfer;
GRANT SELECT, INSERT, ALTER DELETE ON marketprism_hot.volatility_indices, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_hot.volatility_indices_sealed_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_hot.volatility_indices_stage_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_hot.volatility_indices_check_* TO mpsync_transfer;
GRANT SELECT, INSERT, ALTER DELETE ON marketprism_cold.trades, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_cold.trades_sealed_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_cold.trades_stage_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_cold.trades_check_* TO mpsync_transfer;
GRANT SELECT, INSERT, ALTER DELETE ON marketprism_cold.orderbooks, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_cold.orderbooks_sealed_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_cold.orderbooks_stage_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_cold.orderbooks_check_* TO mpsync_transfer;
GRANT SELECT, INSERT, ALTER DELETE ON marketprism_cold.funding_rates, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_cold.funding_rates_sealed_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_cold.funding_rates_stage_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_cold.funding_rates_check_* TO mpsync_transfer;
GRANT SELECT, INSERT, ALTER DELETE ON marketprism_cold.open_interests, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_cold.open_interests_sealed_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_cold.open_interests_stage_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_cold.open_interests_check_* TO mpsync_transfer;
GRANT SELECT, INSERT, ALTER DELETE ON marketprism_cold.liquidations, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_cold.liquidations_sealed_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_cold.liquidations_stage_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_cold.liquidations_check_* TO mpsync_transfer;
GRANT SELECT, INSERT, ALTER DELETE ON marketprism_cold.lsr_top_positions, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_cold.lsr_top_positions_sealed_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_cold.lsr_top_positions_stage_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_cold.lsr_top_positions_check_* TO mpsync_transfer;
GRANT SELECT, INSERT, ALTER DELETE ON marketprism_cold.lsr_all_accounts, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_cold.lsr_all_accounts_sealed_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_cold.lsr_all_accounts_stage_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_cold.lsr_all_accounts_check_* TO mpsync_transfer;
GRANT SELECT, INSERT, ALTER DELETE ON marketprism_cold.volatility_indices, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_cold.volatility_indices_sealed_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_cold.volatility_indices_stage_*, SELECT, INSERT, ALTER DELETE, CREATE TABLE, DROP TABLE ON marketprism_cold.volatility_indices_check_* TO mpsync_transfer;

-- People and dashboards.
GRANT SELECT ON marketprism_hot.*, SELECT ON marketprism_cold.* TO mpsync_readonly;

-- A cluster (clickhouse_cluster): statements ON CLUSTER, and the processes of all replicas.
-- GRANT CLUSTER ON *.* TO mpsync_schema, mpsync_hot_ingest, mpsync_transfer;
-- GRANT REMOTE ON *.* TO mpsync_hot_ingest, mpsync_transfer;
