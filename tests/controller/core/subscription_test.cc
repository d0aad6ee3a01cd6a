#include "controller/core/subscription.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <deque>
#include <memory>

#include "controller/core/snapshot_publisher.h"

namespace trunkline {
namespace {

using Kind = Subscription::Kind;
using AckVerdict = Subscription::AckVerdict;

class SubscriptionTest : public testing::Test {
 protected:
  // The newest version, as in the publisher.
  void Publish(uint64_t version, uint64_t epoch = 1) {
    auto snapshot = std::make_shared<ClusterSnapshot>();
    snapshot->id = {epoch, version};
    history_.push_back(snapshot);
  }
  Subscription::Response Next() { return subscription_.Next(history_.back(), history_); }

  std::deque<Subscription::SnapshotPtr> history_;
  Subscription subscription_{{0, 0}};
};

TEST_F(SubscriptionTest, ProxyWithoutASnapshotGetsTheWholeSnapshot) {
  Publish(1);
  const auto response = Next();
  EXPECT_EQ(response.kind, Kind::kSnapshot);
  EXPECT_NE(response.nonce, 0u);
}

TEST_F(SubscriptionTest, ProxyWithTheNewestVersionGetsOneResponse) {
  Publish(3);
  subscription_ = Subscription({1, 3});
  EXPECT_EQ(Next().kind, Kind::kUpToDate);
  EXPECT_EQ(Next().kind, Kind::kNothing);
}

TEST_F(SubscriptionTest, ProxyWithAKnownVersionGetsTheDifference) {
  Publish(1);
  Publish(2);
  subscription_ = Subscription({1, 1});
  const auto response = Next();
  EXPECT_EQ(response.kind, Kind::kDelta);
  EXPECT_EQ(response.base->id.version, 1u);
}

TEST_F(SubscriptionTest, ProxyOfAnotherEpochGetsEverything) {
  Publish(1);
  Publish(2);
  subscription_ = Subscription({9, 1});
  EXPECT_EQ(Next().kind, Kind::kSnapshot);
}

TEST_F(SubscriptionTest, NextResponseWaitsForTheAck) {
  Publish(1);
  const auto first = Next();
  Publish(2);
  Publish(3);
  EXPECT_EQ(Next().kind, Kind::kNothing);
  EXPECT_EQ(subscription_.OnAck(first.nonce, {1, 1}, false), AckVerdict::kApplied);
  const auto second = Next();
  EXPECT_EQ(second.kind, Kind::kDelta);
  EXPECT_EQ(second.base->id.version, 1u) << "only the latest version is sent";
}

TEST_F(SubscriptionTest, AckOfAnotherNonceIsIgnored) {
  Publish(1);
  const auto first = Next();
  Publish(2);
  EXPECT_EQ(subscription_.OnAck(first.nonce + 1, {1, 1}, false), AckVerdict::kIgnored);
  EXPECT_EQ(subscription_.OnAck(0, {1, 1}, false), AckVerdict::kIgnored);
  EXPECT_EQ(Next().kind, Kind::kNothing);
}

TEST_F(SubscriptionTest, RefusedVersionIsNotOfferedAgain) {
  Publish(1);
  const auto first = Next();
  EXPECT_EQ(subscription_.OnAck(first.nonce, {0, 0}, true), AckVerdict::kRefused);
  EXPECT_EQ(Next().kind, Kind::kNothing);
  EXPECT_EQ(Next().kind, Kind::kNothing);
}

TEST_F(SubscriptionTest, NextVersionAfterANackIsSentAsAWholeSnapshot) {
  Publish(1);
  subscription_.OnAck(Next().nonce, {1, 1}, false);
  Publish(2);
  const auto refused = Next();
  ASSERT_EQ(refused.kind, Kind::kDelta);
  subscription_.OnAck(refused.nonce, {1, 1}, true);
  Publish(3);
  EXPECT_EQ(Next().kind, Kind::kSnapshot);
}

TEST_F(SubscriptionTest, NackThatClaimsTheRefusedVersionIsANack) {
  Publish(1);
  subscription_.OnAck(Next().nonce, {1, 1}, true);
  Publish(2);
  EXPECT_EQ(Next().kind, Kind::kSnapshot);
}

TEST_F(SubscriptionTest, AckThatNamesAnotherVersionIsAnsweredWithEverything) {
  Publish(1);
  subscription_.OnAck(Next().nonce, {1, 7}, false);
  EXPECT_EQ(Next().kind, Kind::kSnapshot);
}

}  // namespace
}  // namespace trunkline
