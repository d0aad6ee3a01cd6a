#include "dataplane/listen/handover.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "common/net/socket.h"
#include "common/observe/log.h"

namespace trunkline {
namespace {

constexpr char kSocket = 'S';
constexpr char kEnd = 'E';
constexpr char kReady = 'R';
constexpr size_t kMaxMessageBytes = 4096;
// Limits the sockets of one proxy: services times workers, which is far below this.
constexpr size_t kMaxSockets = 100'000;
// Limits how long either side may take to answer.
constexpr int kAnswerMillis = 5'000;
// Limits how long a successor may take to read its snapshot and to serve.
constexpr int kReadyMillis = 60'000;
// Limits how long a predecessor may take to release its admin port.
constexpr int kReleaseMillis = 10'000;

absl::StatusOr<sockaddr_un> UnixName(const std::string& path) {
  sockaddr_un name{.sun_family = AF_UNIX};
  if (path.size() >= sizeof name.sun_path) {
    return absl::InvalidArgumentError(absl::StrCat("handover_socket: expected a path of at most ",
                                                   sizeof name.sun_path - 1, " bytes; got ", path));
  }
  std::memcpy(name.sun_path, path.c_str(), path.size() + 1);
  return name;
}

const sockaddr* Raw(const sockaddr_un& name) { return reinterpret_cast<const sockaddr*>(&name); }

bool IsReadable(int fd, int millis) {
  pollfd wait{.fd = fd, .events = POLLIN};
  return poll(&wait, 1, millis) == 1;
}

bool SendMessage(int peer, char type, const std::string& text, int passed) {
  const std::string bytes = type + text;
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

struct Message {
  char type = 0;  // 0: no message
  std::string text;
  UniqueFd passed;
};

Message ReceiveMessage(int peer, int millis) {
  if (!IsReadable(peer, millis)) return {};
  std::array<char, kMaxMessageBytes> bytes;
  iovec part{.iov_base = bytes.data(), .iov_len = bytes.size()};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr message{.msg_iov = &part,
                 .msg_iovlen = 1,
                 .msg_control = control.data(),
                 .msg_controllen = control.size()};
  const ssize_t n = recvmsg(peer, &message, MSG_CMSG_CLOEXEC);
  if (n < 1) return {};
  Message result{.type = bytes[0], .text = std::string(bytes.data() + 1, n - 1)};
  const cmsghdr* const head = CMSG_FIRSTHDR(&message);
  if (head != nullptr && head->cmsg_type == SCM_RIGHTS) {
    int passed = -1;
    std::memcpy(&passed, CMSG_DATA(head), sizeof passed);
    result.passed.Reset(passed);
  }
  return result;
}

// Returns true if the peer runs as the same user or as root; no other process gets the sockets.
bool IsOurs(int peer) {
  ucred who{};
  socklen_t size = sizeof who;
  if (getsockopt(peer, SOL_SOCKET, SO_PEERCRED, &who, &size) != 0) return false;
  return who.uid == geteuid() || who.uid == 0;
}

}  // namespace

absl::StatusOr<Inheritance> Inheritance::Take(const std::string& path) {
  Inheritance result;
  if (path.empty()) return result;
  absl::StatusOr<sockaddr_un> name = UnixName(path);
  if (!name.ok()) return name.status();
  UniqueFd peer(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (connect(peer.get(), Raw(*name), sizeof *name) != 0) return result;
  while (result.sockets_.size() < kMaxSockets) {
    Message message = ReceiveMessage(peer.get(), kAnswerMillis);
    if (message.type == kEnd) {
      result.peer_ = std::move(peer);
      return result;
    }
    if (message.type != kSocket || !message.passed) break;
    result.sockets_[message.text].push_back(std::move(message.passed));
  }
  return absl::UnavailableError(
      absl::StrCat("the proxy that listens on ", path,
                   " did not hand over its sockets; start this proxy again"));
}

void Inheritance::Confirm() {
  if (!peer_) return;
  SendMessage(peer_.get(), kReady, "", -1);
  if (!IsReadable(peer_.get(), kReleaseMillis)) {
    LogWarn("the predecessor did not release its admin port within {} ms; opening it may fail",
            kReleaseMillis);
  }
  peer_.Reset();
}

absl::StatusOr<std::unique_ptr<HandoverServer>> HandoverServer::Start(
    const std::string& path, Offer offer, std::function<void()> on_taken) {
  if (path.empty()) {
    return absl::WrapUnique(
        new HandoverServer(UniqueFd(), UniqueFd(), std::move(offer), std::move(on_taken)));
  }
  absl::StatusOr<sockaddr_un> name = UnixName(path);
  if (!name.ok()) return name.status();
  struct stat info;
  if (lstat(path.c_str(), &info) == 0 && S_ISSOCK(info.st_mode)) unlink(path.c_str());
  UniqueFd listener(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  if (bind(listener.get(), Raw(*name), sizeof *name) != 0 || chmod(path.c_str(), 0600) != 0 ||
      listen(listener.get(), 1) != 0) {
    return absl::UnavailableError(
        absl::StrCat("handover_socket: cannot listen on ", path, ": ", ErrorText(errno)));
  }
  UniqueFd stop(eventfd(0, EFD_CLOEXEC));
  if (!stop) {
    return absl::UnavailableError(
        absl::StrCat("handover_socket: cannot make an eventfd: ", ErrorText(errno)));
  }
  return absl::WrapUnique(new HandoverServer(std::move(listener), std::move(stop), std::move(offer),
                                             std::move(on_taken)));
}

HandoverServer::HandoverServer(UniqueFd listener, UniqueFd stop, Offer offer,
                               std::function<void()> on_taken)
    : listener_(std::move(listener)),
      stop_(std::move(stop)),
      offer_(std::move(offer)),
      on_taken_(std::move(on_taken)),
      thread_([this] { Run(); }) {}

HandoverServer::~HandoverServer() {
  const uint64_t one = 1;
  if (stop_ && write(stop_.get(), &one, sizeof one) < 0) {
    LogWarn("cannot wake the handover thread, shutdown may hang");
  }
  thread_.join();
}

bool HandoverServer::taken() const {
  absl::MutexLock lock(&mutex_);
  return taken_;
}

void HandoverServer::Release() {
  absl::MutexLock lock(&mutex_);
  successor_.Reset();
}

void HandoverServer::Run() {
  if (!listener_) return;
  while (true) {
    std::array<pollfd, 2> wait = {pollfd{.fd = listener_.get(), .events = POLLIN},
                                  pollfd{.fd = stop_.get(), .events = POLLIN}};
    if (poll(wait.data(), wait.size(), -1) < 0 && errno != EINTR) return;
    if (wait[1].revents != 0) return;
    if (wait[0].revents == 0) continue;
    UniqueFd peer(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!peer || !IsOurs(peer.get()) || !Serve(peer.get())) continue;
    {
      absl::MutexLock lock(&mutex_);
      taken_ = true;
      successor_ = std::move(peer);
    }
    on_taken_();
    return;
  }
}

// Returns true if the successor is ready to serve.
bool HandoverServer::Serve(int peer) {
  if (SendAll(peer)) {
    LogInfo("listening sockets handed to a successor");
    if (ReceiveMessage(peer, kReadyMillis).type == kReady) return true;
  }
  LogWarn("the successor did not come up; this proxy keeps serving");
  return false;
}

bool HandoverServer::SendAll(int peer) {
  for (const auto& [key, sockets] : offer_()) {
    for (const UniqueFd& socket : sockets) {
      if (!SendMessage(peer, kSocket, key, socket.get())) return false;
    }
  }
  return SendMessage(peer, kEnd, "", -1);
}

}  // namespace trunkline
