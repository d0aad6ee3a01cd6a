#include "tests/sim/scenario_writer.h"

#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/base/forwarding_mode.h"
#include "tests/sim/distribution.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/scenario.h"

namespace trunkline::sim {
namespace {

// Whole microseconds are exact.
std::string Time(SimTime time) {
  if (time % kSecond == 0) return absl::StrCat(time / kSecond, "s");
  if (time % kMillisecond == 0) return absl::StrCat(time / kMillisecond, "ms");
  return absl::StrCat(time / 1000, "us");
}
std::string Time(double seconds) { return Time(SimTime{std::llround(seconds * 1e6)} * 1000); }
std::string Percent(double share) { return absl::StrFormat("%.10g%%", 100 * share); }

std::string Random(const Distribution& distribution) {
  const bool constant = distribution.shape == Distribution::Shape::kConstant;
  std::string text = absl::StrCat(constant ? "constant " : "exponential ", Time(distribution.mean));
  if (distribution.tail_share > 0) {
    absl::StrAppend(&text, " tail ", Percent(distribution.tail_share), " ",
                    Time(distribution.tail_mean));
  }
  return text;
}

std::string Server(const ServerSpec& server) {
  std::string text =
      absl::StrFormat("server %s cores %d speed %.10g", server.name, server.cores, server.speed);
  if (server.quota > 0) absl::StrAppendFormat(&text, " quota %.10g", server.quota);
  if (server.memory > 0) absl::StrAppend(&text, " memory ", Percent(server.memory));
  if (server.parallel_waits > 0) absl::StrAppend(&text, " waits ", server.parallel_waits);
  if (server.distance > 0) absl::StrAppend(&text, " distance ", Time(server.distance));
  if (server.agentless) absl::StrAppend(&text, " agentless");
  return text;
}

const char* Mode(ForwardingMode mode) {
  if (mode == ForwardingMode::kMessage) return "message";
  return mode == ForwardingMode::kDirect ? "direct" : "tunnel";
}

// An action of a server, an agent or the controller.
std::string Deed(const Action& action) {
  switch (action.kind) {
    case ActionKind::kLoad:
      return Percent(action.value);
    case ActionKind::kServerSpeed:
      return absl::StrFormat("speed %.10g", action.value);
    case ActionKind::kServerSteal:
      return absl::StrCat("neighbour ", Percent(action.value));
    case ActionKind::kServerMemory:
      return absl::StrCat("memory ", Percent(action.value));
    case ActionKind::kServerFails:
      return absl::StrCat("fails ", action.text);
    case ActionKind::kServerFreezes:
    case ActionKind::kAgentFreezes:
      return "freezes";
    case ActionKind::kServerThaws:
      return "thaws";
    case ActionKind::kServerDies:
    case ActionKind::kAgentDies:
    case ActionKind::kControllerDies:
      return "dies";
    case ActionKind::kServerStarts:
    case ActionKind::kControllerStarts:
      return "starts";
    case ActionKind::kServerCold:
      return absl::StrFormat("cold %.10gx", action.value);
    case ActionKind::kAgentSilent:
      return "silent";
    case ActionKind::kAgentRuns:
      return "runs";
    case ActionKind::kAgentClaims:
      return absl::StrFormat("claims %s %.10g", action.text, action.value);
    case ActionKind::kAgentReadsIdle:
      return "reads_idle_group";
    case ActionKind::kAgentCountsSockets:
      return "counts_sockets";
    case ActionKind::kAgentHonest:
      return "honest";
    case ActionKind::kAgentLoses:
      return absl::StrCat("loses ", Percent(action.value));
    case ActionKind::kAgentRepeats:
      return absl::StrCat("repeats ", Percent(action.value));
    case ActionKind::kAgentDelays:
      return absl::StrCat("delays ", Time(action.value));
    case ActionKind::kControllerStartsEmpty:
      return "starts empty";
  }
  return "";
}

}  // namespace

std::string WriteAction(const Scenario& scenario, const Action& action) {
  std::string subject = "load";
  if (action.kind >= ActionKind::kControllerDies) {
    subject = "controller";
  } else if (action.kind >= ActionKind::kAgentSilent) {
    subject = absl::StrCat("agent ", scenario.servers[action.server].name);
  } else if (action.kind >= ActionKind::kServerSpeed) {
    subject = absl::StrCat("server ", scenario.servers[action.server].name);
  }
  return absl::StrCat("at ", Time(action.at), " ", subject, " ", Deed(action));
}

std::string WriteScenario(const Scenario& scenario) {
  std::string text =
      absl::StrCat("purpose ", scenario.purpose, "\nmode ", Mode(scenario.mode), "\n");
  for (const ServerSpec& server : scenario.servers) absl::StrAppend(&text, Server(server), "\n");
  absl::StrAppend(&text, "request cpu ", Random(scenario.cpu));
  if (scenario.wait.mean > 0) absl::StrAppend(&text, " wait ", Random(scenario.wait));
  absl::StrAppendFormat(&text, " bytes %.10g\nload %s\n", scenario.bytes, Percent(scenario.load));
  if (scenario.burst.every > 0) {
    absl::StrAppendFormat(&text, "burst %.10gx for %s every %s\n", scenario.burst.factor,
                          Time(scenario.burst.length), Time(scenario.burst.every));
  }
  if (scenario.long_flows.share > 0) {
    absl::StrAppendFormat(&text, "long %s requests %d every %s\n",
                          Percent(scenario.long_flows.share), scenario.long_flows.requests,
                          Time(scenario.long_flows.every));
  }
  absl::StrAppendFormat(
      &text,
      "proxies %d\nduration %s\ntimeout %s\nobjective %s\nreport_interval %s\nsteady %s to %s\n"
      "settle after %s\n",
      scenario.proxies, Time(scenario.duration), Time(scenario.timeout), Time(scenario.objective),
      Time(scenario.report_interval), Time(scenario.steady_from), Time(scenario.steady_end()),
      Time(scenario.settle_after));
  if (scenario.watched) {
    absl::StrAppend(&text, "watch ", scenario.servers[*scenario.watched].name, "\n");
  }
  for (const Action& action : scenario.actions) {
    absl::StrAppend(&text, WriteAction(scenario, action), "\n");
  }
  return text;
}

}  // namespace trunkline::sim
