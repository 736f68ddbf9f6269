"""Ingest into Replicated hot: every message is one row on both replicas, whichever replica it was inserted through."""

import random
import signal
import time

from harness import Mpsync, TierCase, until
from nats import Nats

STREAM = "MARKET_DATA"
RUN = ("run", "--mode", "hot", "--dataset", "trades", "--hot-listen", "127.0.0.1:0")
DRAIN = (*RUN, "--drain")


class Ingest(TierCase):
    """Tests of `mpsync run` with a stream of generated trades."""

    @classmethod
    def setUpClass(cls):
        """Starts the cluster and a nats-server."""
        super().setUpClass()
        cls.nats = Nats()
        cls.addClassCleanup(cls.nats.stop)

    def setUp(self):
        """Creates the tables and an empty stream."""
        super().setUp()
        self.nats.request(f"$JS.API.STREAM.DELETE.{STREAM}")
        self.tiers(more=f"nats: {{url: 'nats://127.0.0.1:{self.nats.port}'}}\ningest: {{ack_wait_seconds: 5}}")
        # Creates the stream with the subjects of all datasets: `generate --dataset trades` would create one for trades only, which
        # `run` refuses.
        self.mpsync.succeed(*DRAIN)

    def publish(self, count: int, seed: int, *more: str) -> None:
        """Publishes generated trades of one past hour."""
        self.mpsync.succeed("generate", "--dataset", "trades", "--count", str(count), "--seed", str(seed), "--start", "2026-01-01T05:00:00Z", *more)

    def check_all(self) -> None:
        """Checks that both replicas have every message of the stream once."""
        self.check(self.hot(), self.nats.messages(STREAM))

    def test_ingest_through_either_replica_reaches_both(self):
        """Ingests through replica 1, then through replica 2."""
        self.publish(5000, 1)
        self.mpsync.succeed(*DRAIN)
        self.mpsync.use(self.r2, self.r1)
        self.publish(5000, 2)
        self.mpsync.succeed(*DRAIN)
        self.assertEqual(self.nats.messages(STREAM), 10000)
        self.check_all()
        self.check_no_helpers()

    def test_failover_to_lagging_replica_duplicates_no_row(self):
        """Ingest restarts from the first message through replica 2, which has not fetched the rows of replica 1."""
        self.publish(2000, 1)
        self.cluster.lag(self.r2)
        first = self.mpsync.start(*RUN)
        until("rows", lambda: self.count(self.r1, self.hot()) == 2000, first)
        first.kill()
        first.finish()
        self.assertEqual(self.count(self.r2, self.hot()), 0)
        self.assertGreater(self.nats.delete_consumers(STREAM), 0)
        self.mpsync.use(self.r2, self.r1)
        second = self.mpsync.start(*DRAIN)
        # It may wait for the rows, or end with an error. It runs for three seconds while they are missing.
        time.sleep(3)
        self.cluster.lag(self.r2, False)
        second.finish()
        self.mpsync.succeed(*DRAIN)
        self.check_all()

    def test_messages_are_acknowledged_after_both_replicas_have_them(self):
        """A message that is acknowledged with its row on one replica is lost together with that machine."""
        self.publish(2000, 1)
        self.cluster.lag(self.r2)
        running = self.mpsync.start(*RUN)
        until("rows", lambda: self.count(self.r1, self.hot()) > 0, running)
        time.sleep(3)
        acknowledged = [c["ack_floor"]["stream_seq"] for c in self.consumers()]
        self.cluster.lag(self.r2, False)
        until("everything is in hot", self.drained, running)
        running.send_signal(signal.SIGTERM)
        running.finish()
        self.check_all()
        self.assertEqual(max(acknowledged), 0, "acknowledged while the rows were on one replica only")

    def test_session_through_other_replica_fences_a_sleeping_one(self):
        """A process that is stopped and continued later cannot insert after a newer session has begun through the other replica."""
        self.publish(20000, 1, "--in-flight", "1000")
        sleeper = self.mpsync.start(*RUN)
        until("rows", lambda: self.count(self.r1, self.hot()) > 0, sleeper)
        sleeper.send_signal(signal.SIGSTOP)
        self.mpsync.use(self.r2, self.r1)
        self.mpsync.succeed(*DRAIN)
        sleeper.send_signal(signal.SIGCONT)
        time.sleep(1)
        sleeper.send_signal(signal.SIGTERM)
        sleeper.finish()
        self.check_all()

    def test_ingest_survives_kills_of_replicas_and_keeper(self):
        """Kills each server in turn while messages arrive."""
        seed = random.Random(1)
        running = self.mpsync.start(*RUN)
        for n, victim in enumerate([self.r1, self.cluster.keeper, self.r2]):
            self.publish(2000, n + 1)
            time.sleep(seed.uniform(0.2, 1.5))
            victim.kill()
            self.publish(2000, n + 101)
            time.sleep(seed.uniform(0.2, 1.5))
            self.cluster.heal()
        running.send_signal(signal.SIGTERM)
        running.finish()
        self.mpsync.succeed(*DRAIN)
        self.assertEqual(self.nats.messages(STREAM), 12000)
        self.check_all()

    def test_cleanup_beside_ingest_through_the_other_replica_loses_no_row(self):
        """Ingest through replica 2 continues while hot is cleaned through replica 1."""
        mpsync, ingest = self.mpsync, Mpsync(self.number, self.r2, self.r1, more=self.mpsync.more)
        self.addCleanup(ingest.close)
        running = ingest.start(*RUN)
        for n in range(4):
            self.publish(1500, n + 1)
            mpsync.run("sync", "--dataset", "trades", "--cleanup")
        until("everything is in hot", self.drained, running)
        running.send_signal(signal.SIGTERM)
        running.finish()
        ingest.succeed(*DRAIN)
        self.cluster.sync(self.hot())
        mpsync.succeed("sync", "--dataset", "trades", "--cleanup")
        self.check(self.cold(), 6000)
        self.check(self.hot(), 0)

    def consumers(self) -> list[dict]:
        """Returns the state of the stream's consumers."""
        return self.nats.request(f"$JS.API.CONSUMER.LIST.{STREAM}")["consumers"] or []

    def drained(self) -> bool:
        """Returns whether every message of the stream is acknowledged."""
        consumers = self.consumers()
        return bool(consumers) and all(c["num_pending"] == 0 and c["num_ack_pending"] == 0 for c in consumers)
