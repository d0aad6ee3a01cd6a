"""Drives one running copy of compose.yaml through the Compose that the machine has."""

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
    """One Compose project. Thread-safe: it has no state that changes."""

    def __init__(self, name: str, base_image: str, settings: dict[str, str] | None = None) -> None:
        self.name = name
        self._compose = compose_command() + ["--project-name", name, "--file", os.path.join(FOLDER, "compose.yaml")]
        self._environment = {**os.environ, "TRUNKLINE_BASE": base_image, **(settings or {})}

    def compose(self, *arguments: str, quiet: bool = True, profile: str | None = None) -> str:
        """What the command printed; raises CommandFailed with all of it."""
        profiles = ["--profile", profile] if profile else []
        return self._run([*self._compose, *profiles, *arguments], quiet)

    def docker(self, *arguments: str) -> str:
        return self._run(["docker", *arguments], quiet=True)

    def build(self, quiet: bool, profile: str | None = None) -> None:
        make_readable()
        self.compose("build", quiet=quiet, profile=profile)

    def container(self, service: str) -> str:
        """The id of a service's container, running or not."""
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
        """Service -> what `docker inspect` says, of every container there is."""
        ids = self.docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={self.name}").split()
        details = json.loads(self.docker("inspect", *ids)) if ids else []
        return {item["Config"]["Labels"]["com.docker.compose.service"]: item for item in details}

    def execute(self, service: str, *command: str) -> str:
        return self.docker("exec", self.container(service), *command)

    def published(self, service: str, port: int) -> str:
        """host:port where a service's port is reached; a restart can change it."""
        return self.docker("port", self.container(service), f"{port}/tcp").split()[0]

    def down(self) -> None:
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", str(STOP_SECONDS), profile="load")

    def left_behind(self) -> list[str]:
        """Containers, networks and volumes that still bear the project's name."""
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
    """Containers do not run as the files' owner: what is mounted must be readable whatever the checkout's umask was."""
    for folder in MOUNTED:
        for entry in os.scandir(os.path.join(FOLDER, folder)):
            os.chmod(entry.path, os.stat(entry.path).st_mode | 0o444)
