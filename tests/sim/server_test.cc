#include "tests/sim/server.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "tests/sim/event_queue.h"
#include "tests/sim/request.h"
#include "tests/sim/scenario.h"

namespace trunkline::sim {
namespace {

class ServerTest : public testing::Test, protected Server::Owner {
 protected:
  enum class End { kServed, kReset, kHungUp, kDropped };

  void Make(ServerSpec spec) {
    spec_ = std::move(spec);
    Server::Owner& owner = *this;
    server_ = std::make_unique<Server>(queue_, requests_, owner, 0, spec_);
  }
  RequestId Send(double cpu, double wait = 0) {
    const RequestId id = requests_.Make();
    requests_[id].cpu = cpu;
    requests_[id].wait = wait;
    EXPECT_TRUE(server_->Accept(id));
    return id;
  }
  void RunTo(double seconds) { queue_.Run(FromSeconds(seconds)); }
  void Note(RequestId id, End end) {
    ends_.emplace_back(Seconds(queue_.now()), end);
    requests_.Release(id);
  }

  void OnServed(size_t, RequestId id) override { Note(id, End::kServed); }
  void OnReset(size_t, RequestId id) override { Note(id, End::kReset); }
  void OnHungUp(size_t, RequestId id) override { Note(id, End::kHungUp); }
  void OnDropped(size_t, RequestId id) override { Note(id, End::kDropped); }

  EventQueue queue_;
  RequestPool requests_;
  ServerSpec spec_;
  std::unique_ptr<Server> server_;
  std::vector<std::pair<double, End>> ends_;
};

TEST_F(ServerTest, OneCoreServesInTheOrderOfArrival) {
  Make({.name = "a"});
  Send(0.3);
  Send(0.1);
  RunTo(1);
  ASSERT_EQ(ends_.size(), 2u);
  EXPECT_NEAR(ends_[0].first, 0.3, 1e-6);
  EXPECT_NEAR(ends_[1].first, 0.4, 1e-6);
  EXPECT_NEAR(server_->CpuSeconds(), 0.4, 1e-6);
}

TEST_F(ServerTest, CoresServeAtTheSameTimeAndSpeedShortensTheWork) {
  Make({.name = "a", .cores = 2, .speed = 2});
  for (int i = 0; i < 3; ++i) Send(0.4);
  RunTo(1);
  ASSERT_EQ(ends_.size(), 3u);
  EXPECT_NEAR(ends_[1].first, 0.2, 1e-6);
  EXPECT_NEAR(ends_[2].first, 0.4, 1e-6);
}

// Two threads use up 50 ms of CPU in 25 ms and stand still for the other 75 ms.
TEST_F(ServerTest, QuotaStopsAllCoresUntilTheNextPeriod) {
  Make({.name = "a", .cores = 2, .quota = 0.5});
  Send(0.03);
  Send(0.03);
  RunTo(0.099);
  EXPECT_TRUE(ends_.empty());
  EXPECT_NEAR(server_->CpuSeconds(), 0.05, 1e-6);
  RunTo(1);
  ASSERT_EQ(ends_.size(), 2u);
  EXPECT_NEAR(ends_[1].first, 0.105, 1e-6);
}

TEST_F(ServerTest, LongWorkGetsItsQuotaAndNoMore) {
  Make({.name = "a", .cores = 4, .quota = 0.5});
  for (int i = 0; i < 50; ++i) Send(1);
  RunTo(10);
  EXPECT_NEAR(server_->CpuSeconds(), 5, 0.06);
}

TEST_F(ServerTest, NeighbourTakesItsShareOfTheCore) {
  Make({.name = "a"});
  server_->SetStolen(0.4);
  Send(0.3);
  RunTo(1);
  ASSERT_EQ(ends_.size(), 1u);
  EXPECT_NEAR(ends_[0].first, 0.5, 1e-6);
  EXPECT_NEAR(server_->CpuSeconds(), 0.3 + 0.4, 1e-6);
  EXPECT_DOUBLE_EQ(server_->capacity(), 0.6);
}

TEST_F(ServerTest, ChangeOfSpeedHoldsForWorkInProgress) {
  Make({.name = "a"});
  Send(0.4);
  RunTo(0.2);
  server_->SetSpeed(0.5);
  RunTo(1);
  ASSERT_EQ(ends_.size(), 1u);
  EXPECT_NEAR(ends_[0].first, 0.6, 1e-6);
}

TEST_F(ServerTest, WaitingPartsOverlapUpToTheLimit) {
  Make({.name = "a", .parallel_waits = 2});
  for (int i = 0; i < 3; ++i) Send(0.001, 0.1);
  RunTo(1);
  ASSERT_EQ(ends_.size(), 3u);
  EXPECT_NEAR(ends_[1].first, 0.102, 1e-6);
  EXPECT_NEAR(ends_[2].first, 0.201, 1e-6);
}

TEST_F(ServerTest, FrozenServerGoesOnWhereItStopped) {
  Make({.name = "a"});
  Send(0.3);
  RunTo(0.1);
  server_->SetFrozen(true);
  Send(0.1);
  RunTo(5);
  EXPECT_TRUE(ends_.empty());
  server_->SetFrozen(false);
  RunTo(6);
  ASSERT_EQ(ends_.size(), 2u);
  EXPECT_NEAR(ends_[0].first, 5.2, 1e-6);
  EXPECT_NEAR(ends_[1].first, 5.3, 1e-6);
}

TEST_F(ServerTest, DeadServerResetsItsFlowsAndRefusesOthers) {
  Make({.name = "a", .parallel_waits = 1});
  Send(0.001, 1);
  Send(0.001, 1);
  Send(0.5);
  RunTo(0.1);
  server_->Die();
  EXPECT_EQ(ends_.size(), 3u);
  for (const auto& [at, end] : ends_) EXPECT_EQ(end, End::kReset);
  EXPECT_EQ(server_->in_flight(), 0u);
  const RequestId id = requests_.Make();
  EXPECT_FALSE(server_->Accept(id));
  RunTo(3);
  EXPECT_EQ(ends_.size(), 3u) << "a wait of the dead process has no end";
}

TEST_F(ServerTest, RestartResetsFlows) {
  Make({.name = "a"});
  Send(1);
  server_->Start();
  ASSERT_EQ(ends_.size(), 1u);
  EXPECT_EQ(ends_[0].second, End::kReset);
  EXPECT_EQ(server_->starts(), 2u);
}

TEST_F(ServerTest, ColdServerIsSlowAtFirst) {
  Make({.name = "a"});
  server_->SetColdFactor(3);
  server_->Die();
  server_->Start();
  Send(0.1);
  RunTo(1);
  EXPECT_NEAR(ends_.at(0).first, 0.3, 1e-6);
  RunTo(100);
  Send(0.1);
  RunTo(101);
  EXPECT_NEAR(ends_.at(1).first, 100.1, 1e-6);
}

TEST_F(ServerTest, FailingServerEndsFlowsAtOnceWithoutWork) {
  Make({.name = "a"});
  server_->SetFailure(Server::Failure::kReset);
  Send(0.3);
  server_->SetFailure(Server::Failure::kHangUp);
  RunTo(0.001);
  Send(0.3);
  RunTo(1);
  ASSERT_EQ(ends_.size(), 2u);
  EXPECT_EQ(ends_[1].second, End::kHungUp);
  EXPECT_EQ(server_->CpuSeconds(), 0);
  EXPECT_EQ(server_->capacity(), 0);
}

TEST_F(ServerTest, AbandonedRequestCostsNothingIfItHasNotBegun) {
  Make({.name = "a"});
  Send(0.1);
  const RequestId left = Send(0.5);
  requests_[left].abandoned = true;
  Send(0.1);
  RunTo(1);
  ASSERT_EQ(ends_.size(), 3u);
  EXPECT_EQ(ends_[1].second, End::kDropped);
  EXPECT_NEAR(ends_[2].first, 0.2, 1e-6);
}

}  // namespace
}  // namespace trunkline::sim
