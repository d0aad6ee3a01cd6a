#include "agent/sample/sock_diag_socket.h"

#include <linux/netlink.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <time.h>

#include <cerrno>
#include <cstdint>
#include <ctime>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "agent/proc/sock_diag.h"
#include "common/base/unique_fd.h"

namespace trunkline {
namespace {

// The kernel fills at most this much of a datagram.
constexpr size_t kMaxDatagramBytes = 32 << 10;
constexpr size_t kReplyBytes = 64 << 10;
static_assert(kReplyBytes >= kMaxDatagramBytes);
// The kernel answers from memory at once. The timeout only keeps a fault of the kernel from
// blocking the calling thread.
constexpr timeval kReceiveTimeout = {.tv_sec = 0, .tv_usec = 200'000};
// Bounds the loop, with room for dumps of several ports with PortSockets::kMaxSockets each.
constexpr int kMaxDatagrams = 10'000;
constexpr size_t kSocketReplyBytes = 400;
static_assert(kMaxDatagrams * (kMaxDatagramBytes / kSocketReplyBytes) >=
              8 * PortSockets::kMaxSockets);
constexpr uint32_t kSequence = 1;

absl::Duration ThreadCpu() {
  timespec used{};
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return absl::DurationFromTimespec(used);
}

// Sends `request` and calls `parse(datagram)` for each datagram, until it returns true.
template <typename Parse>
absl::Status Exchange(const std::string& request, const Parse& parse) {
  const UniqueFd fd(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
  if (!fd) return absl::ErrnoToStatus(errno, "sock_diag: socket");
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &kReceiveTimeout, sizeof(kReceiveTimeout));
  if (send(fd.get(), request.data(), request.size(), 0) < 0) {
    return absl::ErrnoToStatus(errno, "sock_diag: send");
  }
  std::vector<char> reply(kReplyBytes);
  for (int i = 0; i < kMaxDatagrams; ++i) {
    const ssize_t n = recv(fd.get(), reply.data(), reply.size(), 0);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return absl::ErrnoToStatus(n < 0 ? errno : EPROTO, "sock_diag: receive");
    const absl::StatusOr<bool> done =
        parse(absl::string_view(reply.data(), static_cast<size_t>(n)));
    if (!done.ok()) return done.status();
    if (*done) return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(
      "sock_diag: the dump does not end; the last one stays in use");
}

}  // namespace

absl::StatusOr<SocketDump> DumpSockets(const std::vector<uint16_t>& ports) {
  SocketDump dump;
  const absl::Duration before = ThreadCpu();
  for (const uint8_t family : {AF_INET, AF_INET6}) {
    const absl::Status status =
        Exchange(BuildSocketDumpRequest(family, ports, kSequence), [&](absl::string_view datagram) {
          return ParseSocketDumpReply(datagram, kSequence, dump);
        });
    if (!status.ok() && !absl::IsNotFound(status)) return status;
  }
  dump.cost = ThreadCpu() - before;
  return dump;
}

absl::StatusOr<std::vector<ListeningSocket>> DumpListeners(uint16_t port) {
  std::vector<ListeningSocket> listeners;
  for (const uint8_t family : {AF_INET, AF_INET6}) {
    const absl::Status status = Exchange(
        BuildListenerDumpRequest(family, port, kSequence), [&](absl::string_view datagram) {
          return ParseListenerDumpReply(datagram, kSequence, listeners);
        });
    // A kernel without IPv6 has no such sockets; without tcp_diag it cannot name any.
    if (!status.ok() && !(absl::IsNotFound(status) && family == AF_INET6)) return status;
  }
  return listeners;
}

}  // namespace trunkline
