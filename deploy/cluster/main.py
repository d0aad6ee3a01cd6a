"""deploy/compose up | down | test."""

import signal
import sys
from typing import Never

import base_image
import cluster_test
import engine
import project

USAGE = """usage: compose up | down | test

up    builds the images and starts the cluster; starts an engine of our own where none runs
down  stops the cluster and deletes its data; stops the engine if `up` started it
test  starts a cluster of its own, breaks it under load, and stops it; exits with 0 if every check held
"""
NAME = "trunkline"


def up() -> int:
    if not engine.use():
        engine.start()
    cluster = project.Project(NAME, base_image.ensure())
    cluster.build(quiet=False)
    cluster.compose("up", "--detach", quiet=False)
    print(
        "\nThe cluster runs, on 127.0.0.1: proxies on 9001 and 9002, the controller's gRPC on 7070, Prometheus on 9090."
    )
    if engine.our_pid():
        print(f"It runs on an engine of its own; to use it: export DOCKER_HOST={engine.SOCKET}")
    return 0


def down() -> int:
    if not engine.use():
        print("no Docker engine runs, so there is no cluster to stop")
        return 0
    # Compose needs a name for the base image even if it builds nothing.
    project.Project(NAME, base_image.DEFAULT).down()
    engine.stop()
    return 0


def test() -> int:
    ours = not engine.use()
    try:
        if ours:
            print("no Docker engine runs: starting one", flush=True)
            engine.start()
        return cluster_test.run(base_image.ensure(), ignore_signals)
    finally:
        ignore_signals()
        if ours:
            engine.stop()


def ignore_signals() -> None:
    """Ignores signals while everything is being taken down."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)


def raise_interrupt(number: int, frame: object) -> Never:
    raise KeyboardInterrupt


def main(arguments: list[str]) -> int:
    commands = {"up": up, "down": down, "test": test}
    if arguments in (["-h"], ["--help"], ["help"]):
        print(USAGE, end="")
        return 0
    if len(arguments) != 1 or arguments[0] not in commands:
        print(USAGE, end="", file=sys.stderr)
        return 2
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, raise_interrupt)
    try:
        return commands[arguments[0]]()
    except (engine.EngineError, base_image.BaseImageError, project.CommandFailed) as failure:
        print(f"compose: {failure}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("compose: interrupted", file=sys.stderr)
        return 130


sys.exit(main(sys.argv[1:]))
