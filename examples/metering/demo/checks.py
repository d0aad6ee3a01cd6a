"""The conditions of --check, each with the measured value."""

from typing import Any

from children import Numbers

# Relative error allowed between share of weight and share of CPU. A few hundred readings per second of very different
# cost, within some seconds on one noisy machine, allow no tighter bound.
SHARE_TOLERANCE = 0.30
# While a neighbour uses CPU, the server's share must move by at least this part of the way to the remaining CPU.
NEIGHBOUR_WAY = 0.33
# The share must not overshoot by more than this factor.
NEIGHBOUR_TOO_FAR = 2.5
# A restarted controller must continue with its old weights. They may change once between the last sample and the kill,
# and once between the first report and the next sample.
RESTART_TOLERANCE = 0.05
COLLECTORS = 10_000


def _check(what: str, ok: bool, found: str) -> Numbers:
    return {"what": what, "ok": bool(ok), "found": found}


def checks_of(numbers: Numbers) -> list[Numbers]:
    return [*_readings(numbers["readings"]), *_weights(numbers["weights"]), *_connections(numbers["connections"])]


def _readings(readings: Numbers) -> Any:
    heard = readings["acknowledged_to_collectors"]
    yield _check("every reading sent was acknowledged", readings["sent"] == heard > 0, f"{heard} of {readings['sent']}")
    yield _check(
        "every acknowledged reading is stored, whole and once",
        readings["ok"] and readings["acknowledged"] == heard,
        f"missing {readings['missing']}, duplicated {readings['duplicated']}, corrupted {readings['corrupted']}",
    )
    yield _check(
        "no answer reached the wrong collector", readings["wrong_answers"] == 0, f"{readings['wrong_answers']}"
    )


def _weights(weights: Numbers) -> Any:
    true, found = weights["true_shares"], weights["settled_shares"]
    worst = max(true, key=lambda name: abs(found[name] / true[name] - 1))
    yield _check(
        "weights are in the order of the CPU limits",
        sorted(true, key=true.get) == sorted(found, key=found.get),
        ", ".join(f"{name} {share:.0%}" for name, share in found.items()),
    )
    yield _check(
        f"each share of the weight is within {SHARE_TOLERANCE:.0%} of the share of the CPU",
        abs(found[worst] / true[worst] - 1) <= SHARE_TOLERANCE,
        f"worst: {worst} has {found[worst]:.1%}, its CPU is {true[worst]:.1%}",
    )

    noisy = weights["neighbour"]
    before, during, left = noisy["share_before"], noisy["share_during"], noisy["true_share_during"]
    whole_way = true[noisy["server"]] - left
    yield _check(
        "the weight followed the noisy neighbour",
        NEIGHBOUR_WAY * whole_way <= before - during <= NEIGHBOUR_TOO_FAR * whole_way,
        f"{noisy['server']} went from {before:.0%} to {during:.0%}; {left:.0%} of the CPU was left to it",
    )

    restart = weights["controller_restart"]
    moved = max(abs(restart["after"][name] - share) for name, share in restart["before"].items())
    yield _check(
        "a restarted controller went on with the weights it had",
        moved <= RESTART_TOLERANCE,
        f"the largest change of a share is {moved:.1%}",
    )


def _connections(connections: Numbers) -> Any:
    held = connections["held_at_once"]
    yield _check("ten thousand collectors were connected at once", held >= COLLECTORS, f"{held}")
    most = max(connections["long_connections_by_kernel"], connections["long_connections_by_metrics"])
    yield _check(
        "long connections <= proxies x workers x endpoints x 4",
        0 < most <= connections["bound"],
        f"{most} of at most {connections['bound']}",
    )
