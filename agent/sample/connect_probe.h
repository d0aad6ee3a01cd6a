// Connects to the local server to learn whether it accepts connections and which process it is, and
// closes the connection at once. Edge. Immutable, thread-safe.
#pragma once

#include <optional>

#include "absl/time/time.h"
#include "common/net/address.h"
#include "common/net/socket.h"

namespace trunkline {

class ConnectProbe {
 public:
  // Resolves a host name once, since a lookup may block and a probe must not.
  explicit ConnectProbe(const Address& target);

  // Returns whether the server accepted the connection within `timeout` or has a full accept queue.
  bool Try(absl::Duration timeout) const;

  // Returns the process that listens on a unix socket, in this process's pid namespace. Returns 0
  // if no process listens, if it is outside the namespace, or if the target is TCP.
  int ServerPid() const;

 private:
  // nullopt if the name does not resolve.
  std::optional<SocketAddress> address_;
};

}  // namespace trunkline
