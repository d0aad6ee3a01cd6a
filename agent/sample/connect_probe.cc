#include "agent/sample/connect_probe.h"

#include <poll.h>
#include <sys/socket.h>

namespace trunkline {

ConnectProbe::ConnectProbe(const Address& target) {
  const absl::StatusOr<SocketAddress> address = ResolveAddress(target);
  if (address.ok()) address_ = *address;
}

bool ConnectProbe::Try(absl::Duration timeout) const {
  if (!address_.has_value()) return false;
  const ConnectResult result = ConnectTo(*address_);
  if (result.state != ConnectState::kInProgress) return result.state != ConnectState::kFailed;
  pollfd wait = {.fd = result.fd.get(), .events = POLLOUT, .revents = 0};
  if (poll(&wait, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) != 1) return false;
  return SocketError(result.fd.get()) == 0;
}

int ConnectProbe::ServerPid() const {
  if (!address_.has_value() || address_->family() != AF_UNIX) return 0;
  const ConnectResult result = ConnectTo(*address_);
  if (result.state != ConnectState::kConnected) return 0;
  ucred server = {};
  socklen_t length = sizeof(server);
  if (getsockopt(result.fd.get(), SOL_SOCKET, SO_PEERCRED, &server, &length) != 0) return 0;
  return server.pid;
}

}  // namespace trunkline
