// No byte crosses clients of shared connections: many seeded clients that send requests one by one
// or in pipelines and leave at any byte, and servers that answer late, with ids in any order, and
// in some variants reset at any byte. A client that stays gets each of its replies, a reset or a
// local reply; a reset never looks like a FIN; and no server gets a request twice that is not
// idempotent.
//
// TRUNKLINE_STREAMS sets the number of clients per variant, TRUNKLINE_SEED the seed.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <ostream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/metrics.h"
#include "common/base/random.h"
#include "dataplane/stats/shared_counters.h"
#include "tests/common/eventually.h"
#include "tests/common/net/tcp_pair.h"
#include "tests/dataplane/whole/crowd.h"
#include "tests/dataplane/whole/exchange.h"
#include "tests/dataplane/whole/local_server.h"
#include "tests/dataplane/whole/message_ends.h"
#include "tests/dataplane/whole/seeded_messages.h"

namespace trunkline {
namespace {

using test::AnsweringEnd;
using test::AskingEnd;
using test::Exchange;
using test::Framing;
using test::FromEnvironment;
using test::LocalServer;
using test::Peer;

constexpr uint64_t kClients = 2000;
constexpr size_t kThreads = 2;
constexpr size_t kWorkers = 2;
// Concurrent clients per thread.
constexpr size_t kAtATime = 32;
// One client in this many reads little at a time.
constexpr uint64_t kSlowOneIn = 32;
constexpr int kSlowReceiveBuffer = 4096;
// Few enough connections that some clients wait in the pending queue.
constexpr size_t kSharedConnections = 2;
constexpr size_t kMaxInFlight = 8;

struct Way {
  Framing framing;
  bool breaks;
  bool idempotent;
};

std::ostream& operator<<(std::ostream& out, const Way& way) {
  constexpr const char* kNames[] = {"Lines", "FramesWithId", "Redis", "Memcached"};
  return out << kNames[static_cast<size_t>(way.framing)]
             << (way.breaks ? "FromServersThatBreak" : "") << (way.idempotent ? "Idempotent" : "");
}

struct ClientTally {
  std::atomic<uint64_t> served{0};
  std::atomic<uint64_t> left{0};
  std::atomic<uint64_t> broken_off{0};
  std::atomic<uint64_t> told{0};
  std::atomic<uint64_t> cut_short{0};
  std::atomic<uint64_t> wrong{0};
  std::atomic<uint64_t> stuck{0};
  std::mutex mutex;
  std::string first_fault;  // guarded by the mutex

  void Add(const AskingEnd& end) {
    switch (end.outcome()) {
      case AskingEnd::Outcome::kServed:
        ++served;
        return;
      case AskingEnd::Outcome::kLeft:
        ++left;
        return;
      case AskingEnd::Outcome::kReset:
        ++broken_off;
        return;
      case AskingEnd::Outcome::kLocalReply:
        ++told;
        return;
      case AskingEnd::Outcome::kCutShort:
        ++cut_short;
        return;
      case AskingEnd::Outcome::kWrong:
        break;
    }
    ++wrong;
    const std::lock_guard lock(mutex);
    if (first_fault.empty()) first_fault = end.fault();
  }
};

struct ServerTally {
  std::atomic<uint64_t> stuck{0};
  std::mutex mutex;
  std::vector<uint64_t> executed;  // guarded by the mutex

  void Add(const AnsweringEnd& end) {
    const std::lock_guard lock(mutex);
    executed.insert(executed.end(), end.executed().begin(), end.executed().end());
  }
  // Call when all servers are done.
  uint64_t executed_again() {
    std::sort(executed.begin(), executed.end());
    const auto last = std::unique(executed.begin(), executed.end());
    return static_cast<uint64_t>(executed.end() - last);
  }
};

// Runs `clients` clients, numbered from `first`.
void Ask(const Exchange& exchange, Framing framing, uint64_t seed, uint64_t first, uint64_t clients,
         ClientTally& tally) {
  FastRandom random(seed);
  test::Crowd<AskingEnd, ClientTally> crowd(tally);
  for (uint64_t came = 0; came < clients || crowd.size() > 0;) {
    while (came < clients && crowd.size() < kAtATime) {
      const bool slow = random.Next() % kSlowOneIn == 0;
      Peer peer = exchange.Connect(slow ? kSlowReceiveBuffer : 0);
      if (!peer) ++tally.stuck;
      if (!peer) return;
      crowd.Add(std::make_unique<AskingEnd>(std::move(peer), framing, first + came, random.Next()));
      ++came;
    }
    const bool moved = crowd.Step(
        test::kPatienceMillis, [](AskingEnd&) {}, [](int) {});
    if (!moved) return;
  }
}

// Serves all clients of `listener` until `stop` is set and they are done.
void Serve(const LocalServer& listener, const Way& way, uint64_t seed,
           const std::atomic<bool>& stop, ServerTally& tally) {
  // The longest wait before deferred replies get their turn.
  constexpr int kTickMillis = 1;
  FastRandom random(seed);
  test::Crowd<AnsweringEnd, ServerTally> crowd(tally);
  crowd.AddListener(listener.fd());
  int idle = 0;
  while (!(stop && (crowd.size() == 0 || idle > test::kPatienceMillis))) {
    const bool moved = crowd.Step(
        kTickMillis, [](AnsweringEnd&) {},
        [&](int fd) {
          Peer peer = fd == listener.fd() ? listener.Accept(/*millis=*/0) : Peer();
          if (!peer) return;
          crowd.Add(std::make_unique<AnsweringEnd>(std::move(peer), way.framing, way.breaks,
                                                   random.Next()));
        });
    if (!moved) crowd.StepAll();
    idle = moved ? 0 : idle + kTickMillis;
  }
}

class MessageStreamsTest : public ::testing::TestWithParam<Way> {
 protected:
  MessageStreamsTest()
      : exchange_({.workers = kWorkers,
                   .codec = test::CodecOf(GetParam().framing),
                   .shared_connections = kSharedConnections,
                   .max_in_flight = kMaxInFlight,
                   .idempotent = GetParam().idempotent}) {
    for (const LocalServer& server : servers_) exchange_.AddServer(server.address());
    exchange_.Apply();
  }

  void Run(uint64_t seed, uint64_t clients) {
    FastRandom random(seed);
    std::atomic<bool> stop = false;
    std::vector<std::thread> serving;
    for (const LocalServer& server : servers_) {
      serving.emplace_back([&, own_seed = random.Next()] {
        Serve(server, GetParam(), own_seed, stop, server_tally_);
      });
    }
    std::vector<std::thread> asking;
    for (size_t i = 0; i < kThreads; ++i) {
      asking.emplace_back([&, i, own_seed = random.Next()] {
        const uint64_t each = clients / kThreads;
        Ask(exchange_, GetParam().framing, own_seed, i * each, each, client_tally_);
      });
    }
    for (std::thread& thread : asking) thread.join();
    EXPECT_TRUE(test::Eventually([&] { return exchange_.clients() == 0; })) << "flows are left";
    exchange_.Stop();
    stop = true;
    for (std::thread& thread : serving) thread.join();
  }

  // Summed over all workers.
  uint64_t Sum(Counter SharedCounters::*counter) {
    uint64_t sum = 0;
    for (size_t i = 0; i < kWorkers; ++i) sum += (exchange_.worker(i).shared.*counter).Value();
    return sum;
  }

  LocalServer servers_[2];
  Exchange exchange_;
  ClientTally client_tally_;
  ServerTally server_tally_;
};

TEST_P(MessageStreamsTest, NoReplyCrossesClients) {
  const uint64_t seed = FromEnvironment("TRUNKLINE_SEED", 1);
  const uint64_t clients = FromEnvironment("TRUNKLINE_STREAMS", kClients);
  SCOPED_TRACE(testing::Message() << "seed " << seed << ", " << clients << " clients");
  Run(seed, clients);
  EXPECT_EQ(client_tally_.wrong, 0u) << client_tally_.first_fault;
  EXPECT_EQ(client_tally_.cut_short, 0u);
  EXPECT_EQ(client_tally_.stuck, 0u);
  EXPECT_EQ(server_tally_.stuck, 0u);
  EXPECT_EQ(Sum(&SharedCounters::protocol_errors), 0u);
  EXPECT_EQ(Sum(&SharedCounters::replies_unmatched), 0u);
  EXPECT_EQ(Sum(&SharedCounters::reply_timeouts), 0u);
  const uint64_t again = server_tally_.executed_again();
  if (!GetParam().idempotent) {
    EXPECT_EQ(again, 0u);
  }
  if (!GetParam().breaks) {
    EXPECT_EQ(client_tally_.broken_off, 0u);
    EXPECT_EQ(client_tally_.told, 0u);
  }
  // The run covered the cases that matter.
  EXPECT_GT(client_tally_.served, clients / 3);
  EXPECT_GT(client_tally_.left, clients / 10);
  EXPECT_GT(Sum(&SharedCounters::replies_discarded), clients / 100);
  if (GetParam().breaks && !GetParam().idempotent) {
    EXPECT_GT(client_tally_.broken_off + client_tally_.told, 0u);
    EXPECT_EQ(client_tally_.told > 0,
              GetParam().framing == Framing::kRedis || GetParam().framing == Framing::kMemcached);
  }
  if (GetParam().breaks && GetParam().idempotent) {
    EXPECT_GT(again, 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(
    Ways, MessageStreamsTest,
    ::testing::Values(Way{Framing::kLines, false, false}, Way{Framing::kLines, true, false},
                      Way{Framing::kLines, true, true}, Way{Framing::kFramesWithId, false, false},
                      Way{Framing::kFramesWithId, true, false},
                      Way{Framing::kFramesWithId, true, true}, Way{Framing::kRedis, true, false},
                      Way{Framing::kRedis, true, true}, Way{Framing::kMemcached, false, false},
                      Way{Framing::kMemcached, true, false}, Way{Framing::kMemcached, true, true}),
    ::testing::PrintToStringParamName());

}  // namespace
}  // namespace trunkline
