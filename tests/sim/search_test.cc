#include "tests/sim/search.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <string>

#include "absl/status/statusor.h"
#include "tests/sim/scenario.h"
#include "tests/sim/scenario_reader.h"
#include "tests/sim/scenario_writer.h"

namespace trunkline::sim {
namespace {

TEST(ScenarioWriterTest, WhatIsWrittenIsReadAsTheSame) {
  for (uint64_t seed = 1; seed <= 300; ++seed) {
    const std::string text = WriteScenario(RandomScenario(seed));
    const absl::StatusOr<Scenario> read = ReadScenario("again.txt", text);
    ASSERT_TRUE(read.ok()) << "seed " << seed << ": " << read.status() << "\n" << text;
    EXPECT_EQ(WriteScenario(*read), text) << "seed " << seed;
    EXPECT_TRUE(read->servers == RandomScenario(seed).servers) << "seed " << seed;
  }
}

TEST(SearchTest, RandomScenariosDiffer) {
  EXPECT_NE(WriteScenario(RandomScenario(1)), WriteScenario(RandomScenario(2)));
  EXPECT_EQ(WriteScenario(RandomScenario(1)), WriteScenario(RandomScenario(1)));
}

// Stands for a fault that needs a dead server and nothing else.
bool HasADeadServer(const Scenario& scenario) {
  return std::ranges::any_of(scenario.actions, [](const Action& action) {
    return action.kind == ActionKind::kServerDies;
  });
}

TEST(SearchTest, ShrinkingLeavesWhatIsNeeded) {
  int shrunk = 0;
  for (uint64_t seed = 1; seed <= 200; ++seed) {
    const Scenario scenario = RandomScenario(seed);
    if (!HasADeadServer(scenario)) continue;
    const Scenario small = Shrink(scenario, HasADeadServer);
    EXPECT_TRUE(HasADeadServer(small));
    EXPECT_EQ(small.actions.size(), 1u) << "seed " << seed;
    EXPECT_EQ(small.servers.size(), small.actions[0].server + 1) << "seed " << seed;
    EXPECT_EQ(small.proxies, 1) << "seed " << seed;
    ++shrunk;
  }
  EXPECT_GT(shrunk, 10);
}

}  // namespace
}  // namespace trunkline::sim
