"""The cluster bed: two replicas of the ClickHouse engine over a ZooKeeper, on loopback, made of Debian packages and Python."""
