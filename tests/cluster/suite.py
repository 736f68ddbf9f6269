"""Runs the tests in a fixed order, each with its time; ends with a line `N passed, N failed`."""

import signal
import sys
import time
import unittest

MODULES = ["test_bed", "test_transfer", "test_ingest", "test_kills"]


class Result(unittest.TextTestResult):
    """One line a test."""

    def startTest(self, test):
        """Stores the time of the start."""
        self._began = time.monotonic()
        unittest.TestResult.startTest(self, test)

    def stopTest(self, test):
        """Prints the outcome, and the reason of a failure."""
        super().stopTest(test)
        lists = {"ERROR": self.errors, "FAIL": self.failures}
        outcome = next((name for name, tests in lists.items() if tests and tests[-1][0] is test), "ok")
        print(f"{outcome:<5} {time.monotonic() - self._began:6.1f} s  {test.id()}", flush=True)
        if outcome in lists:
            print(lists[outcome][-1][1], flush=True)


def main() -> int:
    """Runs the tests that the arguments name, or all."""
    # Ended by a signal, it still stops its servers.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    suite = unittest.defaultTestLoader.loadTestsFromNames(sys.argv[1:] or MODULES)
    began = time.monotonic()
    runner = unittest.TextTestRunner(stream=open("/dev/null", "w", encoding="utf-8"), verbosity=0, resultclass=Result)
    result = runner.run(suite)
    failed = len(result.failures) + len(result.errors)
    print(f"{result.testsRun - failed} passed, {failed} failed in {time.monotonic() - began:.0f} s")
    return 1 if failed or not result.testsRun else 0


if __name__ == "__main__":
    sys.exit(main())
