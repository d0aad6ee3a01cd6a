"""One running copy of compose.yaml, driven through the installed version of Compose."""

import json
import os
import subprocess
from typing import Any

FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MOUNTED = ("config", "prometheus")
STOP_SECONDS = 5


class CommandFailed(RuntimeError):
    pass


def compose_command() -> list[str]:
    v2 = subprocess.run(["docker", "compose", "version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return ["docker", "compose"] if v2.returncode == 0 else ["docker-compose"]


class Project:
    """A Compose project. Thread-safe, because it does not change after construction."""

    def __init__(self, name: str, base_image: str, settings: dict[str, str] | None = None) -> None:
        self.name = name
        self._compose = compose_command() + ["--project-name", name, "--file", os.path.join(FOLDER, "compose.yaml")]
        self._environment = {**os.environ, "TRUNKLINE_BASE": base_image, **(settings or {})}

    def compose(self, *arguments: str, quiet: bool = True, profile: str | None = None) -> str:
        """Returns the command's output; raises CommandFailed with all of it."""
        profiles = ["--profile", profile] if profile else []
        return self._run([*self._compose, *profiles, *arguments], quiet)

    def docker(self, *arguments: str) -> str:
        return self._run(["docker", *arguments], quiet=True)

    def build(self, quiet: bool, profile: str | None = None) -> None:
        make_readable()
        self.compose("build", quiet=quiet, profile=profile)

    def container(self, service: str) -> str:
        """Returns the id of a service's container, running or not."""
        ids = self.docker(
            "ps",
            "--all",
            "--quiet",
            "--no-trunc",
            "--filter",
            f"label=com.docker.compose.project={self.name}",
            "--filter",
            f"label=com.docker.compose.service={service}",
        ).split()
        if len(ids) != 1:
            raise CommandFailed(f"{service} has {len(ids)} containers, not one")
        return ids[0]

    def containers(self) -> dict[str, Any]:
        """Returns what `docker inspect` prints of every container, by service."""
        ids = self.docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={self.name}").split()
        details = json.loads(self.docker("inspect", *ids)) if ids else []
        return {item["Config"]["Labels"]["com.docker.compose.service"]: item for item in details}

    def execute(self, service: str, *command: str) -> str:
        return self.docker("exec", self.container(service), *command)

    def published(self, service: str, port: int) -> str:
        """Returns host:port of a service's published port, which a restart can change."""
        return self.docker("port", self.container(service), f"{port}/tcp").split()[0]

    def down(self) -> None:
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", str(STOP_SECONDS), profile="load")

    def left_behind(self) -> list[str]:
        """Returns the containers, networks and volumes that still have the project's name."""
        label = f"label=com.docker.compose.project={self.name}"
        return [
            f"{kind} {name}"
            for kind, command in (
                ("container", ["ps", "--all", "--format", "{{.Names}}"]),
                ("network", ["network", "ls", "--format", "{{.Name}}"]),
                ("volume", ["volume", "ls", "--format", "{{.Name}}"]),
            )
            for name in self.docker(*command, "--filter", label).split()
        ]

    def _run(self, command: list[str], quiet: bool) -> str:
        result = subprocess.run(
            command,
            env=self._environment,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE if quiet else None,
            stderr=subprocess.STDOUT if quiet else None,
            start_new_session=quiet,
        )
        if result.returncode != 0:
            raise CommandFailed(f"{' '.join(command)}: exit code {result.returncode}\n{result.stdout or ''}")
        return result.stdout or ""


def make_readable() -> None:
    """Makes mounted files readable whatever the umask of the checkout, because containers do not run as their owner."""
    for folder in MOUNTED:
        for entry in os.scandir(os.path.join(FOLDER, folder)):
            os.chmod(entry.path, os.stat(entry.path).st_mode | 0o444)
