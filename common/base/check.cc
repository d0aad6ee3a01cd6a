#include "common/base/check.h"

#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

namespace trunkline {
namespace {

// How long the message waits for a full pipe. A process with broken state must not live on in it.
constexpr int kMaxWaitMs = 1000;

}  // namespace

void FailCheck(const char* file, int line, const char* condition, const char* text) {
  // At most PIPE_BUF bytes, which a pipe that polls as writable takes without blocking.
  char message[1024];
  const int length = std::snprintf(message, sizeof(message), "%s:%d: check failed: %s: %s\n", file,
                                   line, condition, text);
  pollfd event = {.fd = STDERR_FILENO, .events = POLLOUT, .revents = 0};
  if (length > 0 && poll(&event, 1, kMaxWaitMs) == 1) {
    const size_t size = std::min(static_cast<size_t>(length), sizeof(message) - 1);
    [[maybe_unused]] const ssize_t written = write(STDERR_FILENO, message, size);
  }
  std::abort();
}

}  // namespace trunkline
