// Sends to a socket in one call, without SIGPIPE. Thread-safe: no state.
#pragma once

#include <sys/socket.h>
#include <sys/types.h>

#include <cerrno>
#include <string_view>

namespace trunkline {

// Returns as send() does, but goes on after a signal: with edge-triggered events, nothing else
// would cause another attempt.
inline ssize_t SendBytes(int fd, std::string_view bytes) {
  ssize_t n = 0;
  do {
    n = send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
  } while (n < 0 && errno == EINTR);
  return n;
}

}  // namespace trunkline
