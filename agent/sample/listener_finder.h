// Finds the process of a server with a TCP port, as SO_PEERCRED does for a unix socket: the kernel
// lists the sockets that listen on the address (sock_diag), and /proc/PID/fd who holds them.
//
// Costs the server nothing. A dump of listening sockets and one link are read per call; /proc is
// searched only when the known process has ended or no longer holds a socket that listens there.
// It finds a process that listens in the agent's network namespace and runs in its process
// namespace. That may be a relay, such as docker-proxy in front of a published port of a container.
// Edge. Externally synchronized.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "agent/proc/sock_diag.h"
#include "agent/sample/socket_holders.h"
#include "common/base/system_files.h"
#include "common/net/address.h"
#include "common/net/address_list.h"
#include "common/net/socket.h"

namespace trunkline {

// Returns whether connections to `address` stay on this host, by the kernel's routes. Sends
// nothing.
bool IsLocalAddress(const SocketAddress& address);

class ListenerFinder {
 public:
  // After a search in vain, the same sockets are searched for again after this many calls.
  static constexpr int kCallsBetweenSearches = 10;

  struct Options {
    // A TCP address.
    Address target;
    // Returns its addresses without blocking, or null while none is known.
    std::function<AddressList(const Address&)> lookup;
    // DumpListeners, or a test's sockets.
    std::function<absl::StatusOr<std::vector<ListeningSocket>>(uint16_t port)> dump;
    // IsLocalAddress, or a test's rule.
    std::function<bool(const SocketAddress&)> is_local;
  };

  // `files` outlives the finder.
  ListenerFinder(const SystemFiles& files, Options options);

  // Returns the server's process id. `running` is the result of the last call while that process
  // runs, else 0; a server that runs and has closed its port to drain stays the server. Called once
  // per second. UNAVAILABLE means that the search goes on with the next call; any other error says
  // what hides the process.
  absl::StatusOr<int> Find(int running);

 private:
  // Returns the sockets that accept connections to the target. NOT_FOUND says why there are none.
  absl::StatusOr<std::set<uint32_t>> Listening() const;
  // Does a step of the search for the holders of `listening`.
  absl::StatusOr<int> Search(const std::set<uint32_t>& listening);
  // Chooses among the holders, once all are known.
  absl::StatusOr<int> Conclude();

  const SystemFiles& files_;
  const Options options_;
  // The sockets of the last search, which goes on while `searching_`.
  std::set<uint32_t> searched_;
  bool searching_ = false;
  SocketHolders holders_;
  // The result of a search in vain, and the calls for which it holds.
  absl::Status failure_;
  int calls_until_search_ = 0;
  // The descriptors by which the server was found.
  SocketHolders::Descriptors held_;
};

}  // namespace trunkline
