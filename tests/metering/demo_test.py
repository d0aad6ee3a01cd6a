"""Tests the demo's own parts: CPU limits, child processes, parsers and checks."""

import glob
import io
import os
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock
from typing import Any

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(ROOT, "examples", "metering", "demo"))

import interrupts
from checks import checks_of
from children import Children, Failure
from cpu_limits import Limit, LimitMaker
from findings import settled
from live_table import LiveTable
from load import window
from observer import Sample, parse_metrics

BURN = [sys.executable, "-c", "while True: pass"]


def work_for(limit: Limit, seconds: float) -> float:
    """Runs a busy process in the limit until it has used `seconds` of CPU; returns the elapsed time."""
    burner = subprocess.Popen(BURN)
    try:
        limit.add(burner.pid)
        began, used = time.monotonic(), limit.used_seconds()
        while limit.used_seconds() - used < seconds:
            os.sched_yield()
        return time.monotonic() - began
    finally:
        burner.kill()
        burner.wait()


class LimitsTest(unittest.TestCase):
    def check_limit(self, kind: str) -> None:
        try:
            maker = LimitMaker(kind)
        except ValueError:
            self.skipTest(f"no {kind} on this machine")
        limit = maker.make("test", 0.25)
        try:
            # 0.1 s of CPU at a quarter of a core takes 0.4 s, less the burst.
            self.assertGreater(work_for(limit, 0.1), 0.25)
        finally:
            maker.remove_all()
        self.assertEqual(glob.glob(f"/sys/fs/cgroup/*/trunkline-demo-{os.getpid()}*"), [])

    def test_a_version_1_group_limits_and_is_removed(self) -> None:
        self.check_limit("cgroup1")

    def test_a_version_2_group_limits_and_is_removed(self) -> None:
        self.check_limit("cgroup2")

    def test_folders_that_are_no_groups_are_left_as_they_are(self) -> None:
        with tempfile.TemporaryDirectory() as root:
            for controller in ("cpu", "cpuacct"):
                os.mkdir(os.path.join(root, controller))
            with self.assertRaises(ValueError):
                LimitMaker("cgroup1", root)
            self.assertEqual(LimitMaker("auto", root).kind, "process")
            self.assertEqual(glob.glob(f"{root}/*/*"), [])

    def test_a_process_limit_limits(self) -> None:
        self.check_limit("process")


class ChildrenTest(unittest.TestCase):
    def test_stop_all_ends_stopped_children_and_those_that_ignore_sigterm(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            children = Children(folder)
            plain = children.start("plain", BURN)
            deaf = children.start(
                "deaf",
                [
                    sys.executable,
                    "-c",
                    "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
                    "print('deaf', flush=True)\nwhile True: signal.pause()",
                ],
            )
            while deaf.last_line() != "deaf":
                os.sched_yield()
            os.kill(plain.pid, 19)
            children.stop_all()
            for child in (plain, deaf):
                self.assertFalse(os.path.exists(f"/proc/{child.pid}"))

    def test_signal_during_a_start_loses_no_child(self) -> None:
        def interrupt_parent() -> None:
            os.kill(os.getppid(), signal.SIGINT)

        usual = signal.getsignal(signal.SIGINT)
        self.addCleanup(signal.signal, signal.SIGINT, usual)
        signal.signal(signal.SIGINT, interrupts.on_stop_signal)
        with tempfile.TemporaryDirectory() as folder:
            children = Children(folder)
            patched = unittest.mock.patch("children._die_with_parent", interrupt_parent)
            with patched, self.assertRaises(KeyboardInterrupt):
                children.start("burner", BURN)
            children.stop_all()
            # This process has no child left.
            self.assertRaises(ChildProcessError, os.waitpid, -1, os.WNOHANG)

    def test_child_that_ends_by_itself_is_reported_with_its_log(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            children = Children(folder)
            child = children.start("short", [sys.executable, "-c", "print('no such file')"])
            while child.exit_code() is None:
                os.sched_yield()
            with self.assertRaisesRegex(Failure, "short ended with exit code 0(.|\n)*no such file"):
                children.check()


class NumbersTest(unittest.TestCase):
    def test_metrics_are_parsed_with_and_without_labels(self) -> None:
        text = (
            '# HELP trunkline_a_total help\ntrunkline_a_total 3\ntrunkline_b{service="s",endpoint="store-1"} 1.5e+02\n'
        )
        self.assertEqual(
            parse_metrics(text),
            [("trunkline_a_total", {}, 3.0), ("trunkline_b", {"service": "s", "endpoint": "store-1"}, 150.0)],
        )

    def test_a_window_counts_whole_seconds_inside_it(self) -> None:
        result = {
            "started_unix": 100.0,
            "series": [{"second": i, "sent": 10, "misses": i, "latency_seconds": {"p99": 0.1 * i}} for i in range(5)],
        }
        found = window(result, 101.0, 104.0)
        self.assertEqual((found["sent"], found["misses"]), (30, 1 + 2 + 3))
        self.assertAlmostEqual(found["miss_ratio"], 0.2)
        self.assertAlmostEqual(found["median_p99_seconds"], 0.2)
        self.assertEqual(window(result, 200, 300)["miss_ratio"], 0.0)

    def test_the_settled_part_is_the_last_of_a_span(self) -> None:
        self.assertEqual(settled((100.0, 110.0), 0.4), (106.0, 110.0))


class ChecksTest(unittest.TestCase):
    """Every check can fail."""

    def numbers(self) -> dict[str, Any]:
        return {
            "readings": {
                "sent": 5,
                "acknowledged_to_collectors": 5,
                "acknowledged": 5,
                "ok": True,
                "missing": 0,
                "duplicated": 0,
                "corrupted": 0,
                "wrong_answers": 0,
            },
            "weights": {
                "true_shares": {"a": 0.6, "b": 0.4},
                "settled_shares": {"a": 0.58, "b": 0.42},
                "neighbour": {"server": "a", "share_before": 0.58, "share_during": 0.47, "true_share_during": 0.45},
                "controller_restart": {"before": {"a": 0.5, "b": 0.5}, "after": {"a": 0.51, "b": 0.49}},
            },
            "connections": {
                "held_at_once": 10_000,
                "long_connections_by_kernel": 24,
                "long_connections_by_metrics": 24,
                "bound": 24,
            },
        }

    def failed(self, numbers: dict[str, Any]) -> list[str]:
        return [check["what"].split()[0] for check in checks_of(numbers) if not check["ok"]]

    def test_a_good_run_passes(self) -> None:
        self.assertEqual(self.failed(self.numbers()), [])

    def test_each_breach_fails_its_check(self) -> None:
        breaches = [
            (("readings", "sent"), 6, "every"),
            (("readings", "ok"), False, "every"),
            (("readings", "wrong_answers"), 1, "no"),
            (("weights", "settled_shares"), {"a": 0.49, "b": 0.51}, "weights"),
            (("weights", "settled_shares"), {"a": 0.75, "b": 0.25}, "each"),
            (("weights", "neighbour", "share_during"), 0.56, "the"),
            (("weights", "neighbour", "share_during"), 0.0, "the"),
            (("weights", "controller_restart", "after"), {"a": 0.6, "b": 0.4}, "a"),
            (("connections", "held_at_once"), 9_999, "ten"),
            (("connections", "long_connections_by_kernel"), 25, "long"),
            (("connections", "long_connections_by_metrics"), 25, "long"),
        ]
        for path, value, check in breaches:
            numbers = self.numbers()
            place = numbers
            for key in path[:-1]:
                place = place[key]
            place[path[-1]] = value
            self.assertIn(check, self.failed(numbers), path)


class LiveTableTest(unittest.TestCase):
    def test_without_a_terminal_there_are_plain_lines_only(self) -> None:
        out = io.StringIO()
        table = LiveTable(unittest.mock.Mock(servers=[]), out)
        sample = Sample()
        sample.servers = {"store-1": {"utilization": 0.5, "weight": 1.25, "in_flight": 3}}
        for _ in range(6):
            table.show("settle", 1, sample, None)
        self.assertEqual(len(out.getvalue().splitlines()), 2)
        self.assertNotIn("\x1b", out.getvalue())
        self.assertIn("store-1 50% w 1.25 fl 3", out.getvalue())


class InterruptTest(unittest.TestCase):
    """Interrupts the real demo at work; no process, control group or file may remain."""

    def processes_of(self, folder: str) -> list[int]:
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/cmdline", errors="replace") as file:
                    if folder in file.read():
                        found.append(int(pid))
            except OSError:
                continue  # the process ended meanwhile
        return found

    def test_an_interrupted_demo_leaves_nothing_behind(self) -> None:
        if not os.access(os.path.join(os.environ.get("TRUNKLINE_BIN_DIR", ""), "trunkline-agent"), os.X_OK):
            self.skipTest("TRUNKLINE_BIN_DIR does not name the built programs")
        demo = os.path.join(ROOT, "examples", "metering", "demo")
        with tempfile.TemporaryDirectory() as folder:
            process = subprocess.Popen(
                [sys.executable, "-B", demo], stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": folder}
            )
            assert process.stdout  # a pipe
            for line in process.stdout:
                if line.startswith("Calibrating"):
                    break
            self.assertGreater(len(self.processes_of(folder)), 8)  # every program of the demo runs
            process.send_signal(signal.SIGINT)
            process.communicate()
            self.assertEqual(process.returncode, 130)
            self.assertEqual(self.processes_of(folder), [])
            self.assertEqual(os.listdir(folder), [])
            self.assertEqual(glob.glob(f"/sys/fs/cgroup/*/trunkline-demo-{process.pid}*"), [])


if __name__ == "__main__":
    unittest.main()
