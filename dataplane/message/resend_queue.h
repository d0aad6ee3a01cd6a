// The requests of one client that lost their connection and are sent again, in the client's order.
//
// A connection takes requests from the front of the queue. If it fails, too, the requests that it
// returns are older than those still queued, so they go to the front, in their order. Pure.
// Confined to its flow.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

#include "common/base/clock.h"
#include "dataplane/codec/codec.h"

namespace trunkline {

class ResendQueue {
 public:
  struct Request {
    std::vector<uint8_t> bytes;
    uint32_t reply_hint;
    bool repeatable;
    Replies replies;
    bool written;  // a server may have seen it
    MonotonicTime since;
    MonotonicTime arrived_at = {};  // from the client
    uint32_t number = 0;            // see SharedConnection::Send
  };

  bool empty() const { return requests_.empty(); }
  const Request& front() const { return requests_.front(); }

  // Takes a request that a closing connection returns, oldest first. `last` marks this client's
  // last request on that connection.
  void Return(Request request, bool last) {
    requests_.insert(requests_.begin() + returned_, std::move(request));
    returned_ = last ? 0 : returned_ + 1;
  }
  // Removes the oldest request. Requires !empty().
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
  // Return time of the request that has waited longest; Infinite() if empty.
  MonotonicTime since() const {
    MonotonicTime oldest = MonotonicTime::Infinite();
    for (const Request& request : requests_) oldest = std::min(oldest, request.since);
    return oldest;
  }

 private:
  std::vector<Request> requests_;
  ptrdiff_t returned_ = 0;  // requests at the front from the connection that is closing now
};

}  // namespace trunkline
