// One end of a connection that sends a seeded sequence of bytes and checks the sequence that it
// gets, which detects a missing, repeated or foreign byte at once. A client sends its plan first,
// so that the server can play the other end.
//
// Never blocks: Step() does as much as possible. Confined to its test's thread.
#pragma once

#include <cstdint>
#include <string>
#include <utility>

#include "common/base/random.h"
#include "tests/common/net/tcp_pair.h"

namespace trunkline::test {

// How a connection ends; the first end that has moved `stop_after` bytes leaves.
enum class Leave : uint32_t {
  kCleanly,  // each end half-closes when it has sent everything
  kClientResets,
  kServerResets,
  kClientCloses,
  kServerCloses,
  kClientSaysNothing,  // it resets at once, without sending its plan
};

struct Plan {
  uint64_t seed;
  uint64_t stop_after;
  uint32_t up_bytes;
  uint32_t down_bytes;
  Leave leave;
  uint32_t unused;
};

// Plans connections of at most `most_bytes` each way, mostly small ones.
Plan MakePlan(FastRandom& random, uint32_t most_bytes);

// Byte i depends on the seed and on i.
class Sequence {
 public:
  explicit Sequence(uint64_t seed) : random_(seed) {}
  uint8_t Next() {
    if (left_ == 0) {
      word_ = random_.Next();
      left_ = sizeof word_;
    }
    --left_;
    return static_cast<uint8_t>(word_ >> (8 * left_));
  }

 private:
  FastRandom random_;
  uint64_t word_ = 0;
  size_t left_ = 0;
};

class SeededEnd {
 public:
  enum class Role { kClient, kServer };

  // A client, which has its plan, or a server, which reads it.
  SeededEnd(Peer peer, const Plan& plan) : role_(Role::kClient), peer_(std::move(peer)) {
    Begin(plan);
  }
  explicit SeededEnd(Peer peer) : role_(Role::kServer), peer_(std::move(peer)) {}

  // Sends a piece and reads one. Returns false if the end is done; its socket is then closed.
  bool Step();
  // The events that Step() waits for.
  bool wants_to_read() const { return !ended_; }
  bool wants_to_write() const { return planned_ && !fin_sent_ && turns_ != 0; }

  // From now on, it sends one piece per turn that it is given, until it is released.
  void Pace() { turns_ = 0; }
  void GiveTurn() { turns_ = 1; }
  void Release() { turns_ = -1; }

  int fd() const { return peer_.fd(); }
  const Plan& plan() const { return plan_; }
  // Returns true if a server has read its client's plan.
  bool planned() const { return planned_; }
  // Valid once Step() has returned false:
  uint64_t mismatches() const { return mismatches_; }
  // Both ends planned to finish, but this one has not got every byte.
  bool incomplete() const {
    return plan_.leave == Leave::kCleanly && !(ended_ && !reset_ && received_ == expected_);
  }
  // The other end planned a reset, but this one saw a FIN before the last byte.
  bool taken_for_whole() const { return ended_ && !reset_ && !left_ && was_broken_off(); }

 private:
  void Begin(const Plan& plan);
  void ReadPlan();
  void Send();
  void Receive();
  bool LeavesHere() const;
  void LeaveNow();
  bool was_broken_off() const;

  const Role role_;
  Peer peer_;
  Plan plan_{};
  bool planned_ = false;
  std::string head_;
  Sequence out_{0};
  Sequence in_{0};
  FastRandom random_{0};
  uint64_t unsent_ = 0;
  uint64_t expected_ = 0;
  uint64_t received_ = 0;
  uint64_t moved_ = 0;
  uint64_t mismatches_ = 0;
  std::string piece_;
  int turns_ = -1;  // -1 if it is not paced
  bool fin_sent_ = false;
  bool ended_ = false;
  bool reset_ = false;
  bool left_ = false;
};

}  // namespace trunkline::test
