// Requests of one client that its server's connection returned, to be sent again in the order in
// which the client asked.
//
// What a connection returns was asked before what an earlier one has left here and found no room on
// this one: so each ending connection's requests go to the front, in their order. Values in, values
// out. Confined to its flow.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "common/base/clock.h"

namespace trunkline {

class ResendQueue {
 public:
  struct Request {
    std::vector<uint8_t> bytes;
    uint32_t reply_hint;
    bool written;  // a server may have seen it
    MonotonicTime since;
  };

  bool empty() const { return requests_.empty(); }
  const Request& front() const { return requests_.front(); }

  // One of those that a connection which is ending returns, oldest first; `last`: of this client's.
  void Return(Request request, bool last) {
    requests_.insert(requests_.begin() + returned_, std::move(request));
    returned_ = last ? 0 : returned_ + 1;
  }
  // Not empty.
  Request Take() {
    Request first = std::move(requests_.front());
    requests_.erase(requests_.begin());
    returned_ = 0;
    return first;
  }

  size_t bytes() const {
    size_t sum = 0;
    for (const Request& request : requests_) sum += request.bytes.size();
    return sum;
  }
  // Of the one that was returned first; Infinite() where there is none.
  MonotonicTime since() const {
    MonotonicTime oldest = MonotonicTime::Infinite();
    for (const Request& request : requests_) oldest = std::min(oldest, request.since);
    return oldest;
  }

 private:
  std::vector<Request> requests_;
  ptrdiff_t returned_ = 0;  // of these, by the connection that is ending just now
};

}  // namespace trunkline
