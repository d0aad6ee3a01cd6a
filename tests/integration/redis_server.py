"""A real redis-server for tests, with or without a password."""

import re
import subprocess
from typing import Any

from cluster import Cluster
from ports import reserve_port
from processes import run, tool
from waiting import eventually


class RedisServer:
    """`options` are added to its command line. With a `password`, the default user needs it."""

    def __init__(self, cluster: Cluster, name: str, *options: object, password: str = "") -> None:
        self.port = reserve_port()
        self._password = password
        self.process = cluster.add_process(
            name,
            [
                tool("redis-server"),
                "--port",
                self.port,
                "--bind",
                "127.0.0.1",
                "--save",
                "",
                "--appendonly",
                "no",
                "--daemonize",
                "no",
                "--dir",
                cluster.folder,
                *(["--requirepass", password] if password else []),
                *options,
            ],
        )
        self.start()

    def start(self) -> None:
        self.process.start()
        eventually("redis answers", lambda: "PONG" in self.cli("ping", check=False).stdout)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def cli(self, *command: object, **options: Any) -> subprocess.CompletedProcess[str]:
        """Runs redis-cli directly against the server."""
        login = ["--pass", self._password, "--no-auth-warning"] if self._password else []
        return run([tool("redis-cli"), "-p", self.port, *login, *command], **options)

    def connections(self) -> int:
        """Returns how many connections the server has besides the one that asks."""
        return len(self.cli("client", "list").stdout.strip().splitlines()) - 1

    def calls(self) -> dict[str, int]:
        served = self.cli("info", "commandstats").stdout
        return {name: int(count) for name, count in re.findall(r"cmdstat_(\w+):calls=(\d+)", served)}
