// Chooses the server among the processes that hold a listening socket.
//
// A fork shares its parent's sockets, and a service manager keeps the ones that it passes on. The
// rules:
//
//   1. A process stands for those of its descendants that hold the socket as well, down to the
//      first in another control group: a master for its workers.
//   2. If one that is left descends from another one that is left, the descendant is the server: a
//      service for its service manager, a container for its runtime.
//   3. Several that are left (SO_REUSEPORT) have a common parent in their own control group, which
//      then is the server, or else the process that started first.
//   4. systemd itself is never the server: it holds the socket of a service that does not run yet.
//
// Edge: reads /proc through SystemFiles. Stateless and thread-safe.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "common/base/system_files.h"

namespace trunkline {

// Returns the process id. `holders` are the processes that hold the socket. NOT_FOUND says why
// none of them is the server.
absl::StatusOr<int> ChooseServer(const SystemFiles& files, const std::vector<int>& holders);

}  // namespace trunkline
