-- orderbooks: snapshots and deltas in one shape; a quantity of zero removes its level and is kept.
-- Codecs: times and sequences grow in small steps, so the difference is stored (DoubleDelta where the step itself is
-- steady, Delta where it is not); decimals keep their many zero bytes next to each other only under a general codec, and
-- ZSTD(1) is the cheapest that finds them. The order serves the usual question, one symbol over a time, and ends with
-- the row's position, so that the same rows always lie in the same order.
CREATE TABLE IF NOT EXISTS {table} {on_cluster}
(
    `timestamp`         DateTime64(3, 'UTC')                                          CODEC(DoubleDelta, ZSTD(1)),
    `exchange`          LowCardinality(String)                                        CODEC(ZSTD(1)),
    `market_type`       LowCardinality(String)                                        CODEC(ZSTD(1)),
    `symbol`            LowCardinality(String)                                        CODEC(ZSTD(1)),
    `data_source`       LowCardinality(String)                                        CODEC(ZSTD(1)),
    `last_update_id`    Nullable(Int64)                                               CODEC(ZSTD(1)),
    `bids`              Array(Tuple(price Decimal(38, 18), quantity Decimal(38, 18))) CODEC(ZSTD(1)),
    `asks`              Array(Tuple(price Decimal(38, 18), quantity Decimal(38, 18))) CODEC(ZSTD(1)),
    `bids_count`        UInt32                                                        CODEC(T64, ZSTD(1)),
    `asks_count`        UInt32                                                        CODEC(T64, ZSTD(1)),
    `best_bid_price`    Nullable(Decimal(38, 18))                                     CODEC(ZSTD(1)),
    `best_bid_quantity` Nullable(Decimal(38, 18))                                     CODEC(ZSTD(1)),
    `best_ask_price`    Nullable(Decimal(38, 18))                                     CODEC(ZSTD(1)),
    `best_ask_quantity` Nullable(Decimal(38, 18))                                     CODEC(ZSTD(1)),
    `collected_at`      Nullable(DateTime64(3, 'UTC'))                                CODEC(ZSTD(1)),
    `created_at`        DateTime64(9, 'UTC')                                          CODEC(Delta, ZSTD(1)),
    `stream_epoch`      UInt64                                                        CODEC(ZSTD(1)),
    `stream_seq`        UInt64                                                        CODEC(Delta, ZSTD(1)),
    -- Recovery asks which positions above the consumer's floor are held: the index keeps that cheap on a full table.
    INDEX position_index (`stream_epoch`, `stream_seq`) TYPE minmax GRANULARITY 1
)
ENGINE = {engine}
PARTITION BY {partition}
PRIMARY KEY (`exchange`, `market_type`, `symbol`, `timestamp`)
ORDER BY (`exchange`, `market_type`, `symbol`, `timestamp`, `stream_epoch`, `stream_seq`)
{settings}
