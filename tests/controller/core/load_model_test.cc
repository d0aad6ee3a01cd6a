#include "controller/core/load_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstddef>
#include <fstream>
#include <map>
#include <regex>
#include <sstream>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "controller/core/endpoint_registry.h"
#include "controller/core/load_report.h"
#include "controller/core/traffic_window.h"
#include "controller/core/weight_limiter.h"
#include "controller/core/weight_policy.h"
#include "controller/core/weighted_endpoint.h"
#include "tests/controller/core/core_fixture.h"

namespace trunkline {
namespace {

using testing::HasSubstr;

constexpr double kSecondAlpha = 0.28346868942621073;  // 1 - exp(-1/3)

// Reads the lines "name = number" of the marked block; a line may hold several.
std::map<std::string, double> ReadWorkedExample() {
  std::ifstream file(TRUNKLINE_SOURCE_DIR "/docs/weights.md");
  std::stringstream whole;
  whole << file.rdbuf();
  const std::string text = whole.str();
  const size_t begin = text.find("```", text.find("<!-- worked example -->"));
  const std::string block = text.substr(begin, text.find("```", begin + 3) - begin);
  const std::regex assignment(
      R"(((?:[ab]\.)?(?:u|r|k|ubar|expected_u|obs|theta|P|accepted)) = (-?[0-9.]+))");
  std::map<std::string, double> values;
  for (std::sregex_iterator it(block.begin(), block.end(), assignment), end; it != end; ++it) {
    values[(*it)[1]] = std::stod((*it)[2]);
  }
  return values;
}

// Endpoints as the registry returns them; Tick passes them to the model with equal weights.
class LoadModelTest : public testing::Test {
 protected:
  RegisteredEndpoint& Add(const std::string& id, double cores = 1) {
    RegisteredEndpoint& endpoint = endpoints_[id];
    endpoint.key = {"db", id};
    endpoint.address = "10.0.0.1:7073";
    endpoint.cores = cores;
    endpoint.incarnation = 1;
    return endpoint;
  }
  void Report(const std::string& id, const ReportedLoad& load, double at) {
    RegisteredEndpoint& endpoint = endpoints_.at(id);
    endpoint.load = load;
    endpoint.reported_at = At(at);
    endpoint.state = EndpointCondition::kFresh;
    ++endpoint.report_serial;
  }
  void Tick(double at) {
    std::vector<WeightedEndpoint> weighted;
    for (const auto& [id, endpoint] : endpoints_) {
      weighted.push_back({&endpoint, 1.0});
      if (traffic_.contains(id)) weighted.back().traffic = traffic_.at(id);
    }
    model_.Tick(weighted, At(at));
  }
  // Both report n times, every second from `from` on; "a" does twice the work of "b" at the same
  // utilization.
  void RunTwoToOne(int n, double from, double cpu = 0.2) {
    for (int i = 0; i < n; ++i) {
      Report("a", Load("a", cpu, 200), from + i);
      Report("b", Load("b", cpu, 100), from + i);
      Tick(from + i);
    }
  }
  const EndpointEstimate& Of(const std::string& id) { return model_.estimate(id); }
  // Proxies see `served` answers per second after this wait from now on.
  void See(const std::string& id, double served, double wait_millis) {
    traffic_[id] = {.served_per_second = served,
                    .first_byte = absl::Milliseconds(wait_millis),
                    .answers = 3 * served};
  }
  // All endpoints report for some seconds; `cpu` and `waits` are by id.
  void RunWitnesses(int seconds, double from, const std::map<std::string, double>& cpu,
                    const std::map<std::string, double>& waits) {
    for (int i = 0; i < seconds; ++i) {
      for (const auto& [id, u] : cpu) {
        Report(id, Load(id, u, 100), from + i);
        See(id, 100, waits.at(id));
      }
      Tick(from + i);
    }
  }

  std::map<std::string, RegisteredEndpoint> endpoints_;
  std::map<std::string, EndpointTraffic> traffic_;
  LoadModel model_{absl::Seconds(1)};
};

TEST_F(LoadModelTest, UtilizationIsTheLargestResource) {
  ReportedLoad load = Load("a", 0.2);
  EXPECT_EQ(Utilization(load), 0.2);
  load.connection_utilization = 0.3;
  EXPECT_EQ(Utilization(load), 0.3);
  load.nic_utilization = 0.4;
  EXPECT_EQ(Utilization(load), 0.4);
  load.named_utilization = 0.5;
  EXPECT_EQ(Utilization(load), 0.5);
  load.memory_utilization = 0.9;
  EXPECT_EQ(Utilization(load), 0.5) << "memory is a barrier, not a term";
}

TEST_F(LoadModelTest, CapacityFollowsCoresThatChange) {
  Add("a", 2);
  Add("b", 2);
  RunTwoToOne(60, 0, 0.5);
  const double before = Of("a").capacity / Of("b").capacity;
  EXPECT_GT(before, 1);
  EXPECT_GT(Of("a").theta, 0);
  endpoints_.at("a").cores = 0.1;
  Tick(60);
  EXPECT_NEAR(Of("a").capacity / Of("b").capacity, before * 0.1 / 2, 1e-9);
  EXPECT_EQ(Of("a").theta, 0);
}

TEST_F(LoadModelTest, FirstServerWithTheHostsCoresDoesNotSetTheUnit) {
  Add("a", 2);
  Tick(0);
  Add("b", 0.4);
  Tick(1);
  endpoints_.at("a").cores = 0.1;
  Tick(2);
  EXPECT_NEAR(Of("b").capacity / Of("a").capacity, 4, 1e-9);
}

TEST_F(LoadModelTest, ChangedCoresKeepTheOperatorsCapacity) {
  Add("a", 2).operator_capacity = 3;
  Add("b", 2).operator_capacity = 1;
  Tick(0);
  endpoints_.at("a").cores = 0.1;
  Tick(1);
  EXPECT_NEAR(Of("a").capacity / Of("b").capacity, 3, 1e-9);
}

TEST_F(LoadModelTest, LongStreamsCountByTheirBytes) {
  ReportedLoad load = Load("a", 0.2, 0);
  load.bytes_per_second = 10 * 65536;
  EXPECT_EQ(Work(load), 10);
  load.successes_per_second = 5;
  EXPECT_EQ(Work(load), 15);
}

// Feeds the inputs in the block of docs/weights.md to the model and compares all other numbers.
TEST_F(LoadModelTest, WorkedExampleOfTheDocument) {
  std::map<std::string, double> example = ReadWorkedExample();
  ASSERT_EQ(example.size(), 16u);
  Add("a");
  Add("b");
  for (const std::string id : {"a", "b"}) {
    Report(id, Load(id, example.at(id + ".u"), example.at(id + ".r")), 0);
  }
  Tick(0);
  std::vector<ProposedWeight> proposed;
  for (const std::string id : {"a", "b"}) {
    ProposedWeight& weight = proposed.emplace_back();
    weight.endpoint_id = id;
    weight.value = Of(id).capacity * std::exp(Of(id).theta);
  }
  WeightLimiter limiter;
  limiter.Tick(proposed, /*frozen=*/false, At(0));
  EXPECT_NEAR(model_.service().work_per_capacity, example.at("k"), 1e-9);
  EXPECT_NEAR(model_.service().mean_utilization, example.at("ubar"), 1e-9);
  for (const std::string id : {"a", "b"}) {
    EXPECT_NEAR(Of(id).expected_utilization, example.at(id + ".expected_u"), 1e-5) << id;
    EXPECT_NEAR(Of(id).observed, example.at(id + ".obs"), 1e-5) << id;
    EXPECT_NEAR(Of(id).theta, example.at(id + ".theta"), 1e-5) << id;
    EXPECT_NEAR(Of(id).capacity, example.at(id + ".P"), 1e-5) << id;
    EXPECT_NEAR(limiter.accepted(id), example.at(id + ".accepted"), 1e-9) << id;
  }
}

TEST_F(LoadModelTest, EachReportIsUsedOnce) {
  Add("a");
  Add("b");
  RunTwoToOne(1, 0);
  const double theta = Of("a").theta;
  Tick(0.5);
  Tick(0.9);
  EXPECT_EQ(Of("a").theta, theta);
}

TEST_F(LoadModelTest, LowLoadFallsBackToCapacity) {
  Add("a");
  Add("b");
  for (int i = 0; i < 60; ++i) {
    // Noise: one server uses four times the CPU of the other for the same little work.
    Report("a", Load("a", 0.001, 1), i);
    Report("b", Load("b", 0.004, 1), i);
    Tick(i);
  }
  // Without the 0.03 the ratio would tend to 4, ln 4 = 1.39; with it,
  // ln((0.0025+0.03)/(0.001+0.03)) ...
  EXPECT_LT(Of("a").theta - Of("b").theta, 0.15);
}

TEST_F(LoadModelTest, WithoutTrafficNothingIsLearned) {
  Add("a");
  Add("b");
  for (int i = 0; i < 30; ++i) {
    Report("a", Load("a", 0.5, 0), i);
    Report("b", Load("b", 0.1, 0), i);
    Tick(i);
  }
  EXPECT_EQ(Of("a").theta, 0);
  EXPECT_EQ(Of("b").theta, 0);
  EXPECT_EQ(Of("a").observed, 0);
}

// An agent that cannot read its server's CPU time once reported 0 %, and the weight rose.
TEST_F(LoadModelTest, UnknownCpuIsNoSignal) {
  Add("a");
  Add("b");
  RunTwoToOne(60, 0, 0.5);
  const double theta = Of("a").theta;
  ASSERT_GT(theta, 0);
  const double mean = model_.service().mean_utilization;
  ReportedLoad unknown = Load("a", 0, 200);
  unknown.cpu_known = false;
  for (int i = 60; i < 90; ++i) {
    Report("a", unknown, i);
    Report("b", Load("b", 0.5, 100), i);
    Tick(i);
    ASSERT_LE(Of("a").theta, theta);
  }
  EXPECT_NEAR(Of("a").theta, theta / 2, theta / 20) << "as without reports";
  EXPECT_NEAR(model_.service().mean_utilization, mean, 1e-9) << "it does not count as idle";
}

TEST_F(LoadModelTest, ImpossibleReportIsClampedToTwentyfold) {
  Add("a");
  Add("b");
  Report("a", Load("a", 0.9, 1e6), 0);
  Report("b", Load("b", 0.9, 1), 0);
  Tick(0);
  EXPECT_NEAR(Of("b").observed, -std::log(20), 1e-9);
  EXPECT_LE(Of("a").observed, std::log(20));
}

TEST_F(LoadModelTest, OneReportRaisesByAQuarterAtMost) {
  for (const char* id : {"a", "b", "c", "d", "e", "f"}) Add(id);
  for (const char* id : {"b", "c", "d", "e", "f"}) Report(id, Load(id, 0.9, 10), 0);
  Report("a", Load("a", 0.2, 1000), 0);
  Tick(0);
  ASSERT_GT(kSecondAlpha * Of("a").observed, std::log(1.25)) << "the unbounded step is larger";
  EXPECT_NEAR(Of("a").theta, std::log(1.25), 1e-9);
}

TEST_F(LoadModelTest, OneReportHalvesAtMost) {
  Add("a");
  Add("b");
  Report("a", Load("a", 0.29, 500), 0);
  Report("b", Load("b", 0.29, 500), 0);
  Tick(0);
  // After 3 s alpha is 0.5 at its cap: half of ln 20 is more than ln 2.
  Report("a", Load("a", 0.29, 1000), 3);
  Report("b", Load("b", 0.29, 0.1), 3);
  Tick(3);
  ASSERT_LT(0.5 * Of("b").observed, std::log(0.5)) << "the unbounded step is larger";
  EXPECT_NEAR(Of("b").theta, std::log(0.5), 1e-9);
}

TEST_F(LoadModelTest, LateReportCountsForAHalfAtMost) {
  Add("a");
  Add("b");
  RunTwoToOne(1, 0);
  const double before = Of("b").theta;
  Report("a", Load("a", 0.2, 100), 9);
  Report("b", Load("b", 0.2, 20), 9);
  Tick(9);
  EXPECT_NEAR(Of("b").theta, before + 0.5 * (Of("b").observed - before), 1e-9);
}

TEST_F(LoadModelTest, SmallStepsAreNoise) {
  Add("a");
  Add("b");
  Report("a", Load("a", 0.2, 101), 0);
  Report("b", Load("b", 0.2, 99), 0);
  Tick(0);
  ASSERT_NE(Of("a").observed, 0);
  EXPECT_EQ(Of("a").theta, 0);
}

TEST_F(LoadModelTest, ThetaMovesIntoCapacityUnderLoadOnly) {
  Add("a");
  Add("b");
  RunTwoToOne(120, 0, 0.2);
  EXPECT_EQ(Of("a").capacity, 1) << "an idle server teaches nothing";
  RunTwoToOne(300, 120, 0.5);
  EXPECT_GT(Of("a").capacity / Of("b").capacity, 1.7);
  EXPECT_NEAR((Of("a").capacity + Of("b").capacity) / 2, 1, 1e-9);
}

TEST_F(LoadModelTest, LearningItselfMovesNoWeight) {
  Add("a");
  Add("b");
  RunTwoToOne(60, 0, 0.5);
  const auto ratio = [&] {
    return Of("a").capacity * std::exp(Of("a").theta) /
           (Of("b").capacity * std::exp(Of("b").theta));
  };
  const double before = ratio();
  RunTwoToOne(60, 60, 0.5);
  EXPECT_NEAR(ratio() / before, 1, 0.05);
}

TEST_F(LoadModelTest, FailuresCountAsUtilizationFromTwentyEventsOn) {
  Add("a");
  Add("b");
  ReportedLoad failing = Load("a", 0.2, 9);
  failing.errors_per_second = 9;
  Report("a", failing, 0);
  Report("b", Load("b", 0.2, 100), 0);
  Tick(0);
  EXPECT_EQ(Of("a").effective_utilization, 0.2) << "18 events are too few";
  Report("a", failing, 1);
  Tick(1);
  EXPECT_NEAR(Of("a").effective_utilization, 0.7, 1e-9);
}

TEST_F(LoadModelTest, ShareOfFailuresIsForgottenWithoutNewEvents) {
  Add("a");
  Add("b");
  ReportedLoad failing = Load("a", 0.2, 50);
  failing.errors_per_second = 50;
  for (int i = 0; i < 40; ++i) {
    if (i > 0) failing = Load("a", 0.2, 0.1);
    Report("a", failing, i);
    Report("b", Load("b", 0.2, 100), i);
    Tick(i);
    if (i == 10) {
      EXPECT_NEAR(Of("a").effective_utilization, 0.7, 1e-9);
    }
  }
  EXPECT_NEAR(Of("a").effective_utilization, 0.2, 1e-9);
}

TEST_F(LoadModelTest, FirstReportAfterASilenceLearnsForThreeIntervalsAtMost) {
  Add("a");
  Add("b");
  RunTwoToOne(60, 0, 0.29);
  ASSERT_EQ(Of("a").capacity, 1) << "nothing was learned yet";
  Report("a", Load("a", 0.5, 200), 300);
  Report("b", Load("b", 0.5, 100), 300);
  const double theta = Of("a").theta;
  Tick(300);
  EXPECT_LT(Of("a").capacity, std::exp(theta * 0.04)) << "four minutes would move all of it";
}

TEST_F(LoadModelTest, SilenceOfADrainingEndpointDoesNotFreezeWeights) {
  Add("a");
  Add("b");
  Add("c");
  RunTwoToOne(1, 0);
  for (const char* id : {"a", "b"}) endpoints_[id].state = EndpointCondition::kStale;
  endpoints_["a"].draining = true;
  Report("c", Load("c"), 5);
  Tick(5);
  EXPECT_FALSE(model_.service().frozen()) << "b is half of the capacity in service";
}

TEST_F(LoadModelTest, StaleEndpointKeepsItsTheta) {
  Add("a");
  Add("b");
  Add("c");
  Report("c", Load("c", 0.2, 150), 0);
  RunTwoToOne(5, 0);
  const double theta = Of("a").theta;
  endpoints_["a"].state = EndpointCondition::kStale;
  for (int i = 5; i < 9; ++i) Tick(i);
  EXPECT_EQ(Of("a").theta, theta);
}

TEST_F(LoadModelTest, ExpiredEndpointHalvesItsThetaInThirtySeconds) {
  Add("a");
  Add("b");
  Add("c");
  Report("c", Load("c", 0.2, 150), 0);
  RunTwoToOne(5, 0);
  const double theta = Of("a").theta;
  ASSERT_NE(theta, 0);
  endpoints_["a"].state = EndpointCondition::kExpired;
  for (int i = 0; i <= 60; ++i) Tick(4 + i / 2.0);
  EXPECT_NEAR(Of("a").theta, theta / 2, 1e-9);
}

TEST_F(LoadModelTest, NewIncarnationForgetsThetaAndKeepsCapacity) {
  Add("a");
  Add("b");
  RunTwoToOne(60, 0, 0.5);
  const double capacity = Of("a").capacity;
  ASSERT_NE(Of("a").theta, 0);
  ++endpoints_["a"].incarnation;
  Tick(60);
  EXPECT_EQ(Of("a").theta, 0);
  EXPECT_NEAR(Of("a").capacity, capacity, 1e-9);
}

TEST_F(LoadModelTest, SilenceOfMostCapacityFreezesWeightsAndIsReported) {
  Add("a");
  Add("b");
  Add("c");
  RunTwoToOne(5, 0);
  Report("c", Load("c", 0.2, 150), 4);
  Tick(4);
  for (const char* id : {"a", "b"}) endpoints_[id].state = EndpointCondition::kStale;
  Report("c", Load("c", 0.9, 10), 8);
  const double theta = Of("c").theta;
  Tick(8);
  EXPECT_TRUE(model_.service().frozen());
  EXPECT_THAT(model_.service().freeze_reason, HasSubstr("67 %"));
  EXPECT_EQ(Of("c").theta, theta);
  for (const char* id : {"a", "b"}) endpoints_[id].state = EndpointCondition::kExpired;
  const double expired_theta = Of("a").theta;
  Tick(60);
  EXPECT_EQ(Of("a").theta, expired_theta) << "frozen endpoints do not decay";
}

TEST_F(LoadModelTest, HalfOfTheCapacitySilentDoesNotFreeze) {
  Add("a");
  Add("b");
  RunTwoToOne(1, 0);
  endpoints_["a"].state = EndpointCondition::kStale;
  Tick(5);
  EXPECT_FALSE(model_.service().frozen());
}

TEST_F(LoadModelTest, PermanentLossOfMostAgentsEndsTheFreeze) {
  Add("a");
  Add("b");
  Add("c");
  RunTwoToOne(1, 0);
  for (const char* id : {"a", "b"}) endpoints_[id].state = EndpointCondition::kExpired;
  Report("c", Load("c"), 300);
  Tick(300);
  EXPECT_TRUE(model_.service().frozen());
  Report("c", Load("c"), 311);
  Tick(311);
  EXPECT_FALSE(model_.service().frozen());
}

TEST_F(LoadModelTest, CapacityStartsFromTheOperatorsFigure) {
  Add("a", 8).operator_capacity = 1;
  Add("b", 1).operator_capacity = 3;
  Tick(0);
  EXPECT_NEAR(Of("b").capacity / Of("a").capacity, 3, 1e-9);
  EXPECT_EQ(Of("b").capacity_source, CapacitySource::kOperator);
}

TEST_F(LoadModelTest, CapacityStartsFromCoresWithoutAFigure) {
  Add("a", 2);
  Add("b", 6);
  Tick(0);
  EXPECT_NEAR(Of("b").capacity / Of("a").capacity, 3, 1e-9);
  EXPECT_EQ(Of("b").capacity_source, CapacitySource::kCores);
}

TEST_F(LoadModelTest, CapacityStartsFromTheMedianWithoutEither) {
  Add("a", 1);
  Add("b", 3);
  Add("c", 8);
  Tick(0);
  Add("d", 0);
  Tick(1);
  EXPECT_NEAR(Of("d").capacity / Of("b").capacity, 1, 1e-9);
  EXPECT_EQ(Of("d").capacity_source, CapacitySource::kMedian);
}

TEST_F(LoadModelTest, GuessedCapacityIsReplacedOnceCoresAreKnown) {
  Add("a", 2);
  Add("d", 0);
  Tick(0);
  endpoints_["d"].cores = 6;
  Tick(1);
  EXPECT_NEAR(Of("d").capacity / Of("a").capacity, 3, 1e-9);
}

TEST_F(LoadModelTest, NewcomersCapacityUsesTheUnitLearnedFromOthers) {
  Add("a", 2);
  Add("b", 2);
  RunTwoToOne(600, 0, 0.5);
  Add("c", 4);
  Tick(600);
  // Capacity per core of the others: between b's and a's; the median of two is the upper.
  EXPECT_NEAR(Of("c").capacity / Of("a").capacity, 2, 1e-6);
}

TEST_F(LoadModelTest, ReturningEndpointKeepsItsCapacity) {
  Add("a");
  Add("b");
  RunTwoToOne(600, 0, 0.5);
  const double ratio = Of("a").capacity / Of("b").capacity;
  endpoints_.erase("a");
  Tick(600);
  Add("a");
  Tick(601);
  EXPECT_NEAR(Of("a").capacity / Of("b").capacity, ratio, 1e-9);
  EXPECT_EQ(Of("a").capacity_source, CapacitySource::kStored);
}

// In direct mode, agents count open sockets only.
TEST_F(LoadModelTest, WorkComesFromProxiesWhereTheyReport) {
  for (const char* id : {"a", "b"}) Add(id);
  for (const char* id : {"a", "b"}) Report(id, Load(id, 0.5, 900), 0);
  See("a", 200, 5);
  See("b", 100, 5);
  traffic_["b"].bytes_per_second = 10 * kBytesPerStream;
  Tick(0);
  EXPECT_DOUBLE_EQ(Of("a").work, 200);
  EXPECT_DOUBLE_EQ(Of("b").work, 110);
  traffic_.clear();
  Tick(1);
  EXPECT_DOUBLE_EQ(Of("a").work, 900) << "no proxy carries the service's traffic";
}

TEST_F(LoadModelTest, WrongAgentDoesNotMoveTheOthers) {
  for (const char* id : {"a", "b", "c", "d"}) Add(id);
  RunWitnesses(30, 0, {{"a", 0}, {"b", 0.6}, {"c", 0.6}, {"d", 0.6}},
               {{"a", 5}, {"b", 5}, {"c", 5}, {"d", 5}});
  for (const char* id : {"b", "c", "d"}) EXPECT_NEAR(Of(id).theta, 0, 0.01) << id;
}

TEST_F(LoadModelTest, RisesAboveCapacityOnlyIfProxiesAgree) {
  const std::map<std::string, double> cpu = {{"a", 0.2}, {"b", 0.6}, {"c", 0.6}};
  for (const char* id : {"a", "b", "c"}) Add(id);
  RunWitnesses(30, 0, cpu, {{"a", 5}, {"b", 5}, {"c", 5}});
  EXPECT_LE(Of("a").theta, 0.01) << "its clients wait as long as those of the others";
  RunWitnesses(30, 30, cpu, {{"a", 3}, {"b", 5}, {"c", 5}});
  EXPECT_GT(Of("a").theta, 0.5);
  RunWitnesses(30, 60, cpu, {{"a", 5}, {"b", 5}, {"c", 5}});
  EXPECT_LT(Of("a").theta, 0.1) << "they no longer agree";
}

TEST_F(LoadModelTest, AgentThatSeesNoCpuOfMuchWorkIsSuspect) {
  const std::map<std::string, double> waits = {{"a", 5}, {"b", 5}, {"c", 5}};
  for (const char* id : {"a", "b", "c"}) Add(id);
  RunWitnesses(10, 0, {{"a", 0.01}, {"b", 0.5}, {"c", 0.5}}, waits);
  EXPECT_FALSE(Of("a").suspect) << "a moment may be chance";
  RunWitnesses(3, 10, {{"a", 0.01}, {"b", 0.5}, {"c", 0.5}}, waits);
  EXPECT_TRUE(Of("a").suspect);
  EXPECT_FALSE(Of("b").suspect);
  EXPECT_THAT(DescribeSuspect(Of("a")), HasSubstr("a utilization of 0.01 for work"));
  RunWitnesses(1, 13, {{"a", 0.3}, {"b", 0.5}, {"c", 0.5}}, waits);
  EXPECT_FALSE(Of("a").suspect);
  RunWitnesses(20, 14, {{"a", 0}, {"b", 0.05}, {"c", 0.05}}, waits);
  EXPECT_FALSE(Of("a").suspect) << "the work costs little anywhere";
}

// It waits for its disk.
TEST_F(LoadModelTest, LongWaitLowersTheWeightOfAServerWithoutCpu) {
  const std::map<std::string, double> cpu = {{"a", 0.01}, {"b", 0.5}, {"c", 0.5}};
  for (const char* id : {"a", "b", "c"}) Add(id);
  RunWitnesses(5, 0, cpu, {{"a", 10}, {"b", 10}, {"c", 10}});
  RunWitnesses(5, 5, cpu, {{"a", 100}, {"b", 10}, {"c", 10}});
  const double lowered = Of("a").theta;
  EXPECT_LT(lowered, -1);
  RunWitnesses(3, 10, cpu, {{"a", 10}, {"b", 10}, {"c", 10}});
  EXPECT_LE(Of("a").theta, lowered + 4 * LoadModel::kRecoveryRise) << "it recovers step by step";
}

TEST_F(LoadModelTest, ServerThatStoodStillOnceHasItsShareBackInHalfAMinute) {
  const std::map<std::string, double> cpu = {{"a", 0.2}, {"b", 0.5}, {"c", 0.5}};
  for (const char* id : {"a", "b", "c"}) Add(id);
  RunWitnesses(5, 0, cpu, {{"a", 10}, {"b", 10}, {"c", 10}});
  RunWitnesses(10, 5, cpu, {{"a", 1000}, {"b", 10}, {"c", 10}});
  EXPECT_LT(Of("a").theta, -2);
  RunWitnesses(30, 15, cpu, {{"a", 10}, {"b", 10}, {"c", 10}});
  EXPECT_GT(Of("a").theta, -0.1);
}

TEST_F(LoadModelTest, ServerThatIsSlowAgainAtItsFormerShareRisesSlowly) {
  const std::map<std::string, double> cpu = {{"a", 0.01}, {"b", 0.5}, {"c", 0.5}};
  for (const char* id : {"a", "b", "c"}) Add(id);
  RunWitnesses(5, 0, cpu, {{"a", 10}, {"b", 10}, {"c", 10}});
  RunWitnesses(5, 5, cpu, {{"a", 100}, {"b", 10}, {"c", 10}});
  RunWitnesses(30, 10, cpu, {{"a", 10}, {"b", 10}, {"c", 10}});
  RunWitnesses(5, 40, cpu, {{"a", 100}, {"b", 10}, {"c", 10}});
  const double lowered = Of("a").theta;
  EXPECT_LT(lowered, -1);
  RunWitnesses(10, 45, cpu, {{"a", 10}, {"b", 10}, {"c", 10}});
  EXPECT_LE(Of("a").theta, lowered + 11 * LoadModel::kSlowRecoveryRise);
  const double minutes = absl::ToDoubleSeconds(LoadModel::kRecovery);
  RunWitnesses(10, 45 + minutes, cpu, {{"a", 10}, {"b", 10}, {"c", 10}});
  EXPECT_GT(Of("a").theta, lowered + 1) << "that was long ago";
}

TEST_F(LoadModelTest, UnansweredFlowsFailOnlyWhereOthersAnswer) {
  for (const char* id : {"a", "b"}) Add(id);
  const auto run = [&](double from) {
    for (int i = 0; i < 5; ++i) {
      for (const char* id : {"a", "b"}) Report(id, Load(id, 0.2, 0), from + i);
      Tick(from + i);
    }
  };
  traffic_["a"].unanswered_per_second = traffic_["b"].unanswered_per_second = 100;
  run(0);
  EXPECT_EQ(Of("a").error_share, 0) << "a protocol without answers";
  EXPECT_EQ(Of("a").work, 100);
  traffic_["b"] = {.served_per_second = 100};
  run(5);
  EXPECT_EQ(Of("a").error_share, 1);
  EXPECT_EQ(Of("b").error_share, 0);
}

}  // namespace
}  // namespace trunkline
