// One worker's router with fake carriers and flows, on the test's own loop.
#include "dataplane/route/service_router.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/balancing_policy.h"
#include "common/base/clock.h"
#include "common/net/address_list.h"
#include "common/net/ip_port.h"
#include "dataplane/flow/client_origin.h"
#include "dataplane/flow/flow.h"
#include "dataplane/flow/flow_end.h"
#include "dataplane/flow/lingering_closes.h"
#include "dataplane/route/carrier.h"
#include "dataplane/route/dialer.h"
#include "dataplane/route/endpoint_state.h"
#include "dataplane/route/worker_context.h"
#include "dataplane/stats/endpoint_health.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/table/endpoint_set.h"
#include "tests/common/log_capture.h"

namespace trunkline {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using State = EndpointHealth::State;

class FakeCarrier final : public Carrier {
 public:
  void OnTarget() override { ++targets; }
  bool usable() const override { return is_usable; }
  bool full() const override { return is_full; }
  std::string DescribeFull() const override { return "no stream is free"; }
  bool failing() const override { return is_failing; }
  void Await() override { ++awaited; }
  bool idle() const override { return !used(); }
  void SetUsable(bool usable) {
    is_usable = usable;
    NotifyUsers();
  }
  void SetFull(bool full) {
    is_full = full;
    SetUsable(!full);
  }
  void SetFailing(bool failing) {
    is_failing = failing;
    NotifyUsers();
  }
  void GiveRoom(int more) {
    room += more;
    NotifyOfRoom();
  }

  bool is_usable = true;
  bool is_full = false;
  bool is_failing = false;
  int room = 1'000'000;        // flows that may still start
  int other_room = 1'000'000;  // the same, of variant 1
  int targets = 0;
  int awaited = 0;
};

class FakeFlow final : public Flow {
 public:
  explicit FakeFlow(ServiceRouter& router, uint8_t variant = 0) : Flow(router, MonotonicNow()) {
    set_variant(variant);
  }
  void Begin() override { router().Route(*this); }
  bool Start(EndpointState& endpoint) override {
    auto& carrier = dynamic_cast<FakeCarrier&>(*endpoint.carrier);
    int& room = variant() == 0 ? carrier.room : carrier.other_room;
    if (room == 0) return false;
    --room;
    ++starts;
    return true;
  }
  void GiveUp() override { gave_up = true; }
  void Shutdown() override {}

  int starts = 0;
  bool gave_up = false;
};

class ServiceRouterTest : public ::testing::Test,
                          public ServiceRouter::Owner,
                          public Dialer::Owner {
 protected:
  void Start(const std::vector<double>& weights) {
    for (size_t i = 0; i < weights.size(); ++i) names_.push_back(Name(i));
    const WorkerContext worker = {.loop = loop_,
                                  .stats = stats_.worker(0),
                                  .dialer = dialer_,
                                  .lingering_closes = lingering_};
    router_ = std::make_unique<ServiceRouter>(worker, *this, ServiceRouter::Options(),
                                              MakeSet(weights, 1));
  }
  ~ServiceRouterTest() override {
    for (const auto& flow : flows_) router_->Release(*flow);
    router_.reset();
  }

  // Names sort like their numbers.
  static std::string Name(size_t i) { return absl::StrCat(1'000'000 + i); }

  std::shared_ptr<EndpointSet> MakeSet(const std::vector<double>& weights, uint64_t layout) {
    auto set = std::make_shared<EndpointSet>();
    set->service = "db";
    set->layout = layout;
    set->stats = stats_.Listener("db");
    for (size_t i = 0; i < weights.size(); ++i) {
      Endpoint endpoint;
      endpoint.id = names_[i];
      endpoint.address = absl::StrCat("host-", names_[i]);
      endpoint.addresses = OneAddress(SocketAddress());
      endpoint.weight = weights[i];
      endpoint.stats = stats_.Endpoint("db", endpoint.id);
      set->endpoints.push_back(std::move(endpoint));
    }
    set->weights = MakeWeights(set->endpoints);
    return set;
  }

  FakeFlow& AddFlow(uint8_t variant = 0) {
    flows_.push_back(std::make_unique<FakeFlow>(*router_, variant));
    router_->Join(*flows_.back());
    return *flows_.back();
  }
  static std::string At(const FakeFlow& flow) {
    return flow.endpoint() == nullptr ? "" : flow.endpoint()->endpoint().id;
  }
  FakeCarrier& carrier(size_t i) { return *carriers_.at(absl::StrCat("host-", names_[i])); }
  void SetHealth(size_t i, EndpointHealth::State state) {
    stats_.Endpoint("db", Name(i))->health.Set(state);
    router_->OnHealthChanged(Name(i));
  }
  int64_t active(size_t i) { return stats_.Endpoint("db", names_[i])->cell(0).active.Value(); }
  void RunPass() { loop_.RunOnce(absl::ZeroDuration()); }

  Carrier& CarrierFor(const EndpointSet&, const Endpoint& endpoint) override {
    ++joined_;
    auto& carrier = carriers_[endpoint.address];
    if (carrier == nullptr) carrier = std::make_unique<FakeCarrier>();
    return *carrier;
  }
  void OnFlowGone(Flow&) override {}
  void OnFlowReplaced(Flow&, std::unique_ptr<Flow>) override {}
  bool HasSocket() const override { return true; }
  void DialAgain() override {}

  EventLoop loop_;
  TrafficStats stats_{1};
  Dialer dialer_{loop_, stats_.worker(0), *this};
  LingeringCloses lingering_{loop_};
  std::map<std::string, std::unique_ptr<FakeCarrier>> carriers_;
  std::vector<std::string> names_;
  size_t joined_ = 0;
  std::vector<std::unique_ptr<FakeFlow>> flows_;
  std::unique_ptr<ServiceRouter> router_;
};

// Flows of one address meet again at the endpoint that keeps its client's state.
TEST_F(ServiceRouterTest, MaglevKeepsTheFlowsOfAnAddressTogether) {
  Start({1, 1, 1, 1});
  const auto set = MakeSet({1, 1, 1, 1}, 1);
  set->policy = BalancingPolicy::kMaglev;
  router_->Update(set);
  std::set<std::string> used;
  for (int client = 0; client < 40; ++client) {
    std::set<std::string> of_client;
    for (uint16_t port = 1; port <= 5; ++port) {
      auto flow = std::make_unique<FakeFlow>(*router_);
      auto origin = std::make_unique<ClientOrigin>();
      origin->addresses.source =
          *ParseIpPort(absl::StrCat(port % 2 == 0 ? "192.0.2." : "[::ffff:192.0.2.", client,
                                    port % 2 == 0 ? "" : "]", ":", port));
      flow->set_origin(std::move(origin));
      flows_.push_back(std::move(flow));
      router_->Join(*flows_.back());
      of_client.insert(At(*flows_.back()));
    }
    EXPECT_EQ(of_client.size(), 1u) << "client " << client;
    used.insert(of_client.begin(), of_client.end());
  }
  EXPECT_EQ(used.size(), 4u);
}

TEST_F(ServiceRouterTest, LeastTimeLearnsFromFirstBytes) {
  Start({1, 1});
  const auto set = MakeSet({1, 1}, 1);
  set->policy = BalancingPolicy::kLeastTime;
  router_->Update(set);
  for (int i = 0; i < 2; ++i) {
    FakeFlow& flow = AddFlow();
    const absl::Duration time = At(flow) == Name(0) ? absl::Seconds(5) : absl::Milliseconds(1);
    router_->OnFirstByte(flow, MonotonicNow() - time);
    router_->Release(flow);
    carrier(At(flow) == Name(0) ? 0 : 1).SetUsable(false);
  }
  carrier(0).SetUsable(true);
  carrier(1).SetUsable(true);
  for (int i = 0; i < 10; ++i) EXPECT_EQ(At(AddFlow()), Name(1));
}

// A full endpoint's flows go to the others by weight and load: with weights 4:2:1 and the first one
// full, the other two get 2:1. The first endpoint in the list must not get all of them.
TEST_F(ServiceRouterTest, OverflowOfAFullEndpointIsSharedByWeight) {
  Start({4, 2, 1});
  carrier(0).room = 0;
  for (int i = 0; i < 900; ++i) AddFlow();
  EXPECT_EQ(active(0), 0);
  EXPECT_NEAR(static_cast<double>(active(1)), 600, 30);
  EXPECT_NEAR(static_cast<double>(active(2)), 300, 30);
}

TEST_F(ServiceRouterTest, FlowWaitsWhileAllAreFullAndGoesToTheFirstWithRoom) {
  Start({1, 1, 1});
  for (size_t i = 0; i < 3; ++i) carrier(i).room = 0;
  FakeFlow& first = AddFlow();
  FakeFlow& second = AddFlow();
  EXPECT_TRUE(first.pending() && second.pending());
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(carrier(i).awaited, 1) << "each is asked once";
  carrier(2).GiveRoom(1);
  RunPass();
  EXPECT_EQ(At(first), Name(2)) << "in the order of arrival";
  EXPECT_TRUE(second.pending());
  EXPECT_EQ(carrier(2).awaited, 2) << "and again after it reported room";
  carrier(0).GiveRoom(1);
  RunPass();
  EXPECT_EQ(At(second), Name(0));
}

TEST_F(ServiceRouterTest, FlowThatLeavesThePendingQueueIsNotServed) {
  Start({1});
  carrier(0).room = 0;
  FakeFlow& first = AddFlow();
  FakeFlow& second = AddFlow();
  router_->Release(first);
  carrier(0).GiveRoom(1);
  RunPass();
  EXPECT_EQ(first.starts, 0);
  EXPECT_EQ(At(second), Name(0));
}

// The service has more endpoints than are tried for one flow, and all but the last are full.
TEST_F(ServiceRouterTest, FlowWithoutRoomDoesNotHoldUpFlowsOfAnotherVariant) {
  Start({1});
  carrier(0).room = carrier(0).other_room = 0;
  FakeFlow& first = AddFlow(/*variant=*/0);
  FakeFlow& other = AddFlow(/*variant=*/1);
  carrier(0).other_room = 1;
  carrier(0).GiveRoom(0);
  RunPass();
  EXPECT_EQ(other.starts, 1);
  EXPECT_EQ(first.starts, 0);
  FakeFlow& another = AddFlow(/*variant=*/1);
  carrier(0).GiveRoom(1);
  RunPass();
  EXPECT_EQ(first.starts, 1);
  EXPECT_EQ(another.starts, 0);
}

TEST_F(ServiceRouterTest, RoomAtOneOfManyFullEndpointsIsFound) {
  Start(std::vector<double>(500, 1.0));
  while (joined_ < 500) RunPass();
  for (size_t i = 0; i < 500; ++i) carrier(i).room = 0;
  FakeFlow& flow = AddFlow();
  EXPECT_TRUE(flow.pending());
  carrier(499).GiveRoom(1);
  RunPass();
  EXPECT_EQ(At(flow), Name(499));
}

TEST_F(ServiceRouterTest, ManyEndpointsAreJoinedAFewPerPass) {
  Start(std::vector<double>(1'000, 1.0));
  EXPECT_GE(joined_, 1u);
  size_t passes = 0;
  for (size_t before = 0; joined_ < 1'000; ++passes) {
    before = joined_;
    EXPECT_FALSE(AddFlow().pending()) << "flows go to the endpoints joined so far";
    RunPass();
    ASSERT_GT(joined_, before);
    EXPECT_LE(joined_ - before, 64u);
  }
  EXPECT_GE(passes, 1'000u / 64 - 1);
}

TEST_F(ServiceRouterTest, UnhealthyEndpointGetsFlowsOnlyWhenNoOtherCanTakeThem) {
  Start({1, 1});
  SetHealth(0, State::kUnhealthy);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(At(AddFlow()), Name(1));
  carrier(1).SetUsable(false);
  EXPECT_EQ(At(AddFlow()), Name(0));
  carrier(1).SetUsable(true);
  SetHealth(1, State::kUnhealthy);
  SetHealth(0, State::kHealthy);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(At(AddFlow()), Name(0));
  router_->OnHealthChanged("no-such-endpoint");
}

// The pattern of a partial outage: the servers that are left fill up.
TEST_F(ServiceRouterTest, FlowWaitsForAFullHealthyEndpointBesideAnUnhealthyOne) {
  Start({1, 1});
  SetHealth(0, State::kUnhealthy);
  carrier(1).room = 0;
  FakeFlow& flow = AddFlow();
  EXPECT_TRUE(flow.pending());
  carrier(1).GiveRoom(1);
  RunPass();
  EXPECT_EQ(At(flow), Name(1));
}

TEST_F(ServiceRouterTest, FlowWaitsForAFullHealthyEndpointBesideOneToWhichConnectsFail) {
  Start({1, 1});
  carrier(0).SetFailing(true);
  carrier(1).room = 0;
  FakeFlow& flow = AddFlow();
  EXPECT_TRUE(flow.pending());
  carrier(1).GiveRoom(1);
  RunPass();
  EXPECT_EQ(At(flow), Name(1));
}

// As in tunnel mode, where a carrier knows that it is full.
TEST_F(ServiceRouterTest, EndpointThatSaysThatItIsFullIsHealthy) {
  Start({1, 1});
  carrier(0).SetFailing(true);
  carrier(1).SetFull(true);
  FakeFlow& flow = AddFlow();
  EXPECT_TRUE(flow.pending());
  carrier(1).SetFull(false);
  RunPass();
  EXPECT_EQ(At(flow), Name(1));
}

TEST_F(ServiceRouterTest, WaitingFlowGoesToAnUnhealthyEndpointOnceNoneIsHealthy) {
  Start({1, 1});
  SetHealth(0, State::kUnhealthy);
  carrier(1).room = 0;
  FakeFlow& flow = AddFlow();
  ASSERT_TRUE(flow.pending());
  SetHealth(1, State::kUnhealthy);
  RunPass();
  EXPECT_EQ(At(flow), Name(0));
}

TEST_F(ServiceRouterTest, WaitingFlowGoesToAnEndpointThatBecomesHealthy) {
  Start({1, 1});
  SetHealth(0, State::kUnhealthy);
  carrier(1).room = 0;
  FakeFlow& flow = AddFlow();
  ASSERT_TRUE(flow.pending());
  SetHealth(0, State::kHealthy);
  RunPass();
  EXPECT_EQ(At(flow), Name(0));
}

TEST_F(ServiceRouterTest, RoomAtAnUnhealthyEndpointOfManyIsNotUsed) {
  Start(std::vector<double>(500, 1.0));
  while (joined_ < 500) RunPass();
  for (size_t i = 0; i < 500; ++i) carrier(i).room = 0;
  SetHealth(499, State::kUnhealthy);
  FakeFlow& flow = AddFlow();
  ASSERT_TRUE(flow.pending());
  carrier(499).GiveRoom(1);
  RunPass();
  EXPECT_TRUE(flow.pending());
}

TEST_F(ServiceRouterTest, RetryPrefersTheHealthyEndpointThatFailedToAnUnhealthyOne) {
  Start({1, 1});
  SetHealth(0, State::kUnhealthy);
  FakeFlow& flow = AddFlow();
  ASSERT_EQ(At(flow), Name(1));
  ASSERT_TRUE(router_->TryElsewhere(flow));
  EXPECT_EQ(At(flow), Name(1));
}

TEST_F(ServiceRouterTest, LogSaysWhyAClientWaitedInVainBesideAnUnhealthyEndpoint) {
  const test::LogCapture log;
  Start({1, 1});
  SetHealth(0, State::kUnhealthy);
  carrier(1).room = 0;
  FakeFlow& flow = AddFlow();
  ASSERT_TRUE(flow.pending());
  router_->OnFlowDone(flow, FlowEnd::kNoEndpoint);
  EXPECT_THAT(log.text(), HasSubstr("endpoints: 1 ejected after failed connects or health checks, "
                                    "1 without a free connection"));
}

TEST_F(ServiceRouterTest, EndpointThatIsUnhealthyWhenItIsJoinedGetsNoFlows) {
  for (size_t i = 0; i < 2; ++i) names_.push_back(Name(i));
  const auto set = MakeSet({1, 1}, 1);
  names_.clear();
  set->endpoints[0].stats->health.Set(EndpointHealth::State::kUnhealthy);
  Start({1, 1});
  for (int i = 0; i < 20; ++i) EXPECT_EQ(At(AddFlow()), Name(1));
}

TEST_F(ServiceRouterTest, NewWeightsJoinNothingAndTakeEffectAtOnce) {
  Start({1, 1, 0});
  const size_t joined = joined_;
  router_->Update(MakeSet({0, 0, 1}, 1));
  EXPECT_EQ(joined_, joined);
  EXPECT_EQ(carrier(0).targets, 1);
  std::vector<std::string> at;
  for (int i = 0; i < 20; ++i) at.push_back(At(AddFlow()));
  EXPECT_THAT(at, Each(Name(2)));
}

TEST_F(ServiceRouterTest, EndpointsThatStayKeepTheirFlowsWhenOthersComeAndGo) {
  Start({1, 1, 1});
  std::vector<FakeFlow*> at_last;
  for (int i = 0; i < 30; ++i) {
    FakeFlow& flow = AddFlow();
    if (At(flow) == Name(2)) at_last.push_back(&flow);
  }
  ASSERT_FALSE(at_last.empty());
  names_ = {Name(0), "0new", Name(2)};
  std::sort(names_.begin(), names_.end());
  router_->Update(MakeSet({1, 1, 1}, 2));
  EXPECT_EQ(joined_, 4u) << "only the new endpoint is joined";
  EXPECT_EQ(At(*at_last.front()), Name(2));
  EXPECT_FALSE(at_last.front()->endpoint()->departed());
  EXPECT_TRUE(carriers_.at(absl::StrCat("host-", Name(1)))->idle()) << "released";
}

TEST_F(ServiceRouterTest, FlowsOfAnEndpointThatLeftRunOnAndAreCountedThere) {
  Start({1, 1});
  carrier(0).room = 0;
  FakeFlow& flow = AddFlow();
  ASSERT_EQ(At(flow), Name(1));
  const std::shared_ptr<EndpointStats> stats = stats_.Endpoint("db", Name(1));
  names_ = {Name(0)};
  router_->Update(MakeSet({1}, 2));
  EXPECT_TRUE(flow.endpoint()->departed());
  EXPECT_EQ(flow.endpoint()->carrier, nullptr);
  EXPECT_EQ(At(flow), Name(1)) << "the flow still knows its endpoint";
  router_->CountActive(flow, 1);
  EXPECT_EQ(stats->cell(0).active.Value(), 2);
  router_->CountActive(flow, -1);
  router_->Release(flow);
  EXPECT_EQ(stats->cell(0).active.Value(), 0);
}

TEST_F(ServiceRouterTest, EndpointWithoutAUsableCarrierGetsNoFlows) {
  Start({1, 1});
  carrier(1).SetUsable(false);
  for (int i = 0; i < 20; ++i) EXPECT_EQ(At(AddFlow()), Name(0));
  carrier(0).SetUsable(false);
  FakeFlow& flow = AddFlow();
  EXPECT_TRUE(flow.pending());
  carrier(1).SetUsable(true);
  RunPass();
  EXPECT_EQ(At(flow), Name(1));
}

TEST_F(ServiceRouterTest, RetryGoesToAnEndpointThatWasNotTried) {
  Start({1'000, 1, 1});
  FakeFlow* flow = nullptr;
  do flow = &AddFlow();
  while (At(*flow) != Name(0));
  std::vector<std::string> tried = {At(*flow)};
  while (router_->TryElsewhere(*flow)) tried.push_back(At(*flow));
  std::sort(tried.begin(), tried.end());
  EXPECT_THAT(tried, ElementsAre(Name(0), Name(1), Name(2)));
}

// Without a carrier that notices, as in tunnel mode.
TEST_F(ServiceRouterTest, FlowsMoveFromAnEjectedEndpointAtNoCostToTheRetryBudget) {
  constexpr size_t kMoreThanTheBudget = 200;
  Start({1'000'000, 1});
  std::vector<FakeFlow*> flows;
  while (flows.size() < kMoreThanTheBudget) {
    FakeFlow& flow = AddFlow();
    if (At(flow) == Name(0)) flows.push_back(&flow);
  }
  for (FakeFlow* flow : flows) {
    router_->OnConnectFailed(*flow, ConnectFailure::kTimeout);
    ASSERT_TRUE(router_->TryElsewhere(*flow));
    EXPECT_EQ(At(*flow), Name(1));
  }
}

TEST_F(ServiceRouterTest, FullPendingQueueMakesTheNextFlowGiveUp) {
  Start({1});
  carrier(0).room = 0;
  for (int i = 0; i < 10'000; ++i) ASSERT_TRUE(AddFlow().pending());
  FakeFlow& refused = AddFlow();
  EXPECT_TRUE(refused.gave_up);
  EXPECT_FALSE(refused.pending());
}

}  // namespace
}  // namespace trunkline
