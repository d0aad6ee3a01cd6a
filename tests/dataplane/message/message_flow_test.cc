// A client of a `one_way` service that always has more to send gets its turns, not the whole loop.
// One that asks for a version of the protocol waits for an endpoint that speaks it.
#include "dataplane/message/message_flow.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>

#include "absl/time/time.h"
#include "common/base/forwarding_mode.h"
#include "common/base/unique_fd.h"
#include "common/net/socket.h"
#include "dataplane/codec/codec.h"
#include "dataplane/codec/delimiter.h"
#include "dataplane/codec/redis.h"
#include "dataplane/flow/flow.h"
#include "dataplane/limits/connection_budget.h"
#include "dataplane/message/lifecycle.h"
#include "dataplane/message/shared_pool.h"
#include "dataplane/route/carrier.h"
#include "dataplane/table/endpoint_set.h"
#include "dataplane/table/message_service.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/route/flow_bench.h"

namespace trunkline {
namespace {

using test::FlowBench;
using test::Peer;

// Far above what a pass may forward, far below what the client has sent.
constexpr uint64_t kMostBytesPerPass = 768 * 1024;
constexpr size_t kWaitingBytes = 2 * 1024 * 1024;

EndpointSet OneWayService() {
  auto message = std::make_shared<MessageService>();
  message->connection.codec = NewDelimiterCodec({.delimiter = "\n", .one_way = true}).value();
  EndpointSet set;
  set.mode = ForwardingMode::kMessage;
  set.limits.connect_timeout = absl::Seconds(20);
  set.message = message;
  return set;
}

std::unique_ptr<Carrier> MakePool(FlowBench& bench) {
  return std::make_unique<SharedPool>(
      bench.loop(), bench.dialer(), "the server",
      SharedPool::Options{.connection = bench.set().message->connection, .max_shared = 1},
      std::make_shared<ConnectionBudget>(), &bench.stats().shared,
      &bench.stats().shared_connections, 1);
}

TEST(MessageFlowTest, ClientThatAlwaysHasMoreToSendLeavesOthersTheirTurn) {
  UniqueFd listener = ListenOn({.host = "127.0.0.1", .port = 0}).value();
  FlowBench bench(OneWayService(), MakePool);
  auto ends = test::TcpPair();
  // The server's kernel takes more than a turn before the server reads.
  const int large = 2 * kWaitingBytes;
  setsockopt(listener.get(), SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof large);
  // Its client's bytes are all in the flow's socket, so no read is short.
  setsockopt(ends.first.get(), SOL_SOCKET, SO_RCVBUFFORCE, &large, sizeof large);
  setsockopt(ends.second.fd(), SOL_SOCKET, SO_SNDBUFFORCE, &large, sizeof large);
  const std::string line = std::string(999, 'x') + "\n";
  std::string lines;
  while (lines.size() < kWaitingBytes) lines += line;
  Peer client = std::move(ends.second);
  std::string rest = lines.substr(client.SendWhatFits(lines));
  ASSERT_LT(rest.size(), lines.size() - kMostBytesPerPass) << "the kernel buffers too little";
  bench.Join(std::make_unique<MessageFlow>(bench.loop(), std::move(ends.first), bench.router(),
                                           bench.set()));
  bench.AddEndpoint(
      {.host = "127.0.0.1", .port = static_cast<uint16_t>(BoundPort(listener.get()))});
  Peer server;
  size_t arrived = 0;
  uint64_t before = 0;
  const auto pass = [&] {
    const uint64_t sent = bench.stats().shared.bytes_written.Value();
    EXPECT_LE(sent - before, kMostBytesPerPass) << "in one pass";
    before = sent;
    rest.erase(0, client.SendWhatFits(rest));
    if (!server && sent > 0) server = test::AcceptPeer(listener.get());
    if (server) arrived += server.Read(server.UnreadBytes()).size();
    return arrived == lines.size();
  };
  bench.Run(pass);
}

// The carrier of two endpoints without room, of which the first refuses every variant.
class CrowdedCarrier final : public Carrier {
 public:
  bool usable() const override { return !targets().empty(); }
  bool idle() const override { return !used(); }
  bool Refuses(uint8_t) const override { return asked_++ % 2 == 0 || both_refuse; }
  // The router offers it to flows that wait.
  void Offer() { NotifyUsers(); }

  bool both_refuse = false;

 private:
  mutable int asked_ = 0;
};

TEST(MessageFlowTest, ClientWaitsForAFullEndpointWhileAnotherOneRefusesItsVariant) {
  const UniqueFd listener = ListenOn({.host = "127.0.0.1", .port = 0}).value();
  auto message = std::make_shared<MessageService>();
  message->connection.codec = std::shared_ptr<const Codec>(NewRedisCodec({}));
  EndpointSet set;
  set.mode = ForwardingMode::kMessage;
  set.limits.connect_timeout = absl::Seconds(20);
  set.message = message;
  CrowdedCarrier* carrier = nullptr;
  FlowBench bench(std::move(set), [&](FlowBench&) {
    auto made = std::make_unique<CrowdedCarrier>();
    carrier = made.get();
    return made;
  });
  for (int i = 0; i < 2; ++i) {
    bench.AddEndpoint(
        {.host = "127.0.0.1", .port = static_cast<uint16_t>(BoundPort(listener.get()))});
  }
  int replaced = 0;
  bench.on_gone = [&](Flow&) { ++replaced; };
  auto ends = test::TcpPair();
  MessageFlow& flow = bench.Join(std::make_unique<MessageFlow>(bench.loop(), std::move(ends.first),
                                                               bench.router(), bench.set()));
  ASSERT_TRUE(ends.second.Send("HELLO 3\r\n"));
  bench.Run([&] { return replaced > 0 || flow.upstream_state() == UpstreamState::kQueued; });
  for (int i = 0; i < 5 && replaced == 0; ++i) {
    carrier->Offer();
    bench.loop().RunOnce(absl::ZeroDuration());
  }
  ASSERT_EQ(replaced, 0) << "a dedicated connection, perhaps to the server that refuses";
  carrier->both_refuse = true;
  carrier->Offer();
  bench.Run([&] { return replaced == 1; });
  Peer server = test::AcceptPeer(listener.get());
  bench.Run([&] { return server.UnreadBytes() == 9; });
  EXPECT_EQ(server.Read(9), "HELLO 3\r\n") << "the server's own answer";
}

}  // namespace
}  // namespace trunkline
