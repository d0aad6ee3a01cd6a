// The memory budget with real sockets: which clients are reset, which continue and which wait. The
// test sets the memory in use; the buffered bytes are part of it.
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/base/forwarding_mode.h"
#include "common/net/address.h"
#include "dataplane/codec/redis.h"
#include "dataplane/memory/memory_rule.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/table/endpoint_set.h"
#include "dataplane/table/message_service.h"
#include "tests/common/base/random_bytes.h"
#include "tests/common/base/scratch_folder.h"
#include "tests/common/eventually.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/local_server.h"
#include "tests/dataplane/whole/modes.h"
#include "tests/dataplane/whole/tunnel.h"

namespace trunkline {
namespace {

using test::Ending;
using test::Eventually;
using test::ExpectExchange;
using test::InMode;
using test::LocalServer;
using test::Peer;
using test::RandomBytes;
using test::Tunnel;

// Returns the bytes buffered for clients that do not read or do not finish their requests.
int64_t KeptBy(const TrafficStats& stats) {
  int64_t kept = 0;
  for (const WorkerStats& worker : stats.workers()) {
    kept += worker.to_client_buffered_bytes.Value() + worker.from_client_buffered_bytes.Value();
  }
  return kept;
}

class MemoryBudgetTest : public ::testing::TestWithParam<ForwardingMode> {
 protected:
  // Exceeds the kernel's buffers for a stalled reader.
  static constexpr size_t kReplyBytes = 160 * 1024;
  static constexpr int kReceiveBuffer = 8 * 1024;
  static constexpr int kSendBuffer = 4 * 1024;
  static constexpr int64_t kPlenty = int64_t{1} << 40;

  Tunnel::Options WithMemory(size_t workers = 1) {
    return InMode(GetParam(), {.workers = workers, .memory = [this](const TrafficStats& stats) {
                                 ++looks_;
                                 return MemoryReading{.used_bytes = other_ + KeptBy(stats),
                                                      .budget_bytes = budget_};
                               }});
  }
  struct Pair {
    Peer client;
    Peer server;
  };
  Pair Connect(Tunnel& tunnel, int receive_buffer = 0) {
    Pair pair{tunnel.Connect(receive_buffer), server_.Accept()};
    EXPECT_TRUE(pair.client && pair.server);
    return pair;
  }
  static int64_t Kept(Tunnel& tunnel, size_t workers) {
    int64_t kept = 0;
    for (size_t i = 0; i < workers; ++i) {
      kept += tunnel.worker(i).to_client_buffered_bytes.Value() +
              tunnel.worker(i).from_client_buffered_bytes.Value();
    }
    return kept;
  }
  static uint64_t Shed(Tunnel& tunnel, size_t workers) {
    uint64_t shed = 0;
    for (size_t i = 0; i < workers; ++i) shed += tunnel.worker(i).shed.Value();
    return shed;
  }
  static bool IsReset(Peer& client) {
    client.ReadToEnd(0);
    return client.ending() == Ending::kReset;
  }
  void ExpectStalledReadersPay(size_t workers);

  // The tunnel's workers read these, so they outlive it.
  std::atomic<int64_t> other_ = 0;
  std::atomic<int64_t> budget_ = kPlenty;
  std::atomic<uint64_t> looks_ = 0;
  LocalServer server_;
};

const auto kModeName = [](const auto& param) { return test::NameOf(param.param); };
INSTANTIATE_TEST_SUITE_P(Modes, MemoryBudgetTest, ::testing::ValuesIn(test::kByteModes), kModeName);

void MemoryBudgetTest::ExpectStalledReadersPay(size_t workers) {
  constexpr size_t kStalled = 60;
  constexpr size_t kLive = 20;
  test::AllowDescriptors(2000);
  Tunnel tunnel(WithMemory(workers));
  test::Serve(tunnel, GetParam(), server_);
  tunnel.LimitSendBuffers(kSendBuffer);
  const std::string reply = RandomBytes(kReplyBytes, 1);
  std::vector<Pair> live;
  std::vector<Pair> stalled;
  for (size_t i = 0; i < kLive; ++i) live.push_back(Connect(tunnel));
  for (size_t i = 0; i < kStalled; ++i) {
    stalled.push_back(Connect(tunnel, kReceiveBuffer));
    ASSERT_TRUE(stalled[i].server.Send(reply));
  }
  ASSERT_TRUE(
      Eventually([&] { return Kept(tunnel, workers) >= static_cast<int64_t>(kStalled) * 1024; }));
  const auto exchange_with_all = [&] {
    for (Pair& pair : live) {
      ExpectExchange(pair.client, pair.server, reply.substr(0, 1000), reply.substr(0, 20'000));
    }
    return !HasFailure();
  };
  // 96 % of the budget is used, below 98 %, where clients that read would no longer be spared. The
  // kernel still takes some bytes now and then, so the budget follows.
  while (Shed(tunnel, workers) == 0) {
    budget_ = Kept(tunnel, workers) * 100 / 96;
    ASSERT_TRUE(exchange_with_all());
  }
  while (Kept(tunnel, workers) > budget_ * 90 / 100) ASSERT_TRUE(exchange_with_all());
  // Each worker may have freed a little more than its part, and bytes that are briefly buffered for
  // live clients count as well.
  EXPECT_LE(Shed(tunnel, workers), kStalled / 3) << "no more than it takes";
  budget_ = kPlenty;
  ASSERT_TRUE(exchange_with_all());
  EXPECT_EQ(tunnel.clients(), static_cast<int64_t>(kLive + kStalled - Shed(tunnel, workers)));
  // Each client that was spared has lost nothing.
  size_t reset = 0;
  for (Pair& pair : stalled) {
    const std::string got = pair.client.Read(reply.size());
    if (got != reply) {
      EXPECT_EQ(pair.client.ending(), Ending::kReset);
      ++reset;
    }
  }
  EXPECT_EQ(reset, Shed(tunnel, workers));
}

TEST_P(MemoryBudgetTest, StalledReadersAreResetAndLiveOnesContinue) { ExpectStalledReadersPay(1); }

TEST_P(MemoryBudgetTest, EachWorkerResetsItsPart) { ExpectStalledReadersPay(2); }

double CpuSeconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) { return t.tv_sec + t.tv_usec * 1e-6; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

TEST_P(MemoryBudgetTest, FullProxyAcceptsNoClientsAndDoesNotSpin) {
  Tunnel tunnel(WithMemory());
  test::Serve(tunnel, GetParam(), server_);
  Pair old = Connect(tunnel);
  ExpectExchange(old.client, old.server, "before", "before");
  budget_ = 1000;
  other_ = 980;
  ASSERT_TRUE(Eventually([&] { return tunnel.worker().memory_full.Value() == 1; }));
  Peer waiting = tunnel.Connect();
  ASSERT_TRUE(waiting.Send("patience"));
  ASSERT_TRUE(Eventually([&] { return tunnel.listener().pauses.Value() > 0; }));
  const double cpu_before = CpuSeconds();
  for (int round = 0; round < 10; ++round) {
    ExpectExchange(old.client, old.server, "during", "during");
    EXPECT_FALSE(server_.Knocked(30));
  }
  EXPECT_LT(CpuSeconds() - cpu_before, 0.15) << "a spinning loop would use all of it";
  // Memory is below 98 % again, but still too close.
  other_ = 960;
  EXPECT_FALSE(server_.Knocked(200));
  other_ = 940;
  Peer server = server_.Accept();
  ASSERT_TRUE(server);
  EXPECT_EQ(server.Read(8), "patience");
  EXPECT_EQ(tunnel.worker().memory_full.Value(), 0);
  EXPECT_EQ(tunnel.worker().shed.Value(), 0u);
  ExpectExchange(old.client, old.server, "after", "after");
}

TEST_P(MemoryBudgetTest, FullProxyWithoutClientsAcceptsOne) {
  budget_ = 1000;
  other_ = 2000;
  Tunnel tunnel(WithMemory());
  test::Serve(tunnel, GetParam(), server_);
  ASSERT_TRUE(Eventually([&] { return tunnel.worker().memory_full.Value() == 1; }));
  Pair first = Connect(tunnel);
  ExpectExchange(first.client, first.server, "question", "answer");
  Peer second = tunnel.Connect();
  EXPECT_FALSE(server_.Knocked(100));
  first.client.Reset();
  EXPECT_TRUE(server_.Accept());
}

TEST_P(MemoryBudgetTest, StalledReaderIsSparedWhileMemorySuffices) {
  Tunnel tunnel(WithMemory());
  test::Serve(tunnel, GetParam(), server_);
  tunnel.LimitSendBuffers(kSendBuffer);
  const std::string reply = RandomBytes(kReplyBytes, 1);
  Pair stalled = Connect(tunnel, kReceiveBuffer);
  ASSERT_TRUE(stalled.server.Send(reply));
  ASSERT_TRUE(Eventually([&] { return Kept(tunnel, 1) > 0; }));
  // 88 to 94 %, depending on the bytes that the kernel took.
  other_ = 15 * kReplyBytes;
  budget_ = 16 * kReplyBytes * 100 / 94;
  const int long_enough = static_cast<int>(absl::ToInt64Milliseconds(kStalledAfter)) + 500;
  EXPECT_FALSE(test::WaitFor(stalled.client.fd(), POLLRDHUP, long_enough));
  EXPECT_EQ(tunnel.worker().shed.Value(), 0u);
  const int room = kReplyBytes;
  setsockopt(stalled.client.fd(), SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  EXPECT_TRUE(stalled.client.Read(reply.size()) == reply);
}

// Copies that a tunnel buffers for a retry while the agent's server does not accept.
class TunnelMemoryTest : public MemoryBudgetTest {};
INSTANTIATE_TEST_SUITE_P(Modes, TunnelMemoryTest, ::testing::Values(ForwardingMode::kTunnel),
                         kModeName);

TEST_P(TunnelMemoryTest, WorkerThatBuffersOnlyCopiesResetsItsPart) {
  constexpr int64_t kWaiting = 12;
  constexpr size_t kSent = 20'000;
  Tunnel::Options options = WithMemory(2);
  options.limits.connect_timeout = absl::Seconds(20);
  Tunnel tunnel(options);
  test::ScratchFolder folder;
  LocalServer server(Address{.unix_path = folder.File("s")});
  tunnel.AddAgent(server.address());
  tunnel.Start();
  tunnel.LimitSendBuffers(kSendBuffer);
  Peer stalled = tunnel.Connect(kReceiveBuffer);
  Peer its_server = server.Accept();
  ASSERT_TRUE(its_server.Send(RandomBytes(kReplyBytes, 1)));
  ASSERT_TRUE(Eventually([&] { return Kept(tunnel, 2) > 0; }));
  const size_t other = tunnel.worker(0).to_client_buffered_bytes.Value() > 0 ? 1 : 0;
  ASSERT_EQ(listen(server.fd(), 0), 0);  // an accept queue of one
  Peer filler = test::ConnectPeer(server.address());
  std::vector<Peer> waiting;
  while (tunnel.worker(other).clients.Value() < kWaiting) {
    waiting.push_back(tunnel.Connect());
    ASSERT_TRUE(waiting.back().Send(std::string(kSent, 'x')));
    ASSERT_TRUE(
        Eventually([&] { return tunnel.clients() == static_cast<int64_t>(waiting.size()) + 1; }));
  }
  const auto copies = static_cast<int64_t>(waiting.size() * kSent);
  EXPECT_TRUE(Eventually([&] { return Kept(tunnel, 2) > copies; })) << Kept(tunnel, 2);
  // Bytes of (1.38 - 0.9) * 2 of the buffered ones must be freed, so all clients are eligible,
  // recent ones too. If the first worker freed only four fifths of them, 98 % would still be used.
  const int64_t kept = Kept(tunnel, 2);
  other_ = 2 * kept * 138 / 100 - kept;
  budget_ = 2 * kept;
  EXPECT_TRUE(Eventually([&] { return tunnel.worker(other).shed.Value() > 0; }));
}

// Covers requests that are never finished, and replies that are never read.
class MessageMemoryTest : public MemoryBudgetTest {
 protected:
  static std::string Line(size_t bytes) { return std::string(bytes - 1, 'x') + "\n"; }
  // Returns a client that was answered, and the connection on which other clients are answered too.
  Pair Ask(Tunnel& tunnel) {
    Pair pair;
    pair.client = tunnel.Connect();
    EXPECT_TRUE(pair.client.Send("ping\n"));
    pair.server = server_.Accept();
    EXPECT_EQ(pair.server.Read(5), "ping\n");
    EXPECT_TRUE(pair.server.Send("pong\n"));
    EXPECT_EQ(pair.client.Read(5), "pong\n");
    return pair;
  }
};
INSTANTIATE_TEST_SUITE_P(Modes, MessageMemoryTest, ::testing::Values(ForwardingMode::kMessage),
                         kModeName);

TEST_P(MessageMemoryTest, ClientsThatNeverFinishTheirRequestsAreReset) {
  constexpr size_t kSlow = 40;
  constexpr size_t kPart = 20'000;
  Tunnel tunnel(WithMemory());
  test::Serve(tunnel, GetParam(), server_);
  Peer live = tunnel.Connect();
  ASSERT_TRUE(live.Send("ping\n"));
  Peer server = server_.Accept();
  std::vector<Peer> slow;
  for (size_t i = 0; i < kSlow; ++i) {
    slow.push_back(tunnel.Connect());
    ASSERT_TRUE(slow.back().Send(std::string(kPart, 'x')));
  }
  const auto all = static_cast<int64_t>(kSlow * kPart);
  ASSERT_TRUE(
      Eventually([&] { return tunnel.worker().from_client_buffered_bytes.Value() == all; }));
  budget_ = all * 100 / 96;
  // (96 - 90) % of the budget, in clients of 20,000 bytes: 2.5.
  EXPECT_TRUE(Eventually([&] { return tunnel.worker().shed.Value() == 3; }));
  EXPECT_TRUE(Eventually([&] { return tunnel.clients() == static_cast<int64_t>(kSlow) - 2; }));
  ExpectExchange(live, server, "ping\n", "pong\n");
  budget_ = kPlenty;
  EXPECT_EQ(tunnel.worker().shed.Value(), 3u);
  EXPECT_EQ(std::count_if(slow.begin(), slow.end(), IsReset), 3);
}

// An occasional byte does not make a request recent. A client that has sent more, but only
// recently, is not reset in place of such clients.
TEST_P(MessageMemoryTest, ClientsThatTrickleTheirRequestsAreResetBeforeAnUpload) {
  constexpr size_t kSlow = 40;
  constexpr size_t kPart = 20'000;
  Tunnel tunnel(WithMemory());
  test::Serve(tunnel, GetParam(), server_);
  auto [live, server] = Ask(tunnel);
  ASSERT_FALSE(HasFailure());
  std::vector<Peer> slow;
  for (size_t i = 0; i < kSlow; ++i) {
    slow.push_back(tunnel.Connect());
    ASSERT_TRUE(slow.back().Send(std::string(kPart, 'x')));
  }
  const auto all = [&](size_t more_of_each, size_t upload) {
    return tunnel.worker().from_client_buffered_bytes.Value() ==
           static_cast<int64_t>(kSlow * (kPart + more_of_each) + upload);
  };
  ASSERT_TRUE(Eventually([&] { return all(0, 0); }));
  const MonotonicTime begun = MonotonicNow();
  size_t more = 0;
  for (; MonotonicNow() - begun < kStalledAfter + absl::Milliseconds(500); ++more) {
    for (Peer& one : slow) ASSERT_TRUE(one.Send("x"));
    EXPECT_FALSE(test::WaitFor(slow[0].fd(), POLLRDHUP, 100));
  }
  Peer upload = tunnel.Connect();
  const std::string request = Line(2 * kPart + 1);
  ASSERT_TRUE(upload.Send(request.substr(0, 2 * kPart)));
  ASSERT_TRUE(Eventually([&] { return all(more, 2 * kPart); }));
  // Memory is so full that recent clients are reset as well.
  budget_ = Kept(tunnel, 1) * 100 / 99;
  EXPECT_TRUE(Eventually([&] { return Kept(tunnel, 1) < budget_ * 90 / 100; }));
  budget_ = kPlenty;
  EXPECT_LE(tunnel.worker().shed.Value(), kSlow / 4);
  EXPECT_EQ(static_cast<uint64_t>(std::count_if(slow.begin(), slow.end(), IsReset)),
            tunnel.worker().shed.Value());
  ASSERT_TRUE(upload.Send(request.substr(2 * kPart)));
  EXPECT_TRUE(server.Read(request.size()) == request);
  ASSERT_TRUE(server.Send("pong\n"));
  EXPECT_EQ(upload.Read(5), "pong\n");
}

TEST_P(MessageMemoryTest, ClientThatWaitsForADedicatedConnectionHasNotStalled) {
  Tunnel::Options options = WithMemory();
  options.limits.connect_timeout = absl::Seconds(20);
  options.adapt = [adapt = options.adapt](EndpointSet& set) {
    adapt(set);
    auto message = std::make_shared<MessageService>();
    message->connection.codec = NewRedisCodec({});
    set.message = std::move(message);
  };
  Tunnel tunnel(options);
  tunnel.Apply();  // no endpoints yet
  const std::string set =
      absl::StrCat("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$100000\r\n", std::string(100'000, 'x'), "\r\n");
  Peer client = tunnel.Connect();
  ASSERT_TRUE(client.Send(set));
  ASSERT_TRUE(Eventually([&] { return Kept(tunnel, 1) >= int64_t{kLeastShedBytes}; }));
  budget_ = Kept(tunnel, 1) * 100 / 96;
  ASSERT_TRUE(Eventually([&, seen = looks_.load()] { return looks_ >= seen + 5; }));
  EXPECT_EQ(tunnel.worker().shed.Value(), 0u);
  tunnel.AddEndpoint(server_.address());
  tunnel.Apply();
  Peer server = server_.Accept();
  ASSERT_TRUE(server);
  EXPECT_TRUE(server.Read(set.size()) == set);
  ASSERT_TRUE(server.Send("+OK\r\n"));
  EXPECT_EQ(client.Read(5), "+OK\r\n");
}

TEST_P(MessageMemoryTest, ClientThatDoesNotReadItsRepliesIsResetAndOthersContinue) {
  constexpr size_t kStalled = 10;
  Tunnel tunnel(WithMemory());
  test::Serve(tunnel, GetParam(), server_);
  tunnel.LimitSendBuffers(kSendBuffer);
  auto [live, server] = Ask(tunnel);
  ASSERT_FALSE(HasFailure());
  // Each of the clients has at most 64 KiB buffered.
  const std::string reply = Line(kReplyBytes / 3);
  const std::string replies = absl::StrCat(reply, reply, reply);
  std::vector<Peer> stalled;
  for (size_t i = 0; i < kStalled; ++i) {
    stalled.push_back(tunnel.Connect(kReceiveBuffer));
    ASSERT_TRUE(stalled[i].Send("more\nmore\nmore\n"));
    ASSERT_EQ(server.Read(15), "more\nmore\nmore\n");
    ASSERT_TRUE(server.Send(replies));
  }
  EXPECT_TRUE(Eventually([&] {
    if (tunnel.worker().shed.Value() > 0) return true;
    budget_ = std::max<int64_t>(1, Kept(tunnel, 1) * 100 / 96);
    return false;
  }));
  EXPECT_TRUE(Eventually([&] { return Kept(tunnel, 1) <= budget_ * 90 / 100; }));
  EXPECT_LE(tunnel.worker().shed.Value(), kStalled / 3);
  ExpectExchange(live, server, "ping\n", "pong\n");
}

}  // namespace
}  // namespace trunkline
