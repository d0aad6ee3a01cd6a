// Requests in the simulated cluster, in a pool: a run has millions, of which few are alive.
//
// Externally synchronized.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tests/sim/event_queue.h"

namespace trunkline::sim {

using RequestId = uint32_t;
constexpr uint32_t kNoFlow = UINT32_MAX;

struct Request {
  SimTime intended = 0;  // when the client wanted to send it
  SimTime accepted = 0;  // when the proxy got its flow
  double cpu = 0;        // seconds of a core of speed 1
  double wait = 0;       // seconds
  uint32_t proxy = 0;
  uint32_t server = 0;
  uint32_t flow = kNoFlow;  // a long flow that it belongs to
  uint32_t serial = 0;      // of the use of this place in the pool
  uint8_t tries = 0;
  bool at_server = false;
  bool abandoned = false;  // its client has left
  bool is_load = false;    // its proxy counts it as load at `server`
  // The server's work that is left.
  double cpu_left = 0;
};

class RequestPool {
 public:
  RequestId Make() {
    if (free_.empty()) {
      requests_.emplace_back();
      return static_cast<RequestId>(requests_.size() - 1);
    }
    const RequestId id = free_.back();
    free_.pop_back();
    const uint32_t serial = requests_[id].serial;
    requests_[id] = {};
    requests_[id].serial = serial;
    return id;
  }
  void Release(RequestId id) {
    ++requests_[id].serial;
    free_.push_back(id);
  }
  Request& operator[](RequestId id) { return requests_[id]; }
  size_t alive() const { return requests_.size() - free_.size(); }

  // Names this use of the place, for events that may come after its end.
  uint64_t Ticket(RequestId id) const {
    return (static_cast<uint64_t>(requests_[id].serial) << 32) | id;
  }
  bool Valid(uint64_t ticket) const {
    return requests_[static_cast<RequestId>(ticket)].serial == ticket >> 32;
  }

 private:
  std::vector<Request> requests_;
  std::vector<RequestId> free_;
};

}  // namespace trunkline::sim
