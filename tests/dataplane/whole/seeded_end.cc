#include "tests/dataplane/whole/seeded_end.h"

#include <sys/socket.h>
#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstring>

#include "common/base/random.h"

namespace trunkline::test {
namespace {

constexpr uint64_t kDown = 0x5eed;  // distinguishes the two directions of a seed
constexpr size_t kMostRead = 20'000;

// Mostly small pieces, sometimes more than the proxy takes in one read.
size_t PieceSize(FastRandom& random) {
  return 1 + random.Next() % (random.Next() % 8 == 0 ? 80'000 : 300);
}

uint32_t SizeUpTo(FastRandom& random, uint32_t most_bytes) {
  const uint64_t dice = random.Next() % 32;
  const uint32_t limit = dice == 0 ? most_bytes : dice < 8 ? most_bytes / 16 : most_bytes / 256;
  return static_cast<uint32_t>(random.Next() % (limit + 1));
}

Leave RollLeave(FastRandom& random) {
  const uint64_t dice = random.Next() % 16;
  constexpr uint64_t kWays = 6;
  return dice < kWays ? static_cast<Leave>(dice) : Leave::kCleanly;
}

}  // namespace

Plan MakePlan(FastRandom& random, uint32_t most_bytes) {
  Plan plan{};
  plan.seed = random.Next();
  plan.up_bytes = SizeUpTo(random, most_bytes);
  plan.down_bytes = SizeUpTo(random, most_bytes);
  plan.stop_after = random.Next() % (plan.up_bytes + plan.down_bytes + 1);
  plan.leave = RollLeave(random);
  return plan;
}

void SeededEnd::Begin(const Plan& plan) {
  plan_ = plan;
  planned_ = true;
  const bool client = role_ == Role::kClient;
  out_ = Sequence(client ? plan.seed : plan.seed ^ kDown);
  in_ = Sequence(client ? plan.seed ^ kDown : plan.seed);
  random_ = FastRandom(plan.seed + (client ? 1 : 2));
  unsent_ = client ? plan.up_bytes : plan.down_bytes;
  expected_ = client ? plan.down_bytes : plan.up_bytes;
  if (client) piece_.assign(reinterpret_cast<const char*>(&plan_), sizeof plan_);
}

bool SeededEnd::LeavesHere() const {
  if (!planned_) return false;
  switch (plan_.leave) {
    case Leave::kCleanly:
      return false;
    case Leave::kClientSaysNothing:
      return role_ == Role::kClient;
    case Leave::kClientResets:
    case Leave::kClientCloses:
      return role_ == Role::kClient && moved_ >= plan_.stop_after;
    case Leave::kServerResets:
    case Leave::kServerCloses:
      return role_ == Role::kServer && moved_ >= plan_.stop_after;
  }
  return false;
}

void SeededEnd::LeaveNow() {
  left_ = true;
  const bool closes = plan_.leave == Leave::kClientCloses || plan_.leave == Leave::kServerCloses;
  closes ? peer_.Close() : peer_.Reset();
}

// After a reset of the other end; an end that closes may have sent less than planned, too.
bool SeededEnd::was_broken_off() const {
  if (role_ == Role::kServer && !planned_) return true;
  const Leave by_other = role_ == Role::kClient ? Leave::kServerResets : Leave::kClientResets;
  return plan_.leave == by_other && received_ < expected_;
}

bool SeededEnd::Step() {
  if (!planned_) {
    ReadPlan();
  } else {
    if (wants_to_write()) Send();
    if (wants_to_read()) Receive();
  }
  if (!ended_ && LeavesHere()) {
    LeaveNow();
    return false;
  }
  const bool over = ended_ && (fin_sent_ || !planned_);
  if (over) peer_.Close();
  return !over;
}

void SeededEnd::ReadPlan() {
  char bytes[sizeof plan_];
  const ssize_t n = recv(fd(), bytes, sizeof bytes - head_.size(), MSG_DONTWAIT);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) {
    ended_ = true;
    reset_ = n < 0;
    return;
  }
  head_.append(bytes, static_cast<size_t>(n));
  if (head_.size() < sizeof plan_) return;
  Plan plan;
  std::memcpy(&plan, head_.data(), sizeof plan);
  Begin(plan);
}

void SeededEnd::Send() {
  if (piece_.empty()) {
    const size_t size = std::min<uint64_t>(unsent_, PieceSize(random_));
    for (size_t i = 0; i < size; ++i) piece_.push_back(static_cast<char>(out_.Next()));
    unsent_ -= size;
  }
  const size_t taken = peer_.SendWhatFits(piece_);
  if (peer_.send_failed()) {
    reset_ = fin_sent_ = ended_ = true;
    return;
  }
  moved_ += taken;
  piece_.erase(0, taken);
  if (turns_ > 0 && piece_.empty()) --turns_;
  // A paced end sends no FIN before it is released.
  if (!piece_.empty() || unsent_ > 0 || turns_ >= 0) return;
  peer_.ShutdownWrite();
  fin_sent_ = true;
}

void SeededEnd::Receive() {
  if (ended_) return;
  char bytes[kMostRead];
  const ssize_t n = recv(fd(), bytes, 1 + random_.Next() % sizeof bytes, MSG_DONTWAIT);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) {
    ended_ = true;
    reset_ = n < 0;
    fin_sent_ = fin_sent_ || reset_;
    return;
  }
  for (ssize_t i = 0; i < n; ++i) mismatches_ += static_cast<uint8_t>(bytes[i]) != in_.Next();
  received_ += static_cast<uint64_t>(n);
  moved_ += static_cast<uint64_t>(n);
  if (received_ > expected_) ++mismatches_;
}

}  // namespace trunkline::test
