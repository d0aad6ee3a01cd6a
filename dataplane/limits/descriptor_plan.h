// Divides a proxy's limit of open files.
//
// Clients, upstream connections and trunks share one pool: clients are accepted while at most
// `sockets` are open (Worker::HasRoom), and admitted clients may open up to `late_sockets` more
// upstream connections. Pipes, which only make bulk transfer cheaper, and health checks share a
// separate part, so that they never displace a client. The rest is for listeners, the controller,
// HTTP and files.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>

namespace trunkline {

// Puts no limit on the pipes of a thread.
inline constexpr size_t kAnyPipes = std::numeric_limits<size_t>::max();

struct DescriptorPlan {
  // Larger than any limit, and small enough that sums of a few do not overflow.
  static constexpr size_t kAny = std::numeric_limits<size_t>::max() / 8;
  size_t sockets = kAny;  // for clients, servers and agents
  size_t late_sockets = kAny;
  size_t pipes_per_worker = kAny;
  size_t checks_per_worker = kAny;  // connections of health checks

  static DescriptorPlan For(size_t limit, size_t workers) {
    constexpr size_t kReserved = 256;
    constexpr size_t kSeparatePart = 8;
    constexpr size_t kChecksPart = 4;  // of the separate part
    constexpr size_t kEndsOfAPipe = 2;
    const size_t reserved = std::min(kReserved, limit / 2);
    const size_t separate = (limit - reserved) / kSeparatePart / workers;
    const size_t checks = separate / kChecksPart;
    const size_t pipes = (separate - separate % kEndsOfAPipe - checks) / kEndsOfAPipe;
    return {.sockets = limit - reserved - (pipes * kEndsOfAPipe + checks) * workers,
            .late_sockets = reserved / 2,
            .pipes_per_worker = pipes,
            .checks_per_worker = checks};
  }
};

}  // namespace trunkline
