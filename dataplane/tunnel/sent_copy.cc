#include "dataplane/tunnel/sent_copy.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "common/base/check.h"
#include "common/base/clock.h"

namespace trunkline {

void SentCopy::Add(const uint8_t* data, size_t size, MonotonicTime now) {
  TRUNKLINE_CHECK(replayed(), "bytes of the client follow those of the copy");
  if (bytes_.size() + size > kMaxBytes) {
    complete_ = false;
    Drop();
  }
  if (!complete_) return;
  if (bytes_.empty()) since_ = now;
  bytes_.insert(bytes_.end(), data, data + size);
  replayed_ = bytes_.size();
  share_.Set(bytes_.size());
}

size_t SentCopy::Replay(uint8_t* to, size_t capacity) {
  const size_t size = std::min(capacity, bytes_.size() - replayed_);
  std::memcpy(to, bytes_.data() + replayed_, size);
  replayed_ += size;
  return size;
}

void SentCopy::Drop() {
  std::vector<uint8_t>().swap(bytes_);
  replayed_ = 0;
  share_.Set(0);
}

}  // namespace trunkline
