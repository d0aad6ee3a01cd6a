// How long bytes that wait for a slow reader, or for the rest of a request, have waited.
//
// "It took something a moment ago" says little: who reads a byte a second takes something all the
// time. The age of the oldest byte that waits says how long the reader needs for what is kept, and
// is old for that one, young for a fast one, whatever both have waiting. About: a mark is followed
// through the queue, not each byte, so the age is that of a byte behind the oldest, at most a
// queue's length.
//
// Pure; externally synchronized.
#pragma once

#include <cstddef>

#include "common/base/clock.h"

namespace trunkline {

class BacklogAge {
 public:
  // `taken` bytes have left at the front since the last call; `waiting` are there now.
  void Update(size_t taken, size_t waiting, MonotonicTime now) {
    if (waiting > 0 && taken < marked_) {
      marked_ -= taken;
      return;
    }
    marked_ = waiting;
    since_ = now;
  }
  // While bytes wait: when the marked ones came.
  MonotonicTime since() const { return since_; }

 private:
  size_t marked_ = 0;  // of those that wait, up to here they came by then
  MonotonicTime since_;
};

}  // namespace trunkline
