// One scenario of the simulator as values: the cluster, its load, what happens to it, and the
// result that is expected. scenario_reader.h reads it from a text file. Immutable once read.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

#include "common/base/forwarding_mode.h"
#include "tests/sim/distribution.h"
#include "tests/sim/event_queue.h"

namespace trunkline::sim {

struct ServerSpec {
  std::string name;
  int cores = 1;      // threads that run at once
  double speed = 1;   // CPU work per second of one core; agents do not report it
  double quota = 0;   // cores; 0: none
  double memory = 0;  // share of its limit
  // Requests that may be in their waiting part at once; 0: no limit.
  int parallel_waits = 0;
  SimTime distance = 0;    // added to the round trip
  bool agentless = false;  // only the configuration names it; not in tunnel mode

  double usable_cores() const { return quota > 0 ? quota : cores; }
  double capacity() const { return usable_cores() * speed; }
  friend bool operator==(const ServerSpec&, const ServerSpec&) = default;
};

enum class ActionKind {
  kLoad,          // value: share of the capacity, as in Scenario::load
  kServerSpeed,   // value
  kServerSteal,   // value: share of its CPU that other programs use
  kServerMemory,  // value
  kServerFails,   // text: "reset", "hangup", "refuse" or "no"
  kServerFreezes,
  kServerThaws,
  kServerDies,
  kServerStarts,
  kServerCold,   // value: factor of the CPU time just after a start
  kAgentSilent,  // its reports are lost; its stream stays
  kAgentDies,
  kAgentFreezes,
  kAgentRuns,           // ends the three above
  kAgentClaims,         // text: "utilization" or "work"; value
  kAgentReadsIdle,      // the control group of an idle program
  kAgentCountsSockets,  // open flows as work
  kAgentHonest,
  kAgentLoses,    // value: share of its reports
  kAgentRepeats,  // value: share of its reports
  kAgentDelays,   // value: seconds
  kControllerDies,
  kControllerStarts,  // with its state
  kControllerStartsEmpty,
};

struct Action {
  SimTime at = 0;
  ActionKind kind = ActionKind::kLoad;
  size_t server = 0;  // index, for servers and agents
  double value = 0;
  std::string text;
};

struct Burst {
  double factor = 1;
  SimTime length = 0;
  SimTime every = 0;  // 0: none
};

// Flows of several requests.
struct LongFlows {
  double share = 0;  // of the requests
  int requests = 1;
  SimTime every = 0;  // from one reply to the next request
};

enum class Measure { kImbalance, kWeights, kSwing, kMisses, kShare, kSettle, kP99 };

// A bound of one result, for the adaptive policy. The bound is `factor` times that of the rule
// `than`, or `factor` itself if `than` is empty.
struct Expectation {
  Measure measure = Measure::kImbalance;
  double factor = 0;
  std::string than;
  std::string text;  // as in the file
  int line = 0;
};

struct Scenario {
  std::string name;  // of the file, without its extension
  std::string file;
  std::string purpose;
  ForwardingMode mode = ForwardingMode::kTunnel;
  SimTime duration = 180 * kSecond;
  int proxies = 2;
  std::vector<ServerSpec> servers;  // sorted by name
  Distribution cpu{.mean = 0.004};
  Distribution wait;
  double load = 0.7;  // share of the capacity
  Burst burst;
  LongFlows long_flows;
  SimTime timeout = 2 * kSecond;
  SimTime objective = 50 * kMillisecond;
  SimTime report_interval = kSecond;
  double bytes = 600;  // of a request and its reply
  // The results are measured between these times.
  SimTime steady_from = 60 * kSecond;
  SimTime steady_to = 0;  // 0: the end
  SimTime settle_after = 0;
  std::optional<size_t> watched;  // server whose share of the flows is reported
  std::vector<Action> actions;    // sorted by time
  std::vector<Expectation> expectations;

  // CPU work per second of all servers, as it is at the start.
  double capacity() const;
  SimTime steady_end() const { return steady_to > 0 ? steady_to : duration; }
};

const char* NameOf(Measure measure);

}  // namespace trunkline::sim
