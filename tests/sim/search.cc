#include "tests/sim/search.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/forwarding_mode.h"
#include "common/base/random.h"
#include "tests/sim/cluster.h"
#include "tests/sim/distribution.h"
#include "tests/sim/event_queue.h"
#include "tests/sim/measures.h"
#include "tests/sim/pick_rule.h"
#include "tests/sim/scenario.h"

namespace trunkline::sim {
namespace {

constexpr SimTime kDuration = 120 * kSecond;

template <typename T, size_t kSize>
T OneOf(const std::array<T, kSize>& values, FastRandom& random) {
  return values.at(random.Next() % kSize);
}

Action RandomAction(size_t servers, FastRandom& random) {
  constexpr std::array kKinds = {ActionKind::kLoad,
                                 ActionKind::kServerSpeed,
                                 ActionKind::kServerSteal,
                                 ActionKind::kServerMemory,
                                 ActionKind::kServerFails,
                                 ActionKind::kServerFreezes,
                                 ActionKind::kServerThaws,
                                 ActionKind::kServerDies,
                                 ActionKind::kServerStarts,
                                 ActionKind::kAgentSilent,
                                 ActionKind::kAgentDies,
                                 ActionKind::kAgentFreezes,
                                 ActionKind::kAgentRuns,
                                 ActionKind::kAgentClaims,
                                 ActionKind::kAgentReadsIdle,
                                 ActionKind::kAgentHonest,
                                 ActionKind::kAgentLoses,
                                 ActionKind::kAgentRepeats,
                                 ActionKind::kAgentDelays,
                                 ActionKind::kControllerDies,
                                 ActionKind::kControllerStarts,
                                 ActionKind::kAgentRuns,
                                 ActionKind::kServerStarts,
                                 ActionKind::kControllerStarts,
                                 ActionKind::kAgentCountsSockets,
                                 ActionKind::kControllerStartsEmpty};
  constexpr double kMostLoad = 0.95, kMostStolen = 0.6, kSlowest = 0.25, kMostDelay = 20;
  Action action{.kind = OneOf(kKinds, random)};
  action.at =
      static_cast<SimTime>(random.Next() % static_cast<uint64_t>(kDuration / kSecond)) * kSecond;
  action.server = random.Next() % servers;
  const double uniform = static_cast<double>(random.Next() % 101) / 100;
  switch (action.kind) {
    case ActionKind::kLoad:
      action.value = kMostLoad * uniform + 0.01;
      break;
    case ActionKind::kServerSpeed:
      action.value = kSlowest + 4 * uniform;
      break;
    case ActionKind::kServerSteal:
      action.value = kMostStolen * uniform;
      break;
    case ActionKind::kServerFails:
      action.text = OneOf(std::array{"reset", "hangup", "refuse", "no"}, random);
      break;
    case ActionKind::kAgentClaims:
      action.text = OneOf(std::array{"utilization", "work"}, random);
      action.value = action.text == "work" ? 1e15 * uniform : 2 * uniform;
      break;
    case ActionKind::kAgentDelays:
      action.value = kMostDelay * uniform;
      break;
    default:
      action.value = uniform;
  }
  return action;
}

// Tries a change, and keeps it if the scenario still shows what is searched for.
template <typename Change>
bool Try(Scenario& scenario, const Shows& shows, Change change) {
  Scenario smaller = scenario;
  change(smaller);
  if (!shows(smaller)) return false;
  scenario = std::move(smaller);
  return true;
}

bool Names(const Scenario& scenario, size_t server) {
  return std::ranges::any_of(scenario.actions, [&](const Action& action) {
    return action.kind >= ActionKind::kServerSpeed && action.kind < ActionKind::kControllerDies &&
           action.server >= server;
  });
}

}  // namespace

Scenario RandomScenario(uint64_t seed) {
  FastRandom random(SeedFor(seed, "search"));
  Scenario scenario;
  scenario.name = absl::StrCat("found-", seed);
  scenario.purpose = absl::StrCat("Found by a search; run it with --first-seed ", seed, ".");
  scenario.mode =
      OneOf(std::array{ForwardingMode::kTunnel, ForwardingMode::kMessage, ForwardingMode::kDirect},
            random);
  scenario.duration = kDuration;
  scenario.steady_from = kDuration / 2;
  scenario.proxies = 1 + static_cast<int>(random.Next() % 4);
  const size_t servers = 1 + random.Next() % 6;
  for (size_t i = 0; i < servers; ++i) {
    scenario.servers.push_back({.name = std::string(1, static_cast<char>('a' + i)),
                                .cores = OneOf(std::array{1, 1, 2, 4}, random),
                                .speed = OneOf(std::array{1.0, 1.0, 0.5, 2.0, 4.0}, random),
                                .quota = OneOf(std::array{0.0, 0.0, 0.5}, random)});
  }
  scenario.load = OneOf(std::array{0.1, 0.3, 0.5, 0.7, 0.9}, random);
  scenario.report_interval = OneOf(std::array{kSecond, kSecond, kSecond / 10, 5 * kSecond}, random);
  const uint64_t actions = 1 + random.Next() % 8;
  for (uint64_t i = 0; i < actions; ++i) {
    scenario.actions.push_back(RandomAction(servers, random));
  }
  std::ranges::stable_sort(scenario.actions, {}, &Action::at);
  return scenario;
}

bool ViolatesChecks(const Scenario& scenario, uint64_t seed) {
  return !Cluster(scenario, {.rule = kAdaptive, .seed = seed}).Run().violations.empty();
}

Scenario Shrink(Scenario scenario, const Shows& shows) {
  for (bool smaller = true; smaller;) {
    smaller = false;
    for (size_t i = scenario.actions.size(); i-- > 0;) {
      smaller |= Try(scenario, shows, [&](Scenario& s) {
        s.actions.erase(s.actions.begin() + static_cast<ptrdiff_t>(i));
      });
    }
    while (scenario.servers.size() > 1 && !Names(scenario, scenario.servers.size() - 1) &&
           Try(scenario, shows, [](Scenario& s) { s.servers.pop_back(); })) {
      smaller = true;
    }
    if (scenario.proxies > 1) {
      smaller |= Try(scenario, shows, [](Scenario& s) { s.proxies = 1; });
    }
    for (size_t i = 0; i < scenario.servers.size(); ++i) {
      const ServerSpec plain{.name = scenario.servers[i].name};
      if (scenario.servers[i] == plain) continue;
      smaller |= Try(scenario, shows, [&](Scenario& s) { s.servers[i] = plain; });
    }
  }
  return scenario;
}

std::optional<Scenario> Search(uint64_t first_seed, int count) {
  for (uint64_t seed = first_seed; seed < first_seed + static_cast<uint64_t>(count); ++seed) {
    const Scenario scenario = RandomScenario(seed);
    if (!ViolatesChecks(scenario, seed)) continue;
    return Shrink(scenario, [seed](const Scenario& s) { return ViolatesChecks(s, seed); });
  }
  return std::nullopt;
}

}  // namespace trunkline::sim
