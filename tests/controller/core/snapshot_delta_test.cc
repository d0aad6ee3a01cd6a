#include "controller/core/snapshot_delta.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "common/base/number_units.h"
#include "controller/core/snapshot_publisher.h"
#include "controller/core/weight_limiter.h"

namespace trunkline {
namespace {

SnapshotService Named(const std::string& name, double weight = 1) {
  SnapshotService service;
  service.name = name;
  service.listen = {"127.0.0.1:9000"};
  service.endpoints.push_back({"a", "10.0.0.1:7073", weight, false, 1});
  return service;
}

bool SameContent(const ClusterSnapshot& a, const ClusterSnapshot& b) {
  if (a.id != b.id || a.services.size() != b.services.size()) return false;
  for (size_t i = 0; i < a.services.size(); ++i) {
    if (*a.services[i] != *b.services[i]) return false;
  }
  return true;
}

void Publish(SnapshotPublisher& publisher, const std::vector<SnapshotService>& services) {
  std::vector<std::shared_ptr<const SnapshotService>> shared;
  for (const SnapshotService& service : services) {
    shared.push_back(std::make_shared<const SnapshotService>(service));
  }
  publisher.Publish(std::move(shared));
}

// The delta from `before` to `after`, which are the only service.
ClusterDelta DiffOf(const SnapshotService& before, const SnapshotService& after) {
  SnapshotPublisher publisher(1, 1);
  Publish(publisher, {before});
  const auto base = publisher.current();
  Publish(publisher, {after});
  return Diff(*base, *publisher.current());
}

SnapshotService Db() {
  SnapshotService service = Named("db");
  service.endpoints = {{"a", "10.0.0.1:1", 1, false, 1},
                       {"b", "10.0.0.2:1", 0.5, false, 1},
                       {"c", "10.0.0.3:1", 1.5, false, 1}};
  return service;
}

TEST(SnapshotDeltaTest, DeltaWithAnotherBaseIsRefused) {
  ClusterSnapshot one{{1, 1}, {}}, two{{1, 2}, {}}, three{{1, 3}, {}};
  EXPECT_FALSE(Apply(one, Diff(two, three)).has_value());
}

TEST(SnapshotDeltaTest, DeltaHoldsOnlyTheServicesThatChanged) {
  SnapshotPublisher publisher(1, 1);
  Publish(publisher, {Named("cache"), Named("db"), Named("web")});
  const auto base = publisher.current();
  Publish(publisher, {Named("cache"), Named("db", 2), Named("new")});
  const ClusterDelta delta = Diff(*base, *publisher.current());
  ASSERT_EQ(delta.services.size(), 1u);
  EXPECT_EQ(delta.services[0]->name, "new");
  ASSERT_EQ(delta.changed_services.size(), 1u);
  EXPECT_EQ(delta.changed_services[0].name, "db");
  EXPECT_EQ(delta.removed_services, std::vector<std::string>{"web"});
}

// A service of thousands of endpoints must not be sent because a few weights moved.
TEST(SnapshotDeltaTest, MovedWeightsAreSentWithoutTheirEndpoints) {
  SnapshotService after = Db();
  after.endpoints[2].weight = 1.47;
  after.endpoints[0].capacity = 0.02;
  const ClusterDelta delta = DiffOf(Db(), after);
  EXPECT_TRUE(delta.services.empty());
  ASSERT_EQ(delta.changed_services.size(), 1u);
  const ServiceDelta& db = delta.changed_services[0];
  EXPECT_TRUE(db.endpoints.empty());
  EXPECT_TRUE(db.removed_endpoints.empty());
  EXPECT_EQ(db.weights, (std::vector<ServiceDelta::Number>{{2, 14'700}}));
  EXPECT_EQ(db.capacities, (std::vector<ServiceDelta::Number>{{0, 200}}));
}

TEST(SnapshotDeltaTest, EndpointsAreSentWholeIfNumbersDoNotSuffice) {
  SnapshotService after = Db();
  after.endpoints[0].draining = true;
  after.endpoints[1].address = "10.9.9.9:1";
  after.endpoints[2] = {"d", "10.0.0.4:1", 1, false, 1};
  const ClusterDelta delta = DiffOf(Db(), after);
  ASSERT_EQ(delta.changed_services.size(), 1u);
  EXPECT_EQ(delta.changed_services[0].endpoints, after.endpoints);
  EXPECT_EQ(delta.changed_services[0].removed_endpoints, std::vector<std::string>{"c"});
  EXPECT_TRUE(delta.changed_services[0].weights.empty());
}

// An operator may pin any weight.
TEST(SnapshotDeltaTest, WeightThatIsNoMultipleOfTheUnitIsNotRounded) {
  for (const double pin : {0.00012, 1.0 / 3, 1e9}) {
    SnapshotService after = Db();
    after.endpoints[1].weight = pin;
    const ClusterDelta delta = DiffOf(Db(), after);
    ASSERT_EQ(delta.changed_services.size(), 1u);
    ASSERT_EQ(delta.changed_services[0].endpoints.size(), 1u) << pin;
    EXPECT_EQ(delta.changed_services[0].endpoints[0].weight, pin);
  }
}

TEST(SnapshotDeltaTest, EveryWeightOfTheLimiterIsAMultipleOfTheUnit) {
  for (uint32_t units = 100; units <= 100'000; ++units) {
    const double weight = WeightLimiter::Quantise(units / 10'000.0 * (1 + 1e-9));
    const std::optional<uint32_t> sent = InUnits(weight);
    ASSERT_TRUE(sent.has_value()) << weight;
    ASSERT_EQ(static_cast<double>(*sent) / kNumberUnits, weight);
  }
}

TEST(SnapshotDeltaTest, ChangedSettingsSendTheServiceWhole) {
  SnapshotService after = Db();
  after.limits.max_clients = 7;
  const ClusterDelta delta = DiffOf(Db(), after);
  EXPECT_EQ(delta.services.size(), 1u);
  EXPECT_TRUE(delta.changed_services.empty());
}

// A random service of up to five endpoints, with weights of the limiter and of pins.
SnapshotService Random(const std::string& name, std::mt19937& random) {
  SnapshotService service = Named(name);
  service.limits.max_clients = random() % 10 == 0 ? 1 : 0;
  service.endpoints.clear();
  for (const char* id : {"a", "b", "c", "d", "e"}) {
    if (random() % 4 == 0) continue;
    service.endpoints.push_back({id, random() % 8 == 0 ? "10.0.0.2:1" : "10.0.0.1:1",
                                 WeightLimiter::Quantise(0.01 + random() % 997 / 100.0),
                                 random() % 8 == 0, random() % 3 == 0 ? 1.0 / 3 : 1});
  }
  return service;
}

TEST(SnapshotDeltaTest, ApplyUndoesDiffForAnyPairOfSnapshots) {
  const unsigned seed = std::random_device{}();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::mt19937 random(seed);
  const std::vector<std::string> names = {"a", "b", "c", "d", "e"};
  SnapshotPublisher publisher(1, 1);
  for (int i = 0; i < 500; ++i) {
    std::vector<SnapshotService> services;
    for (const std::string& name : names) {
      if (random() % 3 != 0) services.push_back(Random(name, random));
    }
    Publish(publisher, services);
    for (const auto& base : publisher.history()) {
      const auto applied = Apply(*base, Diff(*base, *publisher.current()));
      ASSERT_TRUE(applied.has_value());
      ASSERT_TRUE(SameContent(*applied, *publisher.current()));
    }
  }
}

}  // namespace
}  // namespace trunkline
