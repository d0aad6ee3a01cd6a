"""The parts of the demo in order, and the length of each."""

import time

from children import Children, Failure
from cluster import ADAPTIVE, ROUND_ROBIN, START_SECONDS, WORKERS, Cluster, Server
from live_table import LiveTable
from load import Load, Span
from observer import Observer

# Share of what the three servers can do together.
TARGET_UTILIZATION = 0.65
# The calibration runs at about a third of the servers' capacity, by their configured costs.
CALIBRATION_SHARE = 0.35
EXPECTED_CPU_PER_READING = 0.0016
# Share of the server's CPU limit that the neighbour uses.
NEIGHBOUR_SHARE = 0.4
DOWN_SECONDS = 3
FINISH_SECONDS = 45
SEED = 20

# Seconds of each part at the usual length; `--seconds` scales all of them.
PARTS = {
    "calibrate": 5,
    "settle": 18,
    "neighbour": 12,
    "recover": 4,
    "server killed": 12,
    "controller killed": 8,
    "round robin": 12,
    "ten thousand": 4,
}
USUAL_SECONDS = sum(PARTS.values())
SHORTEST_SECONDS = 40


class Story:
    """Runs the parts. Afterwards `spans` has the time of each (Unix time) and `loads` the runs of the collectors."""

    def __init__(
        self, cluster: Cluster, children: Children, observer: Observer, table: LiveTable, folder: str, seconds: float
    ) -> None:
        self._cluster, self._children = cluster, children
        self._observer, self._table, self._folder = observer, table, folder
        stretch = seconds / USUAL_SECONDS
        self._seconds = {part: usual * stretch for part, usual in PARTS.items()}
        self._load: Load | None = None
        self.spans: dict[str, Span] = {}
        self.loads: list[Load] = []
        self.cpu_per_reading = 0.0
        self.rate = 0.0
        self.weights_before_controller_kill: dict[str, float] = {}
        self.weights_after_controller_restart: dict[str, float] = {}

    def run(self) -> None:
        self._await_trunks()
        self._calibrate()
        self._adaptive()
        self._round_robin()
        self._ten_thousand()

    def neighbour_server(self) -> Server:
        return self._cluster.servers[0]

    def killed_server(self) -> Server:
        return self._cluster.servers[-1]

    # -- the parts ----------------------------------------------------------------------------------

    def _calibrate(self) -> None:
        total = sum(server.cores for server in self._cluster.servers)
        rate = CALIBRATION_SHARE * total / EXPECTED_CPU_PER_READING
        self._table.say(f"Calibrating: {rate:.0f} readings/s, to see what one costs here.")
        seconds = self._seconds["calibrate"]
        before = self._observer.used_seconds()
        load = self._start_load("calibrate", ADAPTIVE, rate, seconds)
        self._part("calibrate", seconds)
        self._finish(load)
        after = self._observer.used_seconds()
        used = sum(after[name] - before[name] for name in before)
        acknowledged = load.result()["acknowledged"]
        if acknowledged == 0:
            raise Failure(f"no reading was acknowledged; the collectors said:\n{load.child.log_tail()}")
        self.cpu_per_reading = used / acknowledged
        self.rate = TARGET_UTILIZATION * total / self.cpu_per_reading
        self._table.say(
            f"A reading costs {self.cpu_per_reading * 1e3:.2f} ms of CPU; three servers with {total:.2f} cores"
            f" can do {total / self.cpu_per_reading:.0f}/s. The load is {self.rate:.0f}/s, "
            f"{TARGET_UTILIZATION:.0%} of that."
        )

    def _adaptive(self) -> None:
        parts = ("settle", "neighbour", "recover", "server killed", "controller killed")
        planned = sum(self._seconds[part] for part in parts)
        load = self._start_load("adaptive", ADAPTIVE, self.rate, planned + FINISH_SECONDS)
        self._table.say("Adaptive: no configuration tells the controller how much CPU each server has.")
        self._part("settle", self._seconds["settle"])

        server = self.neighbour_server()
        cores = NEIGHBOUR_SHARE * server.cores
        self._table.say(f"A noisy neighbour takes {cores:.2f} of the {server.cores:.2f} cores of {server.name}.")
        server.group.start_neighbour(cores)
        self._part("neighbour", self._seconds["neighbour"])
        server.group.stop_neighbour()
        self._part("recover", self._seconds["recover"])

        self._kill_server(self._seconds["server killed"])
        self._kill_controller(self._seconds["controller killed"])
        load.stop_sending()
        self._finish(load)

    def _kill_server(self, seconds: float) -> None:
        server = self.killed_server()
        self._table.say(f"{server.name} is killed (kill -9), and comes back in {DOWN_SECONDS} s.")
        server.group.kill_server()
        self._part("server killed", DOWN_SECONDS)
        self._cluster.start_server(server)
        self._part("server back", max(0, seconds - DOWN_SECONDS))

    def _kill_controller(self, seconds: float) -> None:
        self._table.say(f"The controller is killed (kill -9), and comes back in {DOWN_SECONDS} s.")
        self._observer.look()
        self.weights_before_controller_kill = self._shares()
        self._cluster.kill_controller()
        self._part("controller killed", DOWN_SECONDS)
        self._cluster.start_controller()
        self.weights_after_controller_restart = self._await_controller()
        self._part("controller back", max(0, seconds - DOWN_SECONDS))

    def _round_robin(self) -> None:
        self._table.say("Round robin: the same load, equal weights.")
        seconds = self._seconds["round robin"]
        load = self._start_load("round-robin", ROUND_ROBIN, self.rate, seconds)
        self._part("round robin", seconds)
        self._finish(load)

    def _ten_thousand(self) -> None:
        self._table.say("Ten thousand collectors keep a connection open, all at once.")
        load = self._start_load("ten-thousand", ADAPTIVE, self.rate / 4, self._seconds["ten thousand"], keep=True)
        self._part("ten thousand", self._seconds["ten thousand"])
        self._finish(load)

    # -- what the parts are made of -------------------------------------------------------------------

    def _start_load(self, name: str, service: str, rate: float, seconds: float, keep: bool = False) -> Load:
        self._load = Load(self._cluster, self._children, self._folder, name, service, rate, seconds, SEED, keep)
        self.loads.append(self._load)
        self._observer.service = service
        return self._load

    def _part(self, name: str, seconds: float) -> None:
        begin, end = time.time(), time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(min(1.0, max(0.0, end - time.monotonic())))
            self._look(name, end - time.monotonic())
        self.spans[name] = (begin, time.time())

    def _finish(self, load: Load) -> None:
        """Waits until every reading is acknowledged."""
        begin, deadline = time.time(), time.monotonic() + FINISH_SECONDS
        while load.running():
            if time.monotonic() > deadline:
                raise Failure(f"{load.child.name} did not end:\n{load.child.log_tail()}")
            time.sleep(0.5)
            self._look(f"finishing {load.name}", deadline - time.monotonic())
        self.spans[f"finishing {load.name}"] = (begin, time.time())

    def _look(self, name: str, seconds_left: float) -> None:
        self._children.check()
        sample = self._observer.look()
        self._table.show(name, max(0, seconds_left), sample, self._load.progress() if self._load else None)

    def _shares(self) -> dict[str, float]:
        return {name: row["share"] for name, row in self._observer.samples[-1].servers.items()}

    def _await_trunks(self) -> None:
        """Waits until every proxy has a trunk to every server; else the first server up would get all early flows."""
        wanted = len(self._cluster.proxies) * WORKERS * len(self._cluster.servers)
        deadline = time.monotonic() + START_SECONDS
        while self._observer.look().trunks_by_metrics < wanted:
            self._children.check()
            if time.monotonic() > deadline:
                raise Failure(f"the proxies did not reach all agents within {START_SECONDS} s")
            time.sleep(0.2)

    def _await_controller(self) -> dict[str, float]:
        """Returns the first weights with which the restarted controller answers."""
        deadline = time.monotonic() + FINISH_SECONDS
        while time.monotonic() < deadline:
            self._children.check()
            if self._observer.look().controller_answers:
                return self._shares()
            time.sleep(0.2)
        raise Failure("the restarted controller did not answer")
