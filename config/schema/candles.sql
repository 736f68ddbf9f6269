-- candles: one row a candle as it was published; a candle that is published again while it is open is a row again.
-- The order serves the usual question, one symbol and interval over a time, and ends with the row's position.
CREATE TABLE IF NOT EXISTS {table} {on_cluster}
(
    `timestamp`    DateTime64(3, 'UTC')           CODEC(DoubleDelta, ZSTD(1)),
    `exchange`     LowCardinality(String)         CODEC(ZSTD(1)),
    `market_type`  LowCardinality(String)         CODEC(ZSTD(1)),
    `symbol`       LowCardinality(String)         CODEC(ZSTD(1)),
    `interval`     LowCardinality(String)         CODEC(ZSTD(1)),
    `open`         Decimal(38, 18)                CODEC(ZSTD(1)),
    `high`         Decimal(38, 18)                CODEC(ZSTD(1)),
    `low`          Decimal(38, 18)                CODEC(ZSTD(1)),
    `close`        Decimal(38, 18)                CODEC(ZSTD(1)),
    `volume`       Decimal(38, 18)                CODEC(ZSTD(1)),
    `quote_volume` Nullable(Decimal(38, 18))      CODEC(ZSTD(1)),
    `trades`       Nullable(UInt64)               CODEC(ZSTD(1)),
    `is_closed`    Nullable(Bool)                 CODEC(ZSTD(1)),
    `collected_at` Nullable(DateTime64(3, 'UTC')) CODEC(ZSTD(1)),
    `created_at`   DateTime64(9, 'UTC')           CODEC(Delta, ZSTD(1)),
    `stream_epoch` UInt64                         CODEC(ZSTD(1)),
    `stream_seq`   UInt64                         CODEC(Delta, ZSTD(1)),
    -- Recovery asks which positions above the consumer's floor are held: the index keeps that cheap on a full table.
    INDEX position_index (`stream_epoch`, `stream_seq`) TYPE minmax GRANULARITY 1
)
ENGINE = {engine}
PARTITION BY {partition}
PRIMARY KEY (`exchange`, `market_type`, `symbol`, `interval`, `timestamp`)
ORDER BY (`exchange`, `market_type`, `symbol`, `interval`, `timestamp`, `stream_epoch`, `stream_seq`)
{settings}
