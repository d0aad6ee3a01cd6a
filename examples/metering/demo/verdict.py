"""From samples and results to numbers, and from numbers to a summary and to what --check insists on."""

import json
import os
import subprocess

from load import SLO_MS, window
from story import NEIGHBOUR_SHARE

# Of a span, the last part in which things have settled.
SETTLED = 0.4
# A share of the weight may be off the share of the CPU by this much of it: a few hundred readings a second of very
# different cost say no more than that within some seconds, and the noise of one machine adds to it.
SHARE_TOLERANCE = 0.30
# While a neighbour takes its part, the server's share must have made at least this part of the way to what is left.
NEIGHBOUR_WAY = 0.33
# A restarted controller must go on with the weights it had; they may have moved once more between the last look and
# the kill, and between the first report and the next look.
RESTART_TOLERANCE = 0.05


def settled(span, part=SETTLED):
    begin, end = span
    return end - part * (end - begin), end


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else 0.0


class Verdict:
    def __init__(self, cluster, observer, story, folder):
        self._cluster, self._observer, self._story = cluster, observer, story
        self._folder = folder
        self._results = {load.name: load.result() for load in story.loads}
        self.numbers = {
            "machine": {"cores": os.cpu_count()},
            "load": {"rate_per_second": story.rate, "cpu_seconds_per_reading": story.cpu_per_reading,
                     "slo_seconds": SLO_MS / 1000},
            "policies": {"adaptive": self._policy("adaptive", story.spans["settle"]),
                         "round_robin": self._policy("round-robin", story.spans["round robin"])},
            "weights": self._weights(),
            "events": self._events(),
            "connections": self._connections(),
            "readings": self._readings(),
        }
        self.numbers["checks"] = self._checks()

    def ok(self):
        return all(check["ok"] for check in self.numbers["checks"])

    # -- numbers --------------------------------------------------------------------------------------

    def _mean_of(self, span, column):
        samples = self._observer.between(*span)
        return {server.name: mean(s.servers[server.name][column] for s in samples)
                for server in self._cluster.servers}

    def _policy(self, load_name, span):
        span = settled(span)
        utilization = self._mean_of(span, "utilization")
        average = mean(utilization.values())
        return {**window(self._results[load_name], *span), "utilization": utilization,
                "max_over_average_utilization": max(utilization.values()) / average if average else 0.0}

    def _true_shares(self, lost=None):
        """`lost`: cores that are not there for a server's own work, by server."""
        left = {s.name: s.cores - (lost or {}).get(s.name, 0) for s in self._cluster.servers}
        return {name: cores / sum(left.values()) for name, cores in left.items()}

    def _flow_shares(self, span):
        """Who got how much of the connections."""
        samples = self._observer.between(*span)
        flows = {s.name: samples[-1].servers[s.name]["flows"] - samples[0].servers[s.name]["flows"]
                 for s in self._cluster.servers}
        return {name: count / max(1, sum(flows.values())) for name, count in flows.items()}

    def _weights(self):
        spans = self._story.spans
        noisy = self._story.neighbour_server()
        quiet = self._mean_of(settled(spans["settle"]), "share")
        return {
            "cpu_limits_cores": {s.name: s.cores for s in self._cluster.servers},
            "true_shares": self._true_shares(),
            "settled_shares": quiet,
            "settled_flow_shares": self._flow_shares(settled(spans["settle"])),
            "neighbour": {
                "server": noisy.name,
                "share_before": quiet[noisy.name],
                "share_during": self._mean_of(settled(spans["neighbour"]), "share")[noisy.name],
                "true_share_during":
                    self._true_shares({noisy.name: NEIGHBOUR_SHARE * noisy.cores})[noisy.name],
            },
            "controller_restart": {"before": self._story.weights_before_controller_kill,
                                   "after": self._story.weights_after_controller_restart},
        }

    def _events(self):
        spans, adaptive = self._story.spans, self._results["adaptive"]
        names = ("neighbour", "server killed", "server back", "controller killed", "controller back")
        return {name: window(adaptive, *spans[name]) for name in names}

    def _connections(self):
        samples = self._observer.samples
        return {
            "client_connections": sum(r["connections"] + r["held"]["open"] for r in self._results.values()),
            "clients_at_once": max(s.clients for s in samples),
            "held_at_once": self._results["ten-thousand"]["held"]["open"],
            "long_connections_by_kernel": max(s.trunks_by_kernel for s in samples),
            "long_connections_by_metrics": max(s.trunks_by_metrics for s in samples),
            "bound": self._cluster.connection_bound(),
        }

    def _readings(self):
        path = os.path.join(self._folder, "storecheck.json")
        arguments = [self._cluster.program("storecheck"), "--db", self._cluster.database, "--json", path]
        for load in self._story.loads:
            arguments += ["--acked", load.acked_path]
        self.storecheck_output = subprocess.run(arguments, capture_output=True, text=True).stdout
        with open(path) as file:
            stored = json.load(file)
        results = self._results.values()
        return {**stored, "sent": sum(r["sent"] for r in results),
                "acknowledged_to_collectors": sum(r["acknowledged"] for r in results),
                "resends": sum(r["resends"] for r in results),
                "wrong_answers": sum(r["wrong_answers"] for r in results)}

    # -- checks ---------------------------------------------------------------------------------------

    def _checks(self):
        readings, connections = self.numbers["readings"], self.numbers["connections"]
        weights = self.numbers["weights"]
        true, found = weights["true_shares"], weights["settled_shares"]
        worst = max(true, key=lambda name: abs(found[name] / true[name] - 1))
        noisy = weights["neighbour"]
        way = ((noisy["share_before"] - noisy["share_during"])
               / max(1e-9, true[noisy["server"]] - noisy["true_share_during"]))
        before, after = weights["controller_restart"]["before"], weights["controller_restart"]["after"]
        moved = max(abs(after[name] - before[name]) for name in before)
        long_connections = max(connections["long_connections_by_kernel"],
                               connections["long_connections_by_metrics"])

        def check(what, ok, found):
            return {"what": what, "ok": bool(ok), "found": found}

        return [
            check("every reading sent was acknowledged",
                  readings["sent"] == readings["acknowledged_to_collectors"] > 0,
                  f"{readings['acknowledged_to_collectors']} of {readings['sent']}"),
            check("every acknowledged reading is stored, whole and once",
                  readings["ok"] and readings["acknowledged"] == readings["acknowledged_to_collectors"],
                  f"missing {readings['missing']}, duplicated {readings['duplicated']}, "
                  f"corrupted {readings['corrupted']}"),
            check("no answer reached the wrong collector", readings["wrong_answers"] == 0,
                  f"{readings['wrong_answers']}"),
            check("weights are in the order of the CPU limits",
                  sorted(true, key=true.get) == sorted(found, key=found.get),
                  ", ".join(f"{name} {share:.0%}" for name, share in found.items())),
            check(f"each share of the weight is within {SHARE_TOLERANCE:.0%} of the share of the CPU",
                  abs(found[worst] / true[worst] - 1) <= SHARE_TOLERANCE,
                  f"worst: {worst} has {found[worst]:.1%}, its CPU is {true[worst]:.1%}"),
            check("the weight followed the noisy neighbour", way >= NEIGHBOUR_WAY,
                  f"{noisy['server']} went from {noisy['share_before']:.0%} to {noisy['share_during']:.0%}, "
                  f"{noisy['true_share_during']:.0%} of the CPU was left to it"),
            check("a restarted controller went on with the weights it had", moved <= RESTART_TOLERANCE,
                  f"the largest change of a share is {moved:.1%}"),
            check("ten thousand collectors were connected at once", connections["held_at_once"] >= 10_000,
                  f"{connections['held_at_once']}"),
            check("long connections <= proxies x workers x endpoints x 4",
                  0 < long_connections <= connections["bound"],
                  f"{long_connections} of at most {connections['bound']}"),
        ]

    # -- summary --------------------------------------------------------------------------------------

    def summary(self):
        n = self.numbers
        weights, connections, readings = n["weights"], n["connections"], n["readings"]
        yield "What happened"
        yield f"  load: {n['load']['rate_per_second']:.0f} readings/s, {n['load']['cpu_seconds_per_reading'] * 1e3:.2f} ms of CPU each"
        yield ""
        yield f"  {'server':<10}{'CPU limit':>10}{'its share':>11}{'weight share':>14}{'flow share':>12}"
        for name, cores in weights["cpu_limits_cores"].items():
            yield (f"  {name:<10}{cores:>8.2f} c{weights['true_shares'][name]:>11.1%}"
                   f"{weights['settled_shares'][name]:>14.1%}{weights['settled_flow_shares'][name]:>12.1%}")
        yield ""
        yield f"  {'same load under':<17}{'max/avg utilization':>20}{'misses (> %d ms)' % SLO_MS:>19}{'p99':>10}   utilization of each server"
        for name, policy in n["policies"].items():
            each = ", ".join(f"{u:.0%}" for u in policy["utilization"].values())
            yield (f"  {name:<17}{policy['max_over_average_utilization']:>20.2f}"
                   f"{policy['misses']:>10} {policy['miss_ratio']:>8.2%}"
                   f"{policy['median_p99_seconds'] * 1e3:>7.0f} ms   {each}")
        yield ""
        for name, event in n["events"].items():
            yield f"  {name:<18} {event['sent']:>6} readings, {event['misses']:>4} missed {SLO_MS} ms"
        yield ""
        yield (f"  {connections['client_connections']} client connections, up to {connections['clients_at_once']} at once, "
               f"over {connections['long_connections_by_kernel']} long connections (bound {connections['bound']})")
        yield (f"  {readings['acknowledged']} readings acknowledged, {readings['stored']} stored "
               f"({readings['unacknowledged']} of them never heard so), {readings['resends']} resends; missing {readings['missing']}, "
               f"duplicated {readings['duplicated']}, corrupted {readings['corrupted']}")
        yield ""
        for check in n["checks"]:
            yield f"  {'ok  ' if check['ok'] else 'FAIL'}  {check['what']}: {check['found']}"
