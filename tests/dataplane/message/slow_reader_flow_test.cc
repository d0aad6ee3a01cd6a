// Two clients on one shared connection while memory is short: the one that takes its reply slowly
// delays the one behind it, and is reset once it has stalled.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/forwarding_mode.h"
#include "common/net/socket.h"
#include "dataplane/codec/redis.h"
#include "dataplane/flow/flow.h"
#include "dataplane/limits/connection_budget.h"
#include "dataplane/message/lifecycle.h"
#include "dataplane/message/message_flow.h"
#include "dataplane/message/shared_pool.h"
#include "dataplane/message/slow_reader_rule.h"
#include "dataplane/route/carrier.h"
#include "dataplane/table/endpoint_set.h"
#include "dataplane/table/message_service.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/route/flow_bench.h"

namespace trunkline {
namespace {

using test::FlowBench;
using test::Peer;

constexpr size_t kLarge = 16 * 1024 * 1024;
const std::string kAsk = "GET a\r\n";

class SlowReaderFlowTest : public ::testing::Test {
 protected:
  SlowReaderFlowTest() {
    bench_.AddEndpoint(
        {.host = "127.0.0.1", .port = static_cast<uint16_t>(BoundPort(listener_.get()))});
    slow_ = Join(&slow_flow_);
    EXPECT_TRUE(slow_.Send(kAsk));
    MessageFlow* other_flow = nullptr;
    other_ = Join(&other_flow);
    EXPECT_TRUE(other_.Send(kAsk));
    bench_.Run([&] { return bench_.stats().shared.bytes_written.Value() == 2 * kAsk.size(); });
    server_ = test::AcceptPeer(listener_.get());
    EXPECT_EQ(server_.Read(2 * kAsk.size()), kAsk + kAsk);
    bench_.on_gone = [this](Flow& flow) {
      if (&flow == slow_flow_) slow_flow_ = nullptr;
    };
  }

  Peer Join(MessageFlow** flow) {
    auto ends = test::TcpPair(/*peers_receive_buffer=*/4096);
    *flow = &bench_.Join(std::make_unique<MessageFlow>(bench_.loop(), std::move(ends.first),
                                                       bench_.router(), bench_.set()));
    return std::move(ends.second);
  }

  // The server sends what it can of a large reply and the small one behind it.
  void Serve() { sent_ += server_.SendWhatFits(replies_.substr(sent_, 1 << 20)); }
  bool OtherHasItsReply() const { return other_.UnreadBytes() == kSmall.size(); }
  // Runs until the server is not read because of the slow client.
  void ServeUntilPaused() {
    bench_.Run([&] {
      Serve();
      return slow_flow_->upstream_state() == UpstreamState::kPaused;
    });
  }
  int64_t buffered() { return bench_.stats().to_client_buffered_bytes.Value(); }

  const std::string kSmall = ":1\r\n";
  const std::string replies_ =
      absl::StrCat("$", kLarge, "\r\n", std::string(kLarge, 'x'), "\r\n", kSmall);
  const UniqueFd listener_ = ListenOn({.host = "127.0.0.1", .port = 0}).value();
  FlowBench bench_{Set(), MakePool};
  MessageFlow* slow_flow_ = nullptr;
  Peer slow_;
  Peer other_;
  Peer server_;
  size_t sent_ = 0;

 private:
  static EndpointSet Set() {
    auto message = std::make_shared<MessageService>();
    message->connection.codec = NewRedisCodec({});
    message->connection.max_in_flight = 2;
    EndpointSet set;
    set.mode = ForwardingMode::kMessage;
    set.message = message;
    return set;
  }
  static std::unique_ptr<Carrier> MakePool(FlowBench& bench) {
    return std::make_unique<SharedPool>(
        bench.loop(), bench.dialer(), "the server",
        SharedPool::Options{.connection = bench.set().message->connection, .max_shared = 1},
        std::make_shared<ConnectionBudget>(), &bench.stats().shared,
        &bench.stats().shared_connections, 1);
  }
};

TEST_F(SlowReaderFlowTest, ShortMemoryStopsTheServerUntilItSufficesAgain) {
  bench_.stats().memory_short.Set(1);
  ServeUntilPaused();
  EXPECT_LT(buffered(), static_cast<int64_t>(2 * kHoldsUpBytes));
  bench_.stats().memory_short.Set(0);
  // The client reads a little, so it has not stalled when the flow looks again.
  bench_.Run([&] {
    Serve();
    slow_.Read(std::min<size_t>(slow_.UnreadBytes(), 64 * 1024));
    return OtherHasItsReply();
  });
  EXPECT_NE(slow_flow_, nullptr);
  EXPECT_EQ(bench_.stats().slow_readers.Value(), 0u);
}

TEST_F(SlowReaderFlowTest, ClientThatWaitedAndLeftIsNoReasonForAReset) {
  MessageFlow* third_flow = nullptr;
  Peer third = Join(&third_flow);
  ASSERT_TRUE(third.Send(kAsk));
  bench_.Run([&] { return third_flow->pending(); });
  third.Reset();
  other_.Reset();
  bench_.Run([&] { return bench_.flows() == 1; });
  ServeUntilPaused();
  EXPECT_EQ(bench_.stats().slow_readers.Value(), 0u);
}

TEST_F(SlowReaderFlowTest, StalledClientIsResetForTheOneBehindIt) {
  bench_.stats().memory_short.Set(1);
  ServeUntilPaused();
  bench_.Run([&] {
    Serve();
    return OtherHasItsReply();
  });
  EXPECT_EQ(slow_flow_, nullptr);
  EXPECT_EQ(bench_.stats().slow_readers.Value(), 1u);
  EXPECT_EQ(buffered(), 0);
}

}  // namespace
}  // namespace trunkline
