// What the limit of open files of a proxy is good for.
//
// Clients, connections to servers and trunks are counted as they come: clients are taken while
// there are `sockets` at most (Worker::HasRoom), and those who are in find their servers up to
// `late_sockets` more. Pipes, which only make bulk cheaper, have a part of their own, so that they
// never take a client's place. The rest is for listeners, the controller, HTTP and files.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>

namespace trunkline {

// As many pipes as a thread asks for.
inline constexpr size_t kAnyPipes = std::numeric_limits<size_t>::max();

struct DescriptorPlan {
  // More than there can be; sums of a few are still numbers.
  static constexpr size_t kAny = std::numeric_limits<size_t>::max() / 8;
  size_t sockets = kAny;  // of clients, servers and agents
  size_t late_sockets = kAny;
  size_t pipes_per_worker = kAny;

  static DescriptorPlan For(size_t limit, size_t workers) {
    constexpr size_t kReserved = 256;
    constexpr size_t kPipesPart = 8;
    constexpr size_t kEndsOfAPipe = 2;
    const size_t reserved = std::min(kReserved, limit / 2);
    const size_t pipes = (limit - reserved) / kPipesPart / kEndsOfAPipe / workers;
    return {.sockets = limit - reserved - pipes * kEndsOfAPipe * workers,
            .late_sockets = reserved / 2,
            .pipes_per_worker = pipes};
  }
};

}  // namespace trunkline
