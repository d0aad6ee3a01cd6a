#include "agent/connect_probe.h"

#include <netdb.h>
#include <poll.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/unique_fd.h"

namespace trunkline {
namespace {

struct FreeAddresses {
  void operator()(addrinfo* list) const { freeaddrinfo(list); }
};

}  // namespace

ConnectProbe::ConnectProbe(const Address& target) {
  if (target.is_unix()) {
    sockaddr_un address = {};
    if (target.unix_path.size() >= sizeof(address.sun_path)) return;
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, target.unix_path.data(), target.unix_path.size());
    Target entry = {.address = {}, .length = sizeof(address)};
    std::memcpy(&entry.address, &address, sizeof(address));
    targets_.push_back(entry);
    return;
  }
  const addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
  addrinfo* list = nullptr;
  if (getaddrinfo(target.host.c_str(), absl::StrCat(target.port).c_str(), &hints, &list) != 0) {
    return;
  }
  const std::unique_ptr<addrinfo, FreeAddresses> owner(list);
  for (const addrinfo* info = list; info != nullptr; info = info->ai_next) {
    Target entry = {.address = {}, .length = info->ai_addrlen};
    std::memcpy(&entry.address, info->ai_addr, info->ai_addrlen);
    targets_.push_back(entry);
  }
}

bool ConnectProbe::Try(absl::Duration timeout) const {
  for (const Target& target : targets_) {
    const UniqueFd fd(
        socket(target.address.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    if (!fd) return false;
    const auto* address = reinterpret_cast<const sockaddr*>(&target.address);
    if (connect(fd.get(), address, target.length) == 0) return true;
    if (errno != EINPROGRESS) continue;
    pollfd wait = {.fd = fd.get(), .events = POLLOUT, .revents = 0};
    if (poll(&wait, 1, static_cast<int>(absl::ToInt64Milliseconds(timeout))) != 1) continue;
    int error = 0;
    socklen_t length = sizeof(error);
    getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
    if (error == 0) return true;
  }
  return false;
}

}  // namespace trunkline
