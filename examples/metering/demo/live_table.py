"""Shows the demo's progress: a table redrawn in place on a terminal, a line every few seconds elsewhere."""

import shutil
import sys
from collections.abc import Iterator
from typing import TextIO

from cluster import Cluster
from observer import Sample

PLAIN_EVERY = 3  # samples
_UP_AND_CLEAR = "\x1b[{}A\x1b[J"


class LiveTable:
    def __init__(self, cluster: Cluster, out: TextIO = sys.stdout) -> None:
        self._cluster = cluster
        self._out = out
        self._terminal = out.isatty()
        self._drawn = 0
        self._samples = 0

    def say(self, text: str) -> None:
        """Prints a line that stays above the table."""
        self._erase()
        print(text, file=self._out, flush=True)

    def show(self, phase: str, seconds_left: float, sample: Sample, progress: dict[str, float] | None) -> None:
        self._samples += 1
        if self._terminal:
            self._erase()
            width = shutil.get_terminal_size().columns
            lines = [line[: width - 1] for line in self._table(phase, seconds_left, sample, progress)]
            print("\n".join(lines), file=self._out, flush=True)
            self._drawn = len(lines)
        elif self._samples % PLAIN_EVERY == 0:
            print(self._line(phase, sample, progress), file=self._out, flush=True)

    def _erase(self) -> None:
        if self._drawn:
            self._out.write(_UP_AND_CLEAR.format(self._drawn))
            self._drawn = 0

    def _table(
        self, phase: str, seconds_left: float, sample: Sample, progress: dict[str, float] | None
    ) -> Iterator[str]:
        controller = "answers" if sample.controller_answers else "does not answer"
        yield ""
        yield f"  {phase}, {seconds_left:.0f} s left; the controller {controller}"
        yield (
            f"  {'server':<9}{'CPU limit':>11}{'used':>7}{'weight':>9}{'share':>8}{'flows/s':>9}"
            f"{'in flight':>11}{'trunks':>8}  state"
        )
        for server in self._cluster.servers:
            row = sample.servers[server.name]
            state = row["state"] if row["reachable"] else "server down"
            yield (
                f"  {server.name:<9}{f'{server.cores:.2f} cores':>11}{row['utilization']:>7.0%}"
                f"{row['weight']:>9.2f}{row['share']:>8.0%}{row['flows_per_second']:>9.0f}"
                f"{row['in_flight']:>11d}{row['trunks']:>8d}  {state}"
            )
        yield (
            f"  clients connected now {sample.clients}, in all {sample.clients_accepted}, "
            f"over {sample.trunks_by_kernel} long connections"
        )
        if progress:
            yield (
                f"  readings sent {progress['sent']:.0f}, acknowledged {progress['acknowledged']:.0f}, "
                f"p50 {progress['p50']:.0f} ms, p99 {progress['p99']:.0f} ms, late {progress['late']:.0f}"
            )

    def _line(self, phase: str, sample: Sample, progress: dict[str, float] | None) -> str:
        servers = "  ".join(
            f"{name} {row['utilization']:.0%} w {row['weight']:.2f} fl {row['in_flight']}"
            for name, row in sample.servers.items()
        )
        load = f"  p99 {progress['p99']:.0f} ms late {progress['late']:.0f}" if progress else ""
        return f"  {phase:<22} {servers}  clients {sample.clients}  trunks {sample.trunks_by_kernel}{load}"
