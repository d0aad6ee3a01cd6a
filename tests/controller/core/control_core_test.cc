#include "controller/core/control_core.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "common/base/balancing_policy.h"
#include "controller/core/endpoint_registry.h"
#include "controller/core/load_model.h"
#include "controller/core/load_report.h"
#include "controller/core/service_spec.h"
#include "controller/core/snapshot_publisher.h"
#include "controller/core/stored_state.h"
#include "tests/controller/core/core_fixture.h"

namespace trunkline {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

class ControlCoreTest : public testing::Test {
 protected:
  ControlCoreTest() { Start({}); }

  void Start(std::optional<StoredState> stored, double at = 0) {
    ControlCore::Options options;
    options.services = services_;
    options.first = {1000, 1};
    if (stored.has_value()) options.first = {stored->epoch, stored->version + 1};
    options.stored = std::move(stored);
    core_ = std::make_unique<ControlCore>(options, At(at));
    session_ = 0;
  }
  void Join(const std::string& id, double at, const std::string& boot = "boot-1") {
    sessions_[id] = ++session_;
    ASSERT_TRUE(core_->registry().Announce(session_, Agent(id, "db", boot), At(at)).ok());
  }
  void Say(const std::string& id, double at, double cpu, double successes = 100) {
    ReportedLoad load = Load(id, cpu, successes);
    ASSERT_TRUE(core_->registry().Report(sessions_[id], ++seq_, {load}, At(at)).ok());
  }
  const SnapshotEndpoint* Published(const std::string& id) {
    for (const auto& service : core_->publisher().current()->services) {
      for (const SnapshotEndpoint& endpoint : service->endpoints) {
        if (endpoint.endpoint_id == id) return &endpoint;
      }
    }
    return nullptr;
  }
  // In each second of [from, to), "a" does twice the work of "b" with the same CPU time.
  void RunTwoToOne(int from, int to) {
    for (int at = from; at < to; ++at) {
      Say("a", at, 0.5, 200);
      Say("b", at, 0.5, 100);
      core_->Tick(At(at));
    }
  }

  std::vector<ServiceSpec> services_ = {Service("db")};
  std::unique_ptr<ControlCore> core_;
  std::map<std::string, AgentSession> sessions_;
  AgentSession session_ = 0;
  uint64_t seq_ = 0;
};

TEST_F(ControlCoreTest, ServiceWithoutEndpointsIsPublishedAtOnce) {
  ASSERT_NE(core_->publisher().current(), nullptr);
  EXPECT_EQ(core_->publisher().current()->id, (SnapshotVersion{1000, 1}));
  EXPECT_EQ(core_->publisher().current()->services.size(), 1u);
}

TEST_F(ControlCoreTest, ConfiguredEndpointWithoutAnAddressIsNotInTheSnapshot) {
  services_ = {Service("db", {{"known", 1, "10.0.0.9:7073"}, {"later", 5, ""}})};
  Start({});
  ASSERT_NE(Published("known"), nullptr);
  EXPECT_EQ(Published("known")->weight, 1);
  EXPECT_EQ(Published("later"), nullptr);
  EXPECT_EQ(core_->View(At(0))->services[0].endpoints.size(), 2u);
}

TEST_F(ControlCoreTest, QuietClusterTakesNoVersions) {
  Join("a", 0);
  Join("b", 0);
  for (int at = 0; at < 60; ++at) {
    Say("a", at, 0.2);
    Say("b", at, 0.2);
    core_->Tick(At(at));
  }
  // The first is for the empty service, the second for the two endpoints.
  EXPECT_EQ(core_->publisher().current()->id.version, 2u);
}

TEST_F(ControlCoreTest, WeightsFollowMeasuredCapacity) {
  Join("a", 0);
  Join("b", 0);
  RunTwoToOne(0, 60);
  EXPECT_NEAR(Published("a")->weight / Published("b")->weight, 2, 0.2);
}

// All capacities of a service drift while it learns. Each step of each would go to every proxy.
TEST_F(ControlCoreTest, DriftingCapacityIsPublishedOnceItIsFarOff) {
  Join("a", 0);
  Join("b", 0);
  RunTwoToOne(0, 1);
  const double first = Published("a")->capacity;
  double published = first;
  for (int at = 1; at < 600; ++at) {
    RunTwoToOne(at, at + 1);
    const double now = Published("a")->capacity;
    if (now != published) {
      EXPECT_GT(std::abs(std::log(now / published)), 0.04) << at;
    }
    published = now;
    const double learned = core_->View(At(at))->services[0].endpoints[0].load.capacity;
    // Besides the 5 %, what a second moves.
    EXPECT_NEAR(published / learned, 1, 0.07) << at;
  }
  EXPECT_GT(published, 1.1 * first) << "it was learned";
}

TEST_F(ControlCoreTest, ExpiredEndpointStaysInTheSnapshot) {
  Join("a", 0);
  Join("b", 0);
  RunTwoToOne(0, 5);
  for (int at = 5; at < 120; ++at) {
    Say("b", at, 0.5, 100);
    core_->Tick(At(at));
  }
  ASSERT_NE(Published("a"), nullptr);
  EXPECT_GT(Published("a")->weight, 0);
  EXPECT_EQ(core_->View(At(120))->services[0].endpoints[0].endpoint.state,
            EndpointCondition::kExpired);
}

TEST_F(ControlCoreTest, LeavingEndpointIsGoneFromTheNextSnapshot) {
  Join("a", 0);
  Join("b", 0);
  RunTwoToOne(0, 2);
  core_->registry().Leave(sessions_["a"]);
  EXPECT_TRUE(core_->Tick(At(2)));
  EXPECT_EQ(Published("a"), nullptr);
}

TEST_F(ControlCoreTest, DrainIsEffectiveFromTheNextSnapshot) {
  Join("a", 0);
  Join("b", 0);
  RunTwoToOne(0, 2);
  ASSERT_TRUE(core_->registry().SetDraining({"db", "a"}, true).ok());
  EXPECT_TRUE(core_->Tick(At(2.01)));
  EXPECT_TRUE(Published("a")->draining);
  EXPECT_EQ(Published("a")->weight, 0);
  EXPECT_EQ(Published("b")->weight, 1);
  ASSERT_TRUE(core_->registry().SetDraining({"db", "a"}, false).ok());
  EXPECT_TRUE(core_->Tick(At(2.02)));
  EXPECT_FALSE(Published("a")->draining);
  EXPECT_GT(Published("a")->weight, 0);
}

TEST_F(ControlCoreTest, RestartServesTheStoredWeightsUntilReportsAreBack) {
  Join("a", 0);
  Join("b", 0);
  RunTwoToOne(0, 60);
  const double a = Published("a")->weight, b = Published("b")->weight;
  const StoredState stored = core_->Export();
  Start(stored, 1000);
  EXPECT_EQ(core_->publisher().current()->id, (SnapshotVersion{1000, stored.version + 1}));
  EXPECT_EQ(Published("a")->weight, a);
  EXPECT_EQ(Published("b")->weight, b);
  // Only the smaller endpoint reports, overloaded. It has less than half of the capacity, so the
  // weights stay frozen.
  Join("b", 1001);
  for (int at = 1001; at < 1008; ++at) {
    Say("b", at, 0.99, 5);
    core_->Tick(At(at));
    EXPECT_EQ(Published("b")->weight, b) << "at " << at;
  }
  EXPECT_THAT(core_->View(At(1008))->services[0].load.freeze_reason, HasSubstr("restart"));
  // When the larger endpoint reports, the freeze ends.
  Join("a", 1008);
  for (int at = 1008; at < 1020; ++at) {
    Say("a", at, 0.5, 200);
    Say("b", at, 0.99, 50);
    core_->Tick(At(at));
  }
  EXPECT_LT(Published("b")->weight, b);
  EXPECT_THAT(core_->View(At(1020))->services[0].load.freeze_reason, IsEmpty());
}

TEST_F(ControlCoreTest, RestartFreezeEndsIfTheOtherEndpointsNeverReturn) {
  Join("a", 0);
  Join("b", 0);
  RunTwoToOne(0, 60);
  Start(core_->Export(), 1000);
  Join("b", 1001);
  for (int at = 1001; at < 1015; ++at) {
    Say("b", at, 0.5, 100);
    core_->Tick(At(at));
  }
  EXPECT_TRUE(core_->View(At(1015))->services[0].load.frozen());
  Say("b", 1016, 0.5, 100);
  core_->Tick(At(1016));
  EXPECT_FALSE(core_->View(At(1016))->services[0].load.frozen());
}

// An autoscaler kills most servers at once; their kernels close the connections.
TEST_F(ControlCoreTest, ScaleInFreezesNoLongerThanAgentsTakeToReconnect) {
  const std::vector<std::string> killed = {"b", "c", "d"};
  Join("a", 0);
  for (const std::string& id : killed) Join(id, 0);
  for (int at = 0; at < 5; ++at) {
    Say("a", at, 0.5);
    for (const std::string& id : killed) Say(id, at, 0.5);
    core_->Tick(At(at));
  }
  for (const std::string& id : killed) core_->registry().Disconnect(sessions_[id], At(4.5));
  for (int at = 5; at < 19; ++at) {
    Say("a", at, 0.5);
    core_->Tick(At(at));
  }
  EXPECT_TRUE(core_->View(At(19))->services[0].load.frozen()) << "they may reconnect";
  Say("a", 20, 0.5);
  core_->Tick(At(20));
  EXPECT_FALSE(core_->View(At(20))->services[0].load.frozen());
}

TEST_F(ControlCoreTest, LostNetworkFreezesLongerThanAScaleIn) {
  const std::vector<std::string> lost = {"b", "c", "d"};
  Join("a", 0);
  for (const std::string& id : lost) Join(id, 0);
  for (int at = 0; at < 60; ++at) {
    Say("a", at, 0.5);
    for (const std::string& id : lost) {
      if (at < 5) Say(id, at, 0.5);
      // Keepalive notices the loss.
      if (at == 19) core_->registry().Disconnect(sessions_[id], At(at));
    }
    core_->Tick(At(at));
  }
  EXPECT_TRUE(core_->View(At(60))->services[0].load.frozen());
}

TEST_F(ControlCoreTest, RestartKeepsDrainsPinsAndDepartedCapacities) {
  Join("a", 0);
  Join("b", 0);
  RunTwoToOne(0, 600);
  const double learned = core_->View(At(600))->services[0].endpoints[0].load.capacity;
  ASSERT_TRUE(core_->registry().SetPin({"db", "b"}, 3).ok());
  core_->registry().Leave(sessions_["a"]);
  core_->Tick(At(600));
  Start(core_->Export(), 1000);
  EXPECT_EQ(Published("b")->weight, 3);
  Join("a", 1001);
  Say("a", 1001, 0.5);
  core_->Tick(At(1001));
  const EndpointEstimate load = core_->View(At(1001))->services[0].endpoints[0].load;
  EXPECT_EQ(load.capacity_source, CapacitySource::kStored);
  EXPECT_GT(load.capacity, 1.1);
  EXPECT_GT(learned, 1.1);
}

TEST_F(ControlCoreTest, RestartKeepsTheWeightOfAnEndpointThatNeverReported) {
  services_ = {Service("db", {{"later", 0, "10.0.0.9:7073"}})};
  Start({});
  Join("a", 0);
  for (int at = 0; at < 60; ++at) {
    Say("a", at, 0.5);
    core_->Tick(At(at));
  }
  const double before = Published("later")->weight;
  Start(core_->Export(), 1000);
  Join("a", 1000);
  for (int at = 1000; at < 1005; ++at) {
    Say("a", at, 0.5);
    core_->Tick(At(at));
  }
  EXPECT_EQ(Published("later")->weight, before);
}

TEST_F(ControlCoreTest, ConfiguredAddressBeatsTheStoredOneOnlyIfItWasEdited) {
  // The agent of "a" announces 10.0.0.1:7073.
  services_ = {Service("db", {{"a", 0, "10.0.0.9:7073"}})};
  Start({});
  Join("a", 0);
  Say("a", 0, 0.5);
  core_->Tick(At(0));
  ASSERT_EQ(Published("a")->address, "10.0.0.1:7073");
  Start(core_->Export(), 1000);
  EXPECT_EQ(Published("a")->address, "10.0.0.1:7073") << "the agent's address is newer";
  EXPECT_THAT(core_->restore_notes(), IsEmpty());
  // The same after a second restart without the agent.
  Start(core_->Export(), 2000);
  EXPECT_EQ(Published("a")->address, "10.0.0.1:7073");
  services_ = {Service("db", {{"a", 0, "10.0.0.8:7073"}})};
  Start(core_->Export(), 3000);
  EXPECT_EQ(Published("a")->address, "10.0.0.8:7073");
  EXPECT_THAT(core_->restore_notes(), testing::ElementsAre(HasSubstr("10.0.0.8:7073")));
}

TEST_F(ControlCoreTest, EditedWeightRestartsOnlyACapacityThatWasNotLearned) {
  services_ = {Service("db", {{"a", 3, ""}, {"b", 1, ""}})};
  Start({});
  const auto capacities = [&] {
    const auto view = core_->View(At(0));
    return view->services[0].endpoints[0].load.capacity /
           view->services[0].endpoints[1].load.capacity;
  };
  const auto say_both = [&](int from, int to, double cpu) {
    Join("a", from);
    Join("b", from);
    for (int at = from; at < to; ++at) {
      Say("a", at, cpu, 100);
      Say("b", at, cpu, 100);
      core_->Tick(At(at));
    }
  };
  say_both(0, 5, 0.1);
  EXPECT_NEAR(capacities(), 3, 0.01) << "too idle to learn from";
  services_ = {Service("db", {{"a", 1, ""}, {"b", 1, ""}})};
  Start(core_->Export(), 1000);
  EXPECT_NEAR(capacities(), 1, 0.01);
  say_both(1000, 1200, 0.5);
  const double learned = capacities();
  services_ = {Service("db", {{"a", 5, ""}, {"b", 1, ""}})};
  Start(core_->Export(), 2000);
  EXPECT_EQ(capacities(), learned) << "measured under load";
}

TEST_F(ControlCoreTest, ConfiguredWeightThatIsGoneDoesNotReturnFromTheState) {
  services_ = {Service("db", {{"a", 7, "10.0.0.9:7073"}, {"b", 0, "10.0.0.8:7073"}})};
  services_[0].policy = BalancingPolicy::kStatic;
  Start({});
  Join("a", 0);
  Say("a", 0, 0.1);
  core_->Tick(At(0));
  services_[0].endpoints[0].weight = 0;
  Start(core_->Export(), 1000);
  EXPECT_EQ(core_->View(At(1000))->services[0].endpoints[0].endpoint.operator_capacity, 0);
}

// Proxies that lose their controller move weights toward capacities.
TEST_F(ControlCoreTest, CapacityUnderOtherPoliciesIsTheConfiguredWeight) {
  for (const auto& [policy, a, b] : {std::tuple(BalancingPolicy::kStatic, 7.0, 1.0),
                                     std::tuple(BalancingPolicy::kMaglev, 7.0, 1.0),
                                     std::tuple(BalancingPolicy::kRoundRobin, 1.0, 1.0)}) {
    services_ = {Service("db", {{"a", 7, "10.0.0.9:7073"}, {"b", 0, "10.0.0.8:7073"}})};
    services_[0].policy = policy;
    Start({});
    EXPECT_EQ(Published("a")->capacity, a);
    EXPECT_EQ(Published("b")->capacity, b);
  }
}

TEST_F(ControlCoreTest, EndpointThatLeftTheConfigurationStaysOnlyWithItsAgent) {
  services_ = {Service("db", {{"a", 0, "10.0.0.9:7073"}, {"gone", 0, "10.0.0.8:7073"}})};
  Start({});
  Join("a", 0);
  Say("a", 0, 0.5);
  core_->Tick(At(0));
  services_ = {Service("db")};
  Start(core_->Export(), 1000);
  ASSERT_NE(Published("a"), nullptr);
  EXPECT_EQ(Published("a")->address, "10.0.0.1:7073");
  EXPECT_EQ(Published("gone"), nullptr);
  EXPECT_THAT(core_->restore_notes(),
              testing::UnorderedElementsAre(
                  HasSubstr("db/a is no longer in the configuration; it stays because agent a"),
                  HasSubstr("db/gone at 10.0.0.8:7073 leaves")));
}

TEST_F(ControlCoreTest, ServiceThatLeftTheConfigurationIsNotRestored) {
  Join("a", 0);
  RunTwoToOne(0, 0);
  Say("a", 0, 0.5);
  core_->Tick(At(0));
  const StoredState stored = core_->Export();
  services_ = {Service("web")};
  Start(stored, 1000);
  EXPECT_EQ(Published("a"), nullptr);
  EXPECT_EQ(core_->publisher().current()->services[0]->name, "web");
}

TEST_F(ControlCoreTest, ServerBackFromARestartStartsSlowlyFromATenth) {
  Join("a", 0);
  Join("b", 0);
  for (int at = 0; at < 40; ++at) {
    Say("a", at, 0.5);
    Say("b", at, 0.5);
    core_->Tick(At(at));
  }
  ASSERT_EQ(Published("a")->weight, 1);
  Join("a", 40, "boot-2");
  Say("a", 40, 0.5);
  Say("b", 40, 0.5);
  core_->Tick(At(40));
  EXPECT_NEAR(Published("a")->weight / Published("b")->weight, 0.1, 0.01);
}

TEST_F(ControlCoreTest, ViewBetweenTicksSurvivesComingAndGoing) {
  for (const char* id : {"a", "b", "c"}) {
    Join(id, 0);
    Say(id, 0, 0.5);
  }
  core_->Tick(At(0));
  core_->registry().Leave(sessions_["a"]);
  Join("bb", 0);
  const auto view = core_->View(At(0));
  ASSERT_EQ(view->services[0].endpoints.size(), 3u);
  EXPECT_EQ(view->services[0].endpoints[0].proposed.endpoint_id, "b");
  EXPECT_EQ(view->services[0].endpoints[1].weight, 0) << "bb is weighed by the next tick";
  EXPECT_EQ(view->services[0].endpoints[2].proposed.endpoint_id, "c");
}

}  // namespace
}  // namespace trunkline
