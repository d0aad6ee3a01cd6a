// Finds a socket of the program under test, which runs in this process.
#pragma once

#include <sys/resource.h>
#include <sys/socket.h>

#include <cstdint>

#include "common/net/socket.h"

namespace trunkline::test {

// Returns the option's value, or -1.
inline int OptionOf(int fd, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  getsockopt(fd, level, name, &value, &size);
  return value;
}

// Returns this process's socket with these ports at its own and its peer's end, or -1.
inline int FindSocket(uint16_t own_port, uint16_t peer_port) {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  for (int fd = 0; fd < static_cast<int>(limit.rlim_cur); ++fd) {
    if (OwnAddress(fd).port == own_port && PeerAddress(fd).port == peer_port) return fd;
  }
  return -1;
}

}  // namespace trunkline::test
