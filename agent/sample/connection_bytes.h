// Derives a monotonic byte count from socket dumps.
//
// The kernel counts bytes per socket, so the sum over open sockets falls whenever one closes. This
// class follows each socket by its cookie and adds its growth. It misses the bytes between a
// socket's last dump and its end: for short connections the byte counts of streams are better.
// Pure; externally synchronized.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "agent/proc/sock_diag.h"

namespace trunkline {

class ConnectionBytes {
 public:
  // Adds a dump and returns the bytes in both directions since the first dump, which only sets the
  // baseline.
  uint64_t Add(const PortSockets& dump);

 private:
  // The sockets of the last dump, at most PortSockets::kMaxSockets.
  std::unordered_map<uint64_t, uint64_t> bytes_by_cookie_;
  uint64_t total_ = 0;
  bool first_ = true;
};

}  // namespace trunkline
