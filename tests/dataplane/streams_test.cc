// No byte crosses flows: many short connections beside long ones, each a seeded sequence both ways,
// in random pieces, with half-closes, closes and resets at any point, over workers that reuse
// descriptors and memory all the time. Whatever arrives must be the start of what was sent, all of
// it where both ends meant to finish, and no reset may look like an end.
//
// TRUNKLINE_STREAMS is the number of short connections each way of carrying them gets;
// TRUNKLINE_SEED another seed.
#include <gtest/gtest.h>
#include <sys/epoll.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <thread>
#include <unordered_map>
#include <vector>

#include "tests/dataplane/modes.h"
#include "tests/dataplane/seeded_end.h"

namespace trunkline {
namespace {

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
// Little, so that clients are waited for.
constexpr int kSendBuffer = 32 * 1024;
// Short ones of a thread that are open at a time.
constexpr size_t kAtATime = 32;

uint64_t FromEnvironment(const char* name, uint64_t otherwise) {
  const char* const text = std::getenv(name);
  return text != nullptr ? std::strtoull(text, nullptr, 10) : otherwise;
}

// As many as there are descriptors for: four sockets each, and pipes for some.
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

// Ends that one thread plays.
class Crowd {
 public:
  explicit Crowd(Tally& tally) : tally_(tally), epoll_(epoll_create1(EPOLL_CLOEXEC)) {}
  ~Crowd() { tally_.stuck += ends_.size(); }

  size_t size() const { return ends_.size(); }
  SeededEnd* Add(std::unique_ptr<SeededEnd> end) {
    SeededEnd* const borrowed = end.get();
    const int fd = end->fd();
    epoll_event event{.events = Interest(*borrowed), .data = {.fd = fd}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
    ends_[fd] = std::move(end);
    return borrowed;
  }
  void AddListener(int fd) {
    epoll_event event{.events = EPOLLIN, .data = {.fd = fd}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event);
  }
  // What it wants has changed.
  void Ask(const SeededEnd& end) {
    epoll_event event{.events = Interest(end), .data = {.fd = end.fd()}};
    epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, end.fd(), &event);
  }

  // Steps those that are ready; `gone` sees each that is over, `other` each foreign descriptor.
  // False: nothing happened in that time.
  template <typename Gone, typename Other>
  bool Step(int millis, Gone gone, Other other) {
    epoll_event events[64];
    const int count = epoll_wait(epoll_.get(), events, std::size(events), millis);
    for (int i = 0; i < count; ++i) {
      const auto found = ends_.find(events[i].data.fd);
      if (found == ends_.end()) {
        other(events[i].data.fd);
        continue;
      }
      SeededEnd& end = *found->second;
      const uint32_t before = Interest(end);
      if (end.Step()) {
        if (Interest(end) != before) Ask(end);
        continue;
      }
      tally_.Add(end);
      gone(end);
      ends_.erase(found);
    }
    return count > 0;
  }

 private:
  static uint32_t Interest(const SeededEnd& end) {
    return (end.wants_to_read() ? EPOLLIN : 0u) | (end.wants_to_write() ? EPOLLOUT : 0u);
  }

  Tally& tally_;
  const UniqueFd epoll_;
  std::unordered_map<int, std::unique_ptr<SeededEnd>> ends_;
};

// Clients of one thread: short ones that come and go beside long ones, which send a piece each time
// that a short one has gone.
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

// Serves whoever comes to `listener` until it is told to stop and all are gone.
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
  CarryMode mode;
  bool unix_servers;  // they have no reset: what a client broke off looks like an end there
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
    const bool tunnels = GetParam().mode == CarryMode::kTunnel;
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
  // All but those whose client left early.
  EXPECT_GT(server_tally_.planned, (short_connections + long_connections) * 3 / 4);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(tunnel_.worker(i).trunk_lost.Value(), 0u);
    EXPECT_EQ(tunnel_.worker(i).connect_refused.Value(), 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(Ways, StreamsTest,
                         ::testing::Values(Way{CarryMode::kTunnel, false},
                                           Way{CarryMode::kTunnel, true},
                                           Way{CarryMode::kDirect, false}),
                         [](const auto& param) {
                           return test::NameOf(param.param.mode) +
                                  (param.param.unix_servers ? "Unix" : "");
                         });

}  // namespace
}  // namespace trunkline
