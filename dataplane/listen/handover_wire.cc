#include "dataplane/listen/handover_wire.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/net/socket.h"

namespace trunkline {
namespace {

constexpr size_t kMaxMessageBytes = 4096;
// Successors that may wait; a third one at the same time is a mistake of the operator.
constexpr int kBacklog = 4;
constexpr char kOtherPath[] = "choose another path";

sockaddr_un UnixName(const std::string& path) {
  sockaddr_un name{.sun_family = AF_UNIX};
  std::memcpy(name.sun_path, path.c_str(), path.size() + 1);
  return name;
}

const sockaddr* Raw(const sockaddr_un& name) { return reinterpret_cast<const sockaddr*>(&name); }

absl::Status PathError(const std::string& path, const std::string& cause,
                       const std::string& remedy) {
  return absl::UnavailableError(absl::StrCat("handover_socket: ", path, " ", cause, ": ", remedy));
}

std::string OwnerOf(const std::string& path) {
  struct stat info;
  if (lstat(path.c_str(), &info) != 0) return "the user that may use this path";
  return absl::StrCat("uid ", info.st_uid, ", which owns it");
}

absl::Status ConnectError(const std::string& path, int error) {
  switch (error) {
    case EPROTOTYPE:
      return PathError(path, "is the socket of another program, which listens on it", kOtherPath);
    case EACCES:
    case EPERM:
      return PathError(path, "refuses this process: Permission denied",
                       absl::StrCat("run this proxy as ", OwnerOf(path), ", or ", kOtherPath));
    case EAGAIN:
      return PathError(path, "belongs to a process that accepts no connection",
                       "if a hot restart is not in progress there, stop that process");
    default:
      return PathError(path, absl::StrCat("cannot be connected to, ", ErrorText(error)),
                       "correct the path");
  }
}

}  // namespace

bool SendHandover(int peer, HandoverMessageType type, const std::string& text, int passed) {
  const std::string bytes = absl::StrCat(std::string(1, static_cast<char>(type)), text);
  iovec part{.iov_base = const_cast<char*>(bytes.data()), .iov_len = bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{.msg_iov = &part, .msg_iovlen = 1};
  if (passed >= 0) {
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    cmsghdr* const head = CMSG_FIRSTHDR(&message);
    head->cmsg_level = SOL_SOCKET;
    head->cmsg_type = SCM_RIGHTS;
    head->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(head), &passed, sizeof passed);
  }
  return sendmsg(peer, &message, MSG_NOSIGNAL) == static_cast<ssize_t>(bytes.size());
}

void TellHandover(int peer, HandoverMessageType type, const std::string& text) {
  static_cast<void>(SendHandover(peer, type, text));
}

HandoverWait ReceiveHandover(int peer, int stop, absl::Duration timeout, HandoverMessage* message) {
  std::array<pollfd, 2> wait = {pollfd{.fd = peer, .events = POLLIN},
                                pollfd{.fd = stop, .events = POLLIN}};
  const MonotonicTime end = MonotonicNow() + timeout;
  int ready = 0;
  do {
    const absl::Duration left = std::max(end - MonotonicNow(), absl::ZeroDuration());
    ready =
        poll(wait.data(), wait.size(),
             static_cast<int>(absl::ToInt64Milliseconds(absl::Ceil(left, absl::Milliseconds(1)))));
  } while (ready < 0 && errno == EINTR);
  *message = {};
  if (ready == 0) return HandoverWait::kTimeout;
  if (wait[0].revents == 0) return HandoverWait::kStopped;

  std::array<char, kMaxMessageBytes> bytes;
  iovec part{.iov_base = bytes.data(), .iov_len = bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr header{.msg_iov = &part,
                .msg_iovlen = 1,
                .msg_control = control.data(),
                .msg_controllen = control.size()};
  ssize_t n = recvmsg(peer, &header, MSG_CMSG_CLOEXEC);
  // A peer that closed without reading everything may have said why before.
  if (n < 0 && errno == ECONNRESET) n = recvmsg(peer, &header, MSG_CMSG_CLOEXEC);
  if (n < 1) return HandoverWait::kPeerGone;
  message->type = static_cast<HandoverMessageType>(bytes[0]);
  message->text = std::string(bytes.data() + 1, n - 1);
  const cmsghdr* const head = CMSG_FIRSTHDR(&header);
  if (head != nullptr && head->cmsg_type == SCM_RIGHTS) {
    int passed = -1;
    std::memcpy(&passed, CMSG_DATA(head), sizeof passed);
    message->passed.Reset(passed);
  }
  return HandoverWait::kMessage;
}

HandoverPeer PeerOf(int peer) {
  ucred who{};
  socklen_t size = sizeof who;
  if (getsockopt(peer, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) return {};
  return {.pid = who.pid, .uid = who.uid};
}

absl::Status CheckHandoverPath(const std::string& path) {
  constexpr size_t kMaxPath = sizeof sockaddr_un::sun_path - 1;
  if (path.size() > kMaxPath) {
    return absl::InvalidArgumentError(absl::StrCat("handover_socket: expected a path of at most ",
                                                   kMaxPath, " bytes; got ", path));
  }
  struct stat info;
  if (path.empty() || lstat(path.c_str(), &info) != 0 || S_ISSOCK(info.st_mode)) {
    return absl::OkStatus();
  }
  const std::string kind = S_ISREG(info.st_mode)   ? "is a regular file"
                           : S_ISDIR(info.st_mode) ? "is a directory"
                           : S_ISLNK(info.st_mode) ? "is a symbolic link"
                                                   : "is no socket";
  return PathError(path, kind,
                   "this program does not replace it; remove it or choose another path");
}

absl::StatusOr<UniqueFd> ConnectToHandover(const std::string& path, absl::Duration timeout) {
  if (absl::Status checked = CheckHandoverPath(path); !checked.ok()) return checked;
  const sockaddr_un name = UnixName(path);
  UniqueFd peer(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!peer) return PathError(path, "cannot be connected to", ErrorText(errno));
  // A process that accepts nothing would block the connect for ever.
  BoundSends(peer.get(), timeout);
  if (connect(peer.get(), Raw(name), sizeof name) == 0) return peer;
  const int error = errno;
  // ECONNREFUSED: the socket of a process that ended.
  if (error == ENOENT || error == ECONNREFUSED) return UniqueFd();
  return ConnectError(path, error);
}

absl::StatusOr<UniqueFd> ListenForHandover(const std::string& path) {
  constexpr absl::Duration kProbe = absl::Seconds(1);
  absl::StatusOr<UniqueFd> other = ConnectToHandover(path, kProbe);
  if (!other.ok()) return other.status();
  if (*other) {
    return PathError(path,
                     absl::StrCat("is the socket of the process with pid ",
                                  PeerOf(other->get()).pid, ", which listens on it"),
                     absl::StrCat("stop it or ", kOtherPath));
  }
  const sockaddr_un name = UnixName(path);
  unlink(path.c_str());
  UniqueFd listener(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (!listener || bind(listener.get(), Raw(name), sizeof name) != 0 ||
      chmod(path.c_str(), 0600) != 0 || listen(listener.get(), kBacklog) != 0) {
    return PathError(path, absl::StrCat("cannot be listened on, ", ErrorText(errno)),
                     "its directory must exist and be writable");
  }
  return listener;
}

void BoundSends(int fd, absl::Duration timeout) {
  const timeval limit = absl::ToTimeval(timeout);
  setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
}

void ClaimHandover(int listener) { listen(listener, kBacklog); }

}  // namespace trunkline
