// A copy of what a tunnel flow has sent, from which it is sent again at another endpoint.
//
// The flow keeps it until the agent has connected. A client that sent more than kMaxBytes before
// that cannot be retried. Confined to its worker's loop. Holds no memory while it is empty.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "common/base/clock.h"
#include "common/base/metrics.h"

namespace trunkline {

class SentCopy {
 public:
  static constexpr size_t kMaxBytes = 64 * 1024;

  // Adds the copy's size to this gauge, which outlives the copy.
  void CountIn(Gauge* bytes) { share_.BelongTo(bytes); }

  // Adds bytes that were sent. Beyond kMaxBytes the copy is dropped and complete() is false from
  // then on.
  void Add(const uint8_t* data, size_t size, MonotonicTime now);
  // Returns true if the copy holds everything that was sent.
  bool complete() const { return complete_; }

  // Starts to send the copy again.
  void Rewind() { replayed_ = 0; }
  // Returns true if all of the copy has been sent, by Add or by Replay.
  bool replayed() const { return replayed_ == bytes_.size(); }
  // Writes at most `capacity` of the bytes that are still to be sent, and returns their number.
  size_t Replay(uint8_t* to, size_t capacity);

  // Frees the copy.
  void Drop();

  size_t size() const { return bytes_.size(); }
  // Returns when the oldest byte was added. Requires size() > 0.
  MonotonicTime since() const { return since_; }

 private:
  std::vector<uint8_t> bytes_;
  size_t replayed_ = 0;
  bool complete_ = true;
  MonotonicTime since_;
  GaugeShare share_;
};

}  // namespace trunkline
