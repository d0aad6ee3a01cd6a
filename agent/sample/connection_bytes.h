// A growing count of bytes out of dumps of sockets that come and go.
//
// The kernel counts bytes for each socket while it lives; a sum over the living falls whenever one
// closes. This follows each socket by its cookie and adds up what each grew by. What a socket
// carried between its last dump and its end is not seen: for short connections the trunks' own
// counts are the better word. Pure; externally synchronized.
#pragma once

#include <cstdint>
#include <unordered_map>

#include "agent/proc/sock_diag.h"

namespace trunkline {

class ConnectionBytes {
 public:
  // Bytes both ways since the first dump, whose sockets only set the marks to count from.
  uint64_t Add(const PortSockets& dump);

 private:
  // At most PortSockets::kMaxSockets: those of the last dump.
  std::unordered_map<uint64_t, uint64_t> bytes_by_cookie_;
  uint64_t total_ = 0;
  bool first_ = true;
};

}  // namespace trunkline
