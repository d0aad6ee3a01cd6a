// Idle connections that collectors keep open beside the connections of their readings. A load
// balancer must carry them without one server connection for each.
//
// Opens them at a pace that a listen queue can absorb, and reopens connections that the peer ended.
// They carry no bytes. Confined to one thread, which passes on the epoll events of its keys.
#pragma once

#include <cstdint>
#include <queue>
#include <vector>

#include "common/base/clock.h"
#include "common/base/unique_fd.h"
#include "common/net/socket.h"
#include "examples/metering/random_bits.h"

namespace trunkline::metering {

class HeldConnections {
 public:
  // Marks the epoll data of these connections.
  static constexpr uint64_t kKey = uint64_t{1} << 63;

  // Borrows `epoll`. Connections are spread over `targets`. Both outlive the object.
  HeldConnections(int epoll, const std::vector<SocketAddress>& targets, size_t wanted,
                  uint64_t seed);

  // Opens the next batch of missing connections if it is due.
  void Open(MonotonicTime now);
  // When Open has something to do; Infinite() while every connection is open.
  MonotonicTime next_open() const;
  void Serve(uint64_t key, uint32_t events, MonotonicTime now);

  bool all_open() const { return open_ == connections_.size(); }
  size_t wanted() const { return connections_.size(); }
  size_t open() const { return open_; }
  uint64_t reopened() const { return reopened_; }

 private:
  struct Connection {
    UniqueFd fd;
    bool established = false;
  };
  struct Due {
    MonotonicTime at;
    uint32_t index;
    bool operator>(const Due& other) const { return at > other.at; }
  };
  void Lost(uint32_t index, MonotonicTime now);

  const int epoll_;
  const std::vector<SocketAddress>& targets_;
  SeededRandom random_;
  std::vector<Connection> connections_;
  std::priority_queue<Due, std::vector<Due>, std::greater<>> due_;
  MonotonicTime next_batch_;
  size_t open_ = 0;
  uint64_t reopened_ = 0;
};

}  // namespace trunkline::metering
