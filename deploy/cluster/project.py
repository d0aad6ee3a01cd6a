"""Drives one running copy of compose.yaml through the Compose that the machine has."""

import json
import os
import subprocess

FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MOUNTED = ("config", "prometheus")
STOP_SECONDS = 5


class CommandFailed(RuntimeError):
    pass


def compose_command():
    v2 = subprocess.run(["docker", "compose", "version"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return ["docker", "compose"] if v2.returncode == 0 else ["docker-compose"]


class Project:
    """One Compose project. Thread-safe: it has no state that changes."""

    def __init__(self, name, base_image, settings=None):
        self.name = name
        self._compose = compose_command() + ["--project-name", name, "--file", os.path.join(FOLDER, "compose.yaml")]
        self._environment = {**os.environ, "TRUNKLINE_BASE": base_image, **(settings or {})}

    def compose(self, *arguments, quiet=True, profile=None):
        """Returns the output of the command; raises CommandFailed with the output if it fails."""
        profiles = ["--profile", profile] if profile else []
        return self._run([*self._compose, *profiles, *arguments], quiet)

    def docker(self, *arguments):
        return self._run(["docker", *arguments], quiet=True)

    def build(self, quiet, profile=None):
        make_readable()
        self.compose("build", quiet=quiet, profile=profile)

    def container(self, service):
        """Returns the id of a service's container, running or not."""
        ids = self.docker("ps", "--all", "--quiet", "--no-trunc",
                          "--filter", f"label=com.docker.compose.project={self.name}",
                          "--filter", f"label=com.docker.compose.service={service}").split()
        if len(ids) != 1:
            raise CommandFailed(f"{service} has {len(ids)} containers, not one")
        return ids[0]

    def containers(self):
        """Returns {service: output of `docker inspect`} of every container."""
        ids = self.docker("ps", "--all", "--quiet", "--filter", f"label=com.docker.compose.project={self.name}").split()
        details = json.loads(self.docker("inspect", *ids)) if ids else []
        return {item["Config"]["Labels"]["com.docker.compose.service"]: item for item in details}

    def execute(self, service, *command):
        return self.docker("exec", self.container(service), *command)

    def published(self, service, port):
        """Returns the host:port at which a service's port is published; a restart can change it."""
        return self.docker("port", self.container(service), f"{port}/tcp").split()[0]

    def down(self):
        self.compose("down", "--volumes", "--remove-orphans", "--timeout", str(STOP_SECONDS), profile="load")

    def left_behind(self):
        """Returns the containers, networks and volumes that still belong to the project."""
        label = f"label=com.docker.compose.project={self.name}"
        return [f"{kind} {name}"
                for kind, command in (("container", ["ps", "--all", "--format", "{{.Names}}"]),
                                      ("network", ["network", "ls", "--format", "{{.Name}}"]),
                                      ("volume", ["volume", "ls", "--format", "{{.Name}}"]))
                for name in self.docker(*command, "--filter", label).split()]

    def _run(self, command, quiet):
        result = subprocess.run(command, env=self._environment, text=True, stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE if quiet else None, stderr=subprocess.STDOUT if quiet else None,
                                start_new_session=quiet)
        if result.returncode != 0:
            raise CommandFailed(f"{' '.join(command)}: exit code {result.returncode}\n{result.stdout or ''}")
        return result.stdout or ""


def make_readable():
    """Makes mounted files readable for all, because containers do not run as their owner."""
    for folder in MOUNTED:
        for entry in os.scandir(os.path.join(FOLDER, folder)):
            os.chmod(entry.path, os.stat(entry.path).st_mode | 0o444)
