// No byte crosses flows: many connections at once, each a seeded sequence both ways, in random
// pieces, with half-closes and resets, over workers that reuse descriptors and memory all the time.
// Whatever arrives must be the start of what was sent.
#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <mutex>
#include <thread>

#include "common/random.h"
#include "tests/dataplane/tunnel.h"

namespace trunkline {
namespace {

using test::Ending;
using test::LocalServer;
using test::Peer;
using test::Tunnel;

enum class Leave : uint32_t { kCleanly, kClientResets, kServerResets };

// What a client says first, so that the server knows which sequences to expect and to send.
struct Plan {
  uint64_t seed;
  uint32_t up_bytes;
  uint32_t down_bytes;
  Leave leave;
};

// Byte i of a sequence depends on the seed and on i, so a missing, doubled or foreign byte shows.
class Sequence {
 public:
  explicit Sequence(uint64_t seed) : random_(seed) {}
  uint8_t Next() {
    if (left_ == 0) {
      word_ = random_.Next();
      left_ = 8;
    }
    --left_;
    return static_cast<uint8_t>(word_ >> (8 * left_));
  }

 private:
  FastRandom random_;
  uint64_t word_ = 0;
  int left_ = 0;
};

// One end of a connection: sends its sequence in random pieces while it checks the other's.
class End {
 public:
  End(Peer& peer, uint64_t send_seed, size_t send_bytes, uint64_t expect_seed, size_t expect_bytes)
      : peer_(peer),
        out_(send_seed),
        unsent_(send_bytes),
        in_(expect_seed),
        expected_(expect_bytes),
        random_(send_seed ^ expect_seed) {}

  // Until both directions ended, or, when `stop_after` bytes were sent or read, right there.
  void Run(size_t stop_after) {
    while (!(fin_sent_ && ended_) && moved_ < stop_after && !failed_) {
      const short events = static_cast<short>((ended_ ? 0 : POLLIN) | (fin_sent_ ? 0 : POLLOUT));
      if (!test::WaitFor(peer_.fd(), events)) {
        failed_ = true;
        return;
      }
      Send();
      Receive();
    }
  }

  bool saw_reset() const { return reset_; }
  // Everything came, and nothing else.
  bool complete() const { return ended_ && !reset_ && received_ == expected_; }
  uint64_t mismatches() const { return mismatches_; }
  bool stuck() const { return failed_; }

 private:
  void Send() {
    if (fin_sent_) return;
    if (piece_.empty()) {
      const size_t size =
          std::min<size_t>(unsent_, 1 + random_.Next() % (random_.Next() % 8 ? 300 : 30'000));
      for (size_t i = 0; i < size; ++i) piece_.push_back(static_cast<char>(out_.Next()));
      unsent_ -= size;
    }
    const size_t taken = peer_.SendWhatFits(piece_);
    moved_ += taken;
    piece_.erase(0, taken);
    if (peer_.send_failed()) {
      reset_ = fin_sent_ = ended_ = true;
      return;
    }
    if (!piece_.empty() || unsent_ > 0) return;
    peer_.ShutdownWrite();
    fin_sent_ = true;
  }

  void Receive() {
    if (ended_) return;
    char bytes[20'000];
    const ssize_t n = recv(peer_.fd(), bytes, 1 + random_.Next() % sizeof bytes, MSG_DONTWAIT);
    if (n < 0 && errno == EAGAIN) return;
    if (n <= 0) {
      ended_ = true;
      reset_ = n < 0;
      fin_sent_ = fin_sent_ || reset_;
      return;
    }
    for (ssize_t i = 0; i < n; ++i) mismatches_ += static_cast<uint8_t>(bytes[i]) != in_.Next();
    received_ += static_cast<size_t>(n);
    moved_ += static_cast<size_t>(n);
    if (received_ > expected_) ++mismatches_;
  }

  Peer& peer_;
  Sequence out_;
  size_t unsent_;
  Sequence in_;
  const size_t expected_;
  FastRandom random_;
  std::string piece_;
  size_t received_ = 0;
  size_t moved_ = 0;
  uint64_t mismatches_ = 0;
  bool fin_sent_ = false;
  bool ended_ = false;
  bool reset_ = false;
  bool failed_ = false;
};

struct Tally {
  std::atomic<uint64_t> mismatches{0};
  std::atomic<uint64_t> incomplete{0};  // of those that both ends meant to finish
  std::atomic<uint64_t> stuck{0};
  std::atomic<uint64_t> served{0};

  void Add(const End& end, const Plan& plan) {
    mismatches += end.mismatches();
    stuck += end.stuck();
    if (plan.leave == Leave::kCleanly && !end.complete()) ++incomplete;
  }
};

constexpr uint64_t kDown = 0x5eed;  // tells the two directions of a seed apart

size_t StopAfter(const Plan& plan, Leave leaver) {
  if (plan.leave != leaver) return SIZE_MAX;
  return FastRandom(plan.seed ^ 99).Next() % (plan.up_bytes + plan.down_bytes + 1);
}

void BeServer(Peer peer, Tally& tally) {
  const std::string head = peer.Read(sizeof(Plan));
  if (head.size() < sizeof(Plan)) return;  // it was reset before it said anything
  Plan plan;
  std::memcpy(&plan, head.data(), sizeof plan);
  End end(peer, plan.seed ^ kDown, plan.down_bytes, plan.seed, plan.up_bytes);
  end.Run(StopAfter(plan, Leave::kServerResets));
  tally.Add(end, plan);
  if (plan.leave == Leave::kServerResets) peer.Reset();
  ++tally.served;
}

void BeClient(const Tunnel& tunnel, const Plan& plan, Tally& tally) {
  Peer peer = tunnel.Connect();
  const std::string head(reinterpret_cast<const char*>(&plan), sizeof plan);
  if (!peer || !peer.Send(head)) {
    ++tally.stuck;
    return;
  }
  End end(peer, plan.seed, plan.up_bytes, plan.seed ^ kDown, plan.down_bytes);
  end.Run(StopAfter(plan, Leave::kClientResets));
  tally.Add(end, plan);
  if (plan.leave == Leave::kClientResets) peer.Reset();
}

Plan MakePlan(FastRandom& random, uint32_t most_bytes) {
  Plan plan{};
  plan.seed = random.Next();
  plan.up_bytes = static_cast<uint32_t>(random.Next() % most_bytes);
  plan.down_bytes = static_cast<uint32_t>(random.Next() % most_bytes);
  const uint64_t dice = random.Next() % 10;
  plan.leave = dice == 0   ? Leave::kClientResets
               : dice == 1 ? Leave::kServerResets
                           : Leave::kCleanly;
  return plan;
}

void RunStreams(uint64_t seed) {
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  constexpr int kShort = 2000;
  constexpr int kShortThreads = 8;
  constexpr int kLong = 50;
  test::ScratchFolder folder;
  LocalServer tcp;
  LocalServer unix_socket(Address{.unix_path = folder.File("s")});
  Tunnel tunnel({.workers = 2});
  tunnel.AddAgent(tcp.address());
  tunnel.AddAgent(unix_socket.address());
  tunnel.Start();

  Tally tally;
  std::atomic<bool> stop = false;
  std::vector<std::thread> acceptors;
  for (const LocalServer* local : {&tcp, &unix_socket}) {
    acceptors.emplace_back([&, local] {
      std::vector<std::thread> servers;
      while (!stop) {
        Peer peer = local->Accept(/*millis=*/50);
        if (peer)
          servers.emplace_back(
              [&, p = std::move(peer)]() mutable { BeServer(std::move(p), tally); });
      }
      for (std::thread& server : servers) server.join();
    });
  }
  std::vector<std::thread> clients;
  FastRandom random(seed);
  for (int i = 0; i < kLong; ++i) {
    clients.emplace_back(
        [&, plan = MakePlan(random, 1'000'000)] { BeClient(tunnel, plan, tally); });
  }
  for (int t = 0; t < kShortThreads; ++t) {
    clients.emplace_back([&, thread_seed = random.Next()] {
      FastRandom own(thread_seed);
      for (int i = 0; i < kShort / kShortThreads; ++i) BeClient(tunnel, MakePlan(own, 4000), tally);
    });
  }
  for (std::thread& client : clients) client.join();
  EXPECT_TRUE(test::Eventually([&] { return tunnel.clients() == 0; })) << "flows are left over";
  stop = true;
  for (std::thread& acceptor : acceptors) acceptor.join();
  EXPECT_EQ(tally.mismatches, 0u);
  EXPECT_EQ(tally.incomplete, 0u);
  EXPECT_EQ(tally.stuck, 0u);
  EXPECT_GT(tally.served, static_cast<uint64_t>(kShort) / 2);
  EXPECT_EQ(tunnel.worker(0).trunk_lost.Value() + tunnel.worker(1).trunk_lost.Value(), 0u);
}

TEST(TunnelStreamsTest, NoByteCrossesFlows) {
  for (uint64_t seed = 1; seed <= 2; ++seed) RunStreams(seed);
}

}  // namespace
}  // namespace trunkline
