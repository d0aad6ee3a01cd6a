"""Modbus in `message` mode, with masters and devices built on libmodbus."""

from typing import Any

import pytest

from cluster import TESTS_DIR, Cluster, message_service
from processes import Process, run
from traffic import read_exactly
from waiting import SANITIZER, eventually

_MASTERS = 24
_ROUNDS = 30 if SANITIZER else 120
# Long enough for any answer on a busy machine, and short enough for a test to wait for.
_REPLY_TIMEOUT_SECONDS = 3
_MUTE_REGISTER = 9000
_LATE_REGISTER = 9001


class Device:
    """A device behind a proxy with two workers, and the masters that query it."""

    def __init__(self, cluster: Cluster, connections: int, check: dict[str, Any] | None = None, **options: Any) -> None:
        self._cluster = cluster
        self._process = cluster.add_process("device", [TESTS_DIR / "modbus_device", connections]).start()
        address = self._process.wait_for_line(r"listening on (\S+)").group(1)
        service = message_service(
            {"modbus_tcp": {}},
            address,
            max_connections=connections,
            reply_timeout=f"{_REPLY_TIMEOUT_SECONDS}s",
            **options,
        )
        if check is not None:
            service["health_check"] = check
        cluster.add_controller({"plc": service})
        self.proxy = cluster.add_proxy()
        cluster.start()

    def masters(self, *arguments: object) -> list[object]:
        return [TESTS_DIR / "modbus_masters", self.proxy.port("plc"), *arguments]

    def run_masters(self, rounds: int = _ROUNDS) -> None:
        """Runs all masters and checks that each got its own answers."""
        said = run(self.masters(_MASTERS, rounds)).stdout
        assert f"{_MASTERS * rounds} good, 0 wrong, 0 failed" in said, said

    def start_reader(self, register: int, until: str) -> Process:
        """Starts a master that reads `register`; returns once the device has logged `until`."""
        reader = self._cluster.add_process("reader", self.masters("read", register)).start()
        self._process.wait_for_line(until)
        return reader

    def count(self, line: str) -> int:
        return self._process.log().count(line)

    def assert_bore(self, connections: int) -> None:
        """Checks that the device had all of its connections and refused none."""
        assert self.count("connection taken") == connections
        assert self.count("connection refused") == 0
        assert self.count("connection ended") == 0


def heard(reader: Process) -> tuple[str, float]:
    """Returns what the reader received, and after how many seconds."""
    said, seconds = reader.wait_for_line(r"(.*) after (\S+) s\n").groups()
    reader.wait()
    return said, float(seconds)


@pytest.mark.parametrize("connections", [1, 2])
def test_masters_with_equal_transaction_ids_share_a_devices_connections(cluster: Cluster, connections: int) -> None:
    device = Device(cluster, connections)
    device.run_masters()
    device.assert_bore(connections)
    assert device.proxy.metric("proxy_clients_accepted_total") == _MASTERS
    # Each round has a write, a read and an exception.
    requests = 3 * _MASTERS * _ROUNDS
    assert device.proxy.metric("proxy_shared_requests_total") == requests
    assert device.proxy.metric("proxy_shared_replies_total") == requests


def test_health_check_by_a_register_has_one_of_the_devices_connections(cluster: Cluster) -> None:
    # Reads register 0 of unit 1: the answer has 2 bytes of data.
    read = {"send_hex": "0001 0000 0006 01 03 0000 0001", "expect_hex": "0001 0000 0005 01 03 02"}
    device = Device(cluster, 2, check={"tcp": read, "interval": "2s", "timeout": "2s"})
    device.run_masters()
    eventually("it was checked", lambda: device.proxy.metric("proxy_endpoint_check_passes_total") > 0)
    assert device.proxy.metric("proxy_endpoint_check_failures_total") == 0
    assert device.count("connection refused") == 0


def test_device_that_discards_waiting_requests_gets_one_at_a_time(cluster: Cluster) -> None:
    device = Device(cluster, 1, max_in_flight=1)
    with device.proxy.connect("plc") as client:
        # libmodbus takes half a second for an unknown function, and discards what arrived meanwhile.
        client.sendall(bytes.fromhex("4711 0000 0002 01 41"))
        device.run_masters()
        assert read_exactly(client, 9) == bytes.fromhex("4711 0000 0003 01 c1 01")
    device.assert_bore(1)


def test_unanswered_request_ends_only_its_client(cluster: Cluster) -> None:
    device = Device(cluster, 1)
    reader = device.start_reader(_MUTE_REGISTER, "left unanswered")
    device.run_masters()
    said, seconds = heard(reader)
    assert said.startswith("error") and seconds >= 0.9 * _REPLY_TIMEOUT_SECONDS
    assert device.proxy.metric("proxy_shared_reply_timeouts_total") == 1
    # The shared connection stays in use.
    device.run_masters(rounds=3)
    device.assert_bore(1)


def test_late_answer_reaches_its_client_after_others(cluster: Cluster) -> None:
    device = Device(cluster, 1)
    reader = device.start_reader(_LATE_REGISTER, "will answer late")
    device.run_masters()
    assert heard(reader)[0] == f"value {_LATE_REGISTER}"
    device.assert_bore(1)
