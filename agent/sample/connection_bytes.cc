#include "agent/sample/connection_bytes.h"

#include <cstdint>
#include <unordered_map>
#include <utility>

#include "agent/proc/sock_diag.h"

namespace trunkline {

uint64_t ConnectionBytes::Add(const PortSockets& dump) {
  std::unordered_map<uint64_t, uint64_t> current;
  current.reserve(dump.sockets.size());
  for (const SocketBytes& socket : dump.sockets) {
    const uint64_t bytes = socket.sent_bytes + socket.received_bytes;
    current[socket.cookie] = bytes;
    const auto known = bytes_by_cookie_.find(socket.cookie);
    const uint64_t before = known == bytes_by_cookie_.end() ? 0 : known->second;
    if (!first_ && bytes > before) total_ += bytes - before;
  }
  first_ = false;
  bytes_by_cookie_ = std::move(current);
  return total_;
}

}  // namespace trunkline
