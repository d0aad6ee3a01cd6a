// One connect to the local server, to learn whether it is there and who it is; closed at once.
// Edge. Immutable, thread-safe.
#pragma once

#include <optional>

#include "absl/time/time.h"
#include "common/net/address.h"
#include "common/net/socket.h"

namespace trunkline {

class ConnectProbe {
 public:
  // Looks a host name up here, once: a look-up may block, a probe must not.
  explicit ConnectProbe(const Address& target);

  // True when the server took the connection within `timeout`, or would but for a full queue.
  bool Try(absl::Duration timeout) const;

  // The process that listens on a unix socket, as the kernel names it in this process's pid
  // namespace. 0: nobody listens, it cannot be seen from here, or the target is TCP.
  int ServerPid() const;

 private:
  // nullopt when the name is unknown.
  std::optional<SocketAddress> address_;
};

}  // namespace trunkline
