// The age of bytes that wait for a slow reader, or for the rest of a request.
//
// The time of the last progress is no measure: a client that reads 1 B/s always looks active. The
// age of the oldest waiting byte shows how long the reader needs for the backlog, however large it
// is. The age is approximate: it follows a mark through the queue instead of each byte, so it is
// that of a byte at most one queue length behind the oldest.
//
// Pure; externally synchronized.
#pragma once

#include <cstddef>

#include "common/base/clock.h"

namespace trunkline {

class BacklogAge {
 public:
  // `taken` bytes left the front of the queue since the last call; `waiting` bytes remain.
  void Update(size_t taken, size_t waiting, MonotonicTime now) {
    if (waiting > 0 && taken < marked_) {
      marked_ -= taken;
      return;
    }
    marked_ = waiting;
    since_ = now;
  }
  // The time at which the marked bytes arrived. Meaningless while no bytes wait.
  MonotonicTime since() const { return since_; }

 private:
  size_t marked_ = 0;  // this many waiting bytes had arrived by since_
  MonotonicTime since_;
};

}  // namespace trunkline
