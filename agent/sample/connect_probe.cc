#include "agent/sample/connect_probe.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/net/address_list.h"
#include "common/net/socket.h"

namespace trunkline {
namespace {

bool Accepts(const SocketAddress& address, absl::Duration timeout) {
  const ConnectResult result = ConnectTo(address);
  if (result.state != ConnectState::kInProgress) return result.state != ConnectState::kFailed;
  pollfd wait = {.fd = result.fd.get(), .events = POLLOUT, .revents = 0};
  if (poll(&wait, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) != 1) return false;
  return SocketError(result.fd.get()) == 0;
}

}  // namespace

bool ConnectProbe::Try(absl::Duration timeout) const {
  const AddressList addresses = lookup_(target_);
  if (addresses == nullptr) return false;
  const absl::Duration each = timeout / static_cast<int64_t>(addresses->size());
  return std::any_of(addresses->begin(), addresses->end(),
                     [&](const SocketAddress& address) { return Accepts(address, each); });
}

int ConnectProbe::ServerPid() const {
  if (!target_.is_unix()) return 0;
  const AddressList addresses = lookup_(target_);
  if (addresses == nullptr) return 0;
  const ConnectResult result = ConnectTo(addresses->front());
  if (result.state != ConnectState::kConnected) return 0;
  ucred server = {};
  socklen_t length = sizeof(server);
  if (getsockopt(result.fd.get(), SOL_SOCKET, SO_PEERCRED, &server, &length) != 0) return 0;
  return server.pid;
}

absl::StatusOr<int> ConnectProbe::FindServer(int running) const {
  if (running > 0) return running;
  if (const int pid = ServerPid(); pid > 0) return pid;
  return absl::NotFoundError(
      absl::StrCat("no process in the agent's process namespace listens on ", target_.ToString()));
}

}  // namespace trunkline
