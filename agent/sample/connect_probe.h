// Connects to the local server to learn whether it accepts connections and which process it is, and
// closes the connection at once. Edge. Immutable, thread-safe.
#pragma once

#include <functional>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/net/address.h"
#include "common/net/address_list.h"

namespace trunkline {

class ConnectProbe {
 public:
  // Returns the addresses of a host without blocking, or null while none is known. Thread-safe.
  using Lookup = std::function<AddressList(const Address&)>;

  ConnectProbe(Address target, Lookup lookup)
      : target_(std::move(target)), lookup_(std::move(lookup)) {}

  // Returns whether the server accepted the connection at one of its addresses within `timeout` or
  // has a full accept queue.
  bool Try(absl::Duration timeout) const;

  // Returns the process that listens on a unix socket, in this process's pid namespace. Returns 0
  // if no process listens, if it is outside the namespace, or if the target is TCP.
  int ServerPid() const;

  // As ServerPid, but does not connect while `running`, the process that was found last, runs
  // (else 0). NOT_FOUND says which process is missing.
  absl::StatusOr<int> FindServer(int running) const;

 private:
  const Address target_;
  const Lookup lookup_;
};

}  // namespace trunkline
