// Bytes queued for one socket: appended in place, sent from the front; memory is freed when empty.
//
// Confined to its event loop. Unbounded by itself: its writer bounds it, as Http2Session::Produce
// does.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "common/base/check.h"

namespace trunkline {

class OutputBuffer {
 public:
  size_t size() const { return end_ - begin_; }
  bool empty() const { return begin_ == end_; }
  const uint8_t* data() const { return bytes_.data() + begin_; }

  // Returns room for `size` more bytes, valid until the next call. Commit adds those that were
  // written.
  uint8_t* Reserve(size_t size) {
    if (bytes_.size() - end_ < size) MakeRoom(size);
    return bytes_.data() + end_;
  }
  void Commit(size_t size) {
    TRUNKLINE_CHECK(size <= bytes_.size() - end_, "only reserved room is committed");
    end_ += size;
  }

  void Append(const uint8_t* data, size_t size) {
    std::memcpy(Reserve(size), data, size);
    Commit(size);
  }

  void Consume(size_t size) {
    TRUNKLINE_CHECK(size <= this->size(), "only buffered bytes are consumed");
    begin_ += size;
    if (begin_ == end_) begin_ = end_ = 0;
  }

  // Frees the memory if the buffer is empty and larger than an ordinary pass needs.
  void Shrink() {
    if (empty() && bytes_.size() > kKeptBytes) std::vector<uint8_t>().swap(bytes_);
  }

 private:
  static constexpr size_t kKeptBytes = 64 * 1024;

  void MakeRoom(size_t size) {
    if (begin_ > 0) {
      std::memmove(bytes_.data(), bytes_.data() + begin_, end_ - begin_);
      end_ -= begin_;
      begin_ = 0;
    }
    if (bytes_.size() - end_ < size) bytes_.resize(std::max(end_ + size, 2 * bytes_.size()));
  }

  std::vector<uint8_t> bytes_;
  size_t begin_ = 0;
  size_t end_ = 0;
};

}  // namespace trunkline
