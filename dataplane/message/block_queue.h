// A queue of bytes in blocks, for backlogs of any size: a byte is copied once, when it is appended,
// and a block is freed as soon as it is consumed. (OutputBuffer is contiguous: it moves and doubles
// its contents as it grows.)
//
// Confined to its owner. Unbounded by itself.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <span>
#include <vector>

#include "common/base/check.h"

namespace trunkline {

class BlockQueue {
 public:
  static constexpr size_t kBlockBytes = 64 * 1024;

  size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }

  // The contiguous bytes at the front, at least one and at most kBlockBytes. Requires !empty().
  std::span<const uint8_t> front() const {
    return std::span<const uint8_t>(blocks_.front()).subspan(consumed_);
  }

  void Append(std::span<const uint8_t> bytes) {
    size_ += bytes.size();
    while (!bytes.empty()) {
      if (blocks_.empty() || blocks_.back().size() == blocks_.back().capacity()) {
        blocks_.emplace_back().reserve(std::clamp(bytes.size(), kLeastBlockBytes, kBlockBytes));
      }
      std::vector<uint8_t>& last = blocks_.back();
      const auto part = bytes.first(std::min(bytes.size(), last.capacity() - last.size()));
      last.insert(last.end(), part.begin(), part.end());
      bytes = bytes.subspan(part.size());
    }
  }

  // Removes bytes from the front, at most front().size().
  void Consume(size_t size) {
    if (size == 0) return;
    TRUNKLINE_CHECK(!empty() && size <= front().size(), "only bytes of the front are consumed");
    consumed_ += size;
    size_ -= size;
    if (consumed_ < blocks_.front().size()) return;
    blocks_.pop_front();
    consumed_ = 0;
  }

 private:
  // Small replies of many clients must not take a large block each.
  static constexpr size_t kLeastBlockBytes = 4 * 1024;

  std::deque<std::vector<uint8_t>> blocks_;  // none is empty
  size_t consumed_ = 0;                      // bytes of the first block
  size_t size_ = 0;
};

}  // namespace trunkline
