// The number of trunks from a worker to an agent: as many as the streams need, within the bound.
#include "dataplane/tunnel/trunk_pool.h"

#include <gtest/gtest.h>

#include <cstddef>
#include <cstdint>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/random.h"
#include "tests/common/eventually.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/local_server.h"
#include "tests/dataplane/whole/tunnel.h"

namespace trunkline {
namespace {

using test::Eventually;
using test::ExpectExchange;
using test::LocalServer;
using test::Peer;
using test::Tunnel;

class TrunkPoolTest : public ::testing::Test {
 protected:
  void Start(TrunkPool::Options trunks) {
    test::AllowDescriptors(4000);
    Tunnel::Options options;
    options.trunks = std::move(trunks);
    tunnel_.emplace(std::move(options));
    tunnel_->AddAgent(server_.address());
    tunnel_->Start();
  }
  // A client that is connected to its server and stays.
  void Join() {
    Peer client = tunnel_->Connect();
    Peer server = server_.Accept();
    ASSERT_TRUE(client && server) << "client " << clients_.size();
    ExpectExchange(client, server, "question", "answer");
    clients_.push_back(std::move(client));
    servers_.push_back(std::move(server));
  }
  void Join(size_t count) {
    for (size_t i = 0; i < count && !HasFailure(); ++i) Join();
  }
  void AllClientsLeave() {
    clients_.clear();
    for (Peer& server : servers_) server.ReadToEnd();
    servers_.clear();
    ASSERT_TRUE(Eventually([&] { return tunnel_->clients() == 0; }));
  }
  // Including draining trunks.
  int64_t trunks() { return tunnel_->worker().trunks.Value(); }

  LocalServer server_;
  std::optional<Tunnel> tunnel_;
  std::vector<Peer> clients_;
  std::vector<Peer> servers_;
};

// Numbers of streams at which the pool reacts: 255 fit beside the load stream.
constexpr size_t kOneTrunkCarries = 255;

TEST_F(TrunkPoolTest, OneTrunkSufficesUntilItHasManyStreams) {
  Start({.max_age = absl::Hours(1)});
  Join(kOneTrunkCarries);
  EXPECT_EQ(trunks(), 1);
  Join(2);
  ASSERT_TRUE(Eventually([&] { return tunnel_->worker().trunks_up.Value() == 2; }));
  Join(kOneTrunkCarries / 2);
  EXPECT_EQ(trunks(), 2) << "new streams take the trunk with fewer streams";
}

// After a burst the few flows left must not stay spread: each pass of both loops would then read
// and write all trunks.
TEST_F(TrunkPoolTest, FewFlowsShareOneOfSeveralTrunks) {
  constexpr size_t kStreamsOfALife = 100;
  Start({.max_streams_per_trunk = 10,
         .last_stream_id = 2 * kStreamsOfALife,
         .max_age = absl::Hours(1)});
  while (tunnel_->worker().trunks_up.Value() < 2 && !HasFailure()) Join();
  AllClientsLeave();
  // Only a trunk that gets all streams uses up its stream ids this soon and is replaced.
  for (size_t i = 0; i < kStreamsOfALife / 2 && trunks() == 2; ++i) {
    Join(2);
    AllClientsLeave();
  }
  EXPECT_EQ(trunks(), 1);
}

TEST_F(TrunkPoolTest, TrunksAreBoundedAndExcessClientsWait) {
  constexpr size_t kEach = 10;
  Start({.max_streams_per_trunk = kEach, .max_trunks = 3, .max_age = absl::Hours(1)});
  Join(3 * kEach);
  EXPECT_EQ(trunks(), 3);
  Peer waits = tunnel_->Connect();
  ASSERT_TRUE(waits.Send("patience"));
  EXPECT_FALSE(server_.Knocked(50));
  clients_[5].Close();
  servers_[5].ReadToEnd();
  servers_[5].Close();
  Peer server = server_.Accept();
  ASSERT_TRUE(server);
  EXPECT_EQ(server.Read(8), "patience");
  EXPECT_EQ(trunks(), 3);
}

// Four trunks of 1,000 streams each were all that a worker had toward an agent, far below the limit
// of clients.
TEST_F(TrunkPoolTest, FurtherTrunksAreOpenedWhileAllAreFull) {
  constexpr size_t kEach = 10;
  Start({.max_streams_per_trunk = kEach,
         .max_trunks = 2,
         .max_trunks_when_full = 4,
         .max_age = absl::Hours(1)});
  Join(2 * kEach - 1);
  EXPECT_EQ(trunks(), 2) << "the first limit holds while they have room";
  Join(2 * kEach + 1);
  EXPECT_EQ(trunks(), 4);
  EXPECT_EQ(tunnel_->cell(0).full.Value(), 1);
  Peer waits = tunnel_->Connect();
  ASSERT_TRUE(waits.Send("patience"));
  ASSERT_TRUE(Eventually([&] { return tunnel_->listener().pending.Value() == 1; }));
  EXPECT_EQ(trunks(), 4);
  clients_[5].Close();
  servers_[5].ReadToEnd();
  servers_[5].Close();
  Peer server = server_.Accept();
  ASSERT_TRUE(server);
  EXPECT_EQ(server.Read(8), "patience");
}

TEST_F(TrunkPoolTest, FurtherTrunksNeedDescriptors) {
  constexpr size_t kEach = 10;
  test::AllowDescriptors(4000);
  Tunnel::Options options;
  options.trunks = {.max_streams_per_trunk = kEach,
                    .max_trunks = 1,
                    .max_trunks_when_full = 4,
                    .max_age = absl::Hours(1)};
  // For ten clients and two trunks.
  options.descriptors = {.sockets = kEach + 2, .late_sockets = 0};
  tunnel_.emplace(std::move(options));
  tunnel_->AddAgent(server_.address());
  tunnel_->Start();
  Join(kEach);
  ASSERT_TRUE(Eventually([&] { return tunnel_->worker().trunks_up.Value() == 2; }));
  EXPECT_EQ(trunks(), 2);
  Peer waits = tunnel_->Connect();
  EXPECT_TRUE(Eventually([&] { return tunnel_->listener().pauses.Value() > 0; }));
  EXPECT_EQ(tunnel_->clients(), static_cast<int64_t>(kEach));
}

// A draining trunk takes no new streams, so it must not count toward the limit: after some
// replacements new clients would find no trunk.
TEST_F(TrunkPoolTest, DrainingTrunksDoNotCountTowardTheLimit) {
  constexpr size_t kEach = 10;
  constexpr int32_t kStreamsOfALife = 12;
  Start({.max_streams_per_trunk = kEach,
         .max_trunks = 2,
         .last_stream_id = 2 * kStreamsOfALife,
         .max_age = absl::Hours(1)});
  // A client that never leaves on each of two trunks whose stream ids are used up.
  for (uint64_t trunk = 1; trunk <= 2 && !HasFailure(); ++trunk) {
    Join();
    while (tunnel_->worker().trunks_up.Value() == trunk && !HasFailure()) {
      Join();
      clients_.pop_back();
      servers_.back().ReadToEnd();
      servers_.pop_back();
    }
  }
  // More streams than a third trunk takes.
  Join(kEach + 3);
  EXPECT_EQ(tunnel_->worker().no_endpoint.Value(), 0u);
}

// Each replacement used to leave one more draining trunk, ever more often, as long as flows lived.
TEST_F(TrunkPoolTest, EndlessFlowsDoNotAccumulateDrainingTrunks) {
  constexpr uint32_t kMost = 2;
  constexpr absl::Duration kAge = absl::Milliseconds(20);
  Start({.max_trunks = kMost, .max_age = kAge});
  const MonotonicTime end = MonotonicNow() + 30 * kAge;
  while (MonotonicNow() < end && !HasFailure()) {
    if (tunnel_->worker().trunks_up.Value() > clients_.size()) Join();
    ASSERT_LE(trunks(), 2 * kMost + 1) << "the limit, as many draining trunks, and one dial";
  }
  EXPECT_GE(trunks(), kMost) << "replaced trunks must still drain";
  // Replacement pauses while too many trunks drain, and resumes afterwards.
  const uint64_t generations = tunnel_->worker().trunks_up.Value();
  AllClientsLeave();
  EXPECT_TRUE(Eventually([&] { return tunnel_->worker().trunks_up.Value() >= generations + 3; }));
}

// All workers of all proxies dial a returning agent within one second. Without jitter they would
// all replace their trunks within one second, 45 minutes later.
TEST(TrunkAgeTest, TrunksDialledTogetherAreReplacedAtDifferentTimes) {
  constexpr absl::Duration kAge = absl::Minutes(45);
  constexpr int kWorkers = 100;
  std::map<int64_t, int> replaced_in;  // per minute
  for (uint64_t seed = 0; seed < kWorkers; ++seed) {
    FastRandom random(seed);
    const absl::Duration age = TrunkPool::JitteredAge(kAge, random.Uniform());
    EXPECT_GE(age, 0.8 * kAge);
    EXPECT_LE(age, 1.2 * kAge);
    ++replaced_in[absl::ToInt64Minutes(age)];
  }
  for (const auto& [minute, count] : replaced_in) EXPECT_LE(count, kWorkers / 5) << minute;
}

TEST_F(TrunkPoolTest, TrunksOfABurstAreNotReplacedWhenOld) {
  constexpr size_t kEach = 20;
  Start({.max_streams_per_trunk = kEach, .max_age = absl::Milliseconds(300)});
  Join(3 * kEach);
  EXPECT_GE(trunks(), 3);
  AllClientsLeave();
  EXPECT_TRUE(Eventually([&] { return trunks() == 1; }));
}

}  // namespace
}  // namespace trunkline
