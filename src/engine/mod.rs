//! The embedded ClickHouse: the engine as a library behind ClickHouse's own HTTP interface.
