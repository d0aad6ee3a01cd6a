// Bounds the growth of all receive windows of one loop together (see common/http2/stream_window.h);
// the memory guard stops it. Pure; confined to its loop.
#pragma once

#include <cstdint>

namespace trunkline {

class WindowBudget {
 public:
  explicit WindowBudget(int64_t bytes) : left_(bytes) {}
  bool Take(int64_t bytes) {
    if (!may_grow_ || bytes > left_) return false;
    left_ -= bytes;
    return true;
  }
  void Give(int64_t bytes) { left_ += bytes; }
  int64_t left() const { return left_; }
  // While false, Take fails regardless of the growth that is left.
  void set_may_grow(bool may_grow) { may_grow_ = may_grow; }

 private:
  int64_t left_;
  bool may_grow_ = true;
};

}  // namespace trunkline
