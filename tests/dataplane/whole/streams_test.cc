// No byte crosses flows: many short connections beside long ones, each with a seeded sequence both
// ways, in random pieces, with half-closes, closes and resets at any point, over workers that reuse
// descriptors and memory all the time. The bytes that arrive must be a prefix of those sent, and
// all of them if both ends planned to finish; no reset may look like a FIN.
//
// TRUNKLINE_STREAMS sets the number of short connections per forwarding mode, TRUNKLINE_SEED the
// seed.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/forwarding_mode.h"
#include "common/net/address.h"
#include "tests/common/eventually.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/crowd.h"
#include "tests/dataplane/whole/local_server.h"
#include "tests/dataplane/whole/modes.h"
#include "tests/dataplane/whole/seeded_end.h"
#include "tests/dataplane/whole/tunnel.h"

namespace trunkline {
namespace {

using test::FromEnvironment;
using test::InMode;
using test::LocalServer;
using test::MakePlan;
using test::Peer;
using test::SeededEnd;
using test::Tunnel;

constexpr uint64_t kShortConnections = 5000;
constexpr size_t kLongConnections = 1000;
constexpr uint32_t kShortBytes = 100'000;
constexpr uint32_t kLongBytes = 1'000'000;
constexpr size_t kThreads = 2;
// Small, so that backpressure occurs.
constexpr int kSendBuffer = 32 * 1024;
// Concurrent short connections per thread.
constexpr size_t kAtATime = 32;

// As many as the descriptor limit allows: four sockets each, and pipes for some.
size_t LongConnections() {
  constexpr size_t kEach = 10;
  constexpr size_t kOthers = 1000;
  const size_t allowed = test::AllowDescriptors(kOthers + kEach * kLongConnections);
  return allowed > kOthers ? std::min((allowed - kOthers) / kEach, kLongConnections) : 0;
}

struct Tally {
  std::atomic<uint64_t> mismatches{0};
  std::atomic<uint64_t> incomplete{0};
  std::atomic<uint64_t> taken_for_whole{0};
  std::atomic<uint64_t> stuck{0};
  std::atomic<uint64_t> planned{0};

  void Add(const SeededEnd& end) {
    mismatches += end.mismatches();
    incomplete += end.incomplete() && end.planned();
    taken_for_whole += end.taken_for_whole();
    planned += end.planned();
  }
};

using Crowd = test::Crowd<SeededEnd, Tally>;

// Clients of one thread: short ones beside long ones, which send a piece each time a short one is
// done.
class Clients {
 public:
  Clients(const Tunnel& tunnel, Tally& tally, uint64_t seed)
      : tunnel_(tunnel), tally_(tally), crowd_(tally), random_(seed) {}

  void Run(uint64_t short_connections, uint64_t long_connections) {
    for (uint64_t i = 0; i < long_connections; ++i) {
      SeededEnd* const end = Connect(kLongBytes);
      if (end == nullptr) return;
      end->Pace();
      crowd_.Ask(*end);
      long_ones_.push_back(end);
    }
    for (uint64_t opened = 0; opened < short_connections || short_open_ > 0;) {
      while (opened < short_connections && short_open_ < kAtATime) {
        if (Connect(kShortBytes) == nullptr) return;
        ++opened;
        ++short_open_;
      }
      if (!Step()) return;
    }
    for (SeededEnd* end : long_ones_) {
      end->Release();
      crowd_.Ask(*end);
    }
    while (crowd_.size() > 0 && Step()) {
    }
  }

 private:
  SeededEnd* Connect(uint32_t most_bytes) {
    Peer peer = tunnel_.Connect();
    if (!peer) ++tally_.stuck;
    if (!peer) return nullptr;
    return crowd_.Add(std::make_unique<SeededEnd>(std::move(peer), MakePlan(random_, most_bytes)));
  }

  bool Step() {
    return crowd_.Step(
        test::kPatienceMillis, [this](SeededEnd& end) { OnGone(end); }, [](int) {});
  }

  void OnGone(SeededEnd& end) {
    if (std::erase(long_ones_, &end) > 0) return;
    --short_open_;
    if (long_ones_.empty()) return;
    SeededEnd& next = *long_ones_[random_.Next() % long_ones_.size()];
    next.GiveTurn();
    crowd_.Ask(next);
  }

  const Tunnel& tunnel_;
  Tally& tally_;
  Crowd crowd_;
  FastRandom random_;
  std::vector<SeededEnd*> long_ones_;
  size_t short_open_ = 0;
};

// Serves all clients of `listener` until `stop` is set and they are done.
void Serve(const LocalServer& listener, const std::atomic<bool>& stop, Tally& tally) {
  constexpr int kTickMillis = 50;
  Crowd crowd(tally);
  crowd.AddListener(listener.fd());
  int idle = 0;
  while (!(stop && (crowd.size() == 0 || idle > test::kPatienceMillis))) {
    const bool moved = crowd.Step(
        kTickMillis, [](SeededEnd&) {},
        [&](int fd) {
          Peer peer = fd == listener.fd() ? listener.Accept(/*millis=*/0) : Peer();
          if (peer) crowd.Add(std::make_unique<SeededEnd>(std::move(peer)));
        });
    idle = moved ? 0 : idle + kTickMillis;
  }
}

struct Way {
  ForwardingMode mode;
  bool unix_servers;  // unix sockets have no reset, so a client's reset looks like a FIN there
};

class StreamsTest : public ::testing::TestWithParam<Way> {
 protected:
  StreamsTest() {
    for (size_t i = 0; i < kThreads; ++i) {
      servers_.push_back(GetParam().unix_servers
                             ? std::make_unique<LocalServer>(
                                   Address{.unix_path = folder_.File("s" + std::to_string(i))})
                             : std::make_unique<LocalServer>());
    }
    const bool tunnels = GetParam().mode == ForwardingMode::kTunnel;
    for (const auto& server : servers_) {
      tunnels ? tunnel_.AddAgent(server->address()) : tunnel_.AddEndpoint(server->address());
    }
    tunnels ? tunnel_.Start() : tunnel_.Apply();
    tunnel_.LimitSendBuffers(kSendBuffer);
  }

  void Run(uint64_t seed, uint64_t short_connections, uint64_t long_connections) {
    std::atomic<bool> stop = false;
    std::vector<std::thread> serving;
    for (const auto& server : servers_) {
      serving.emplace_back([&] { Serve(*server, stop, server_tally_); });
    }
    std::vector<std::thread> clients;
    FastRandom random(seed);
    for (size_t i = 0; i < kThreads; ++i) {
      clients.emplace_back([&, thread_seed = random.Next()] {
        Clients(tunnel_, client_tally_, thread_seed)
            .Run(short_connections / kThreads, long_connections / kThreads);
      });
    }
    for (std::thread& client : clients) client.join();
    EXPECT_TRUE(test::Eventually([&] { return tunnel_.clients() == 0; })) << "flows are left over";
    stop = true;
    for (std::thread& server : serving) server.join();
  }

  test::ScratchFolder folder_;
  std::vector<std::unique_ptr<LocalServer>> servers_;
  Tunnel tunnel_{InMode(GetParam().mode, {.workers = 2, .max_clients = 5000})};
  Tally client_tally_;
  Tally server_tally_;
};

TEST_P(StreamsTest, NoByteCrossesFlows) {
  const uint64_t seed = FromEnvironment("TRUNKLINE_SEED", 1);
  const uint64_t short_connections = FromEnvironment("TRUNKLINE_STREAMS", kShortConnections);
  const uint64_t long_connections = LongConnections();
  SCOPED_TRACE(testing::Message() << "seed " << seed << ", " << long_connections << " long ones");
  Run(seed, short_connections, long_connections);
  for (const Tally* tally : {&client_tally_, &server_tally_}) {
    SCOPED_TRACE(tally == &client_tally_ ? "clients" : "servers");
    EXPECT_EQ(tally->mismatches, 0u);
    EXPECT_EQ(tally->incomplete, 0u);
    EXPECT_EQ(tally->stuck, 0u);
    if (!GetParam().unix_servers) {
      EXPECT_EQ(tally->taken_for_whole, 0u);
    }
  }
  // All except those whose client left early.
  EXPECT_GT(server_tally_.planned, (short_connections + long_connections) * 3 / 4);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(tunnel_.worker(i).trunk_lost.Value(), 0u);
    EXPECT_EQ(tunnel_.worker(i).connect_refused.Value(), 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(Ways, StreamsTest,
                         ::testing::Values(Way{ForwardingMode::kTunnel, false},
                                           Way{ForwardingMode::kTunnel, true},
                                           Way{ForwardingMode::kDirect, false}),
                         [](const auto& param) {
                           return test::NameOf(param.param.mode) +
                                  (param.param.unix_servers ? "Unix" : "");
                         });

}  // namespace
}  // namespace trunkline
