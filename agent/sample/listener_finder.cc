#include "agent/sample/listener_finder.h"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cstdint>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "agent/proc/sock_diag.h"
#include "agent/sample/server_choice.h"
#include "agent/sample/socket_holders.h"
#include "agent/sample/target_listeners.h"
#include "common/base/system_files.h"
#include "common/base/unique_fd.h"
#include "common/net/address_list.h"
#include "common/net/ip_port.h"
#include "common/net/socket.h"

namespace trunkline {
namespace {

const sockaddr* Generic(const sockaddr_storage& storage) {
  return reinterpret_cast<const sockaddr*>(&storage);
}

bool IsLoopback(const IpPort& address) {
  IpPort loopback;
  loopback.family = IpPort::Family::kIpv6;
  loopback.ip[15] = 1;
  if (address.family == IpPort::Family::kIpv4) return address.ip[0] == 127;
  return address.ip == loopback.ip;
}

// A connection to the wildcard reaches the loopback address.
IpPort Destination(const SocketAddress& address) {
  IpPort destination = IpPortOf(Generic(address.storage));
  if (destination.ip != IpPort{}.ip) return destination;
  if (destination.family == IpPort::Family::kIpv6) {
    destination.ip[15] = 1;
  } else {
    destination.ip = {127, 0, 0, 1};
  }
  return destination;
}

}  // namespace

bool IsLocalAddress(const SocketAddress& address) {
  const IpPort destination = Destination(address);
  if (IsLoopback(destination)) return true;
  // Connecting a datagram socket only looks up the route. To an address of its own the kernel
  // sends from that address.
  const UniqueFd fd(socket(address.family(), SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!fd || connect(fd.get(), Generic(address.storage), address.size) != 0) return false;
  const IpPort source = OwnAddress(fd.get());
  return IsLoopback(source) || source.ip == destination.ip;
}

ListenerFinder::ListenerFinder(const SystemFiles& files, Options options)
    : files_(files), options_(std::move(options)), holders_(files) {}

absl::StatusOr<std::set<uint32_t>> ListenerFinder::Listening() const {
  const std::string target = options_.target.ToString();
  const AddressList addresses = options_.lookup(options_.target);
  if (addresses == nullptr) {
    return absl::NotFoundError(absl::StrCat("the address of ", target, " is not known yet"));
  }
  const absl::StatusOr<std::vector<ListeningSocket>> listeners =
      options_.dump(options_.target.port);
  if (!listeners.ok()) return listeners.status();
  bool local = false;
  std::set<uint32_t> inodes;
  for (const SocketAddress& address : *addresses) {
    // A local socket on the wildcard address accepts nothing that is sent to another host.
    if (!options_.is_local(address)) continue;
    local = true;
    inodes.merge(InodesOfTarget(*listeners, Destination(address)));
  }
  if (!inodes.empty()) return inodes;
  return absl::NotFoundError(
      local ? absl::StrCat("no socket in the agent's network namespace listens on ", target,
                           " (if the server runs, the port is forwarded; set cgroup_path or "
                           "pid_file)")
            : absl::StrCat(target,
                           " is not an address of this host (if the server runs here in a network "
                           "of its own, set cgroup_path or pid_file)"));
}

absl::StatusOr<int> ListenerFinder::Find(int running) {
  const absl::StatusOr<std::set<uint32_t>> listening = Listening();
  if (!listening.ok()) {
    searching_ = false;
    searched_.clear();
    if (running > 0) return running;
    return listening.status();
  }
  if (running > 0 && holders_.StillHolds(held_, *listening)) return running;
  absl::StatusOr<int> found = Search(*listening);
  if (running > 0 && absl::IsUnavailable(found.status())) return running;
  return found;
}

absl::StatusOr<int> ListenerFinder::Search(const std::set<uint32_t>& listening) {
  if (listening != searched_) {
    searched_ = listening;
    searching_ = false;
    calls_until_search_ = 0;
  }
  if (!searching_) {
    if (--calls_until_search_ > 0) return failure_;
    holders_.Start(listening);
    searching_ = true;
  }
  if (!holders_.Step()) {
    return absl::UnavailableError(absl::StrCat("the search for the process that listens on ",
                                               options_.target.ToString(), " goes on"));
  }
  searching_ = false;
  absl::StatusOr<int> server = Conclude();
  if (server.ok()) {
    calls_until_search_ = 0;
  } else {
    failure_ = server.status();
    calls_until_search_ = kCallsBetweenSearches;
  }
  return server;
}

absl::StatusOr<int> ListenerFinder::Conclude() {
  const std::string socket =
      absl::StrCat("the socket that listens on ", options_.target.ToString());
  if (holders_.found().empty()) {
    return absl::NotFoundError(
        holders_.some_unreadable()
            ? absl::StrCat("the agent may not read whether a process of another user holds ",
                           socket, " (set pid_file or cgroup_path, or give it CAP_SYS_PTRACE)")
            : absl::StrCat("no process in the agent's process namespace holds ", socket,
                           " (set cgroup_path, or share the server's process namespace)"));
  }
  std::vector<int> pids;
  for (const auto& [pid, descriptors] : holders_.found()) pids.push_back(pid);
  const absl::StatusOr<int> server = ChooseServer(files_, pids);
  if (!server.ok()) {
    return absl::NotFoundError(
        absl::StrCat("no server has ", socket, ": ", std::string(server.status().message())));
  }
  const auto own = holders_.found().find(*server);
  held_.clear();
  if (own != holders_.found().end()) {
    held_ = own->second;
  } else {
    // The common parent of the holders.
    for (const auto& [pid, descriptors] : holders_.found()) {
      held_.insert(descriptors.begin(), descriptors.end());
    }
  }
  return *server;
}

}  // namespace trunkline
