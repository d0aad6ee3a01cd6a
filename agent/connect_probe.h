// One connect to the local server, to learn whether it is there; closed at once.
// Edge. Immutable, thread-safe.
#pragma once

#include <sys/socket.h>

#include <vector>

#include "absl/time/time.h"
#include "common/address.h"

namespace trunkline {

class ConnectProbe {
 public:
  // Looks a host name up here, once: a look-up may block, a probe must not.
  explicit ConnectProbe(const Address& target);

  // True when the server took the connection within `timeout`.
  bool Try(absl::Duration timeout) const;

 private:
  struct Target {
    sockaddr_storage address;
    socklen_t length;
  };
  // As resolved; empty when the name is unknown.
  std::vector<Target> targets_;
};

}  // namespace trunkline
