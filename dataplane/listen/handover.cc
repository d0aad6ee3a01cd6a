#include "dataplane/listen/handover.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdint>
#include <string>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "common/base/check.h"
#include "common/base/clock.h"
#include "common/base/unique_fd.h"
#include "common/net/socket.h"
#include "common/observe/log.h"
#include "dataplane/listen/handover_wire.h"
#include "dataplane/listen/inheritance.h"

namespace trunkline {
namespace {

// Pause before the next attempt to accept, after this machine lacked a descriptor or memory.
constexpr int kAcceptPauseMillis = 100;

UniqueFd NewStopEvent() {
  UniqueFd event(eventfd(0, EFD_CLOEXEC));
  TRUNKLINE_CHECK(event, "the system has an eventfd for the hand-over thread at start-up");
  return event;
}

}  // namespace

HandoverServer::HandoverServer(UniqueFd listener, std::string proxy_id, UniqueFd predecessor,
                               Calls calls, const HandoverTimeouts& timeouts)
    : listener_(std::move(listener)),
      stop_(NewStopEvent()),
      proxy_id_(std::move(proxy_id)),
      predecessor_(std::move(predecessor)),
      calls_(std::move(calls)),
      timeouts_(timeouts),
      thread_([this] { Run(); }) {}

HandoverServer::~HandoverServer() {
  const uint64_t one = 1;
  if (write(stop_.get(), &one, sizeof one) < 0) {
    LogWarn("cannot wake the hand-over thread, shutdown may hang");
  }
  thread_.join();
}

void HandoverServer::Run() {
  if (listener_) ClaimHandover(listener_.get());
  if (predecessor_ && ServeGrace() == Outcome::kEnds) return;
  if (!listener_) return;
  while (AwaitSuccessor()) {
    const UniqueFd peer(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
    if (!peer) {
      if (IsShortage(errno)) PauseAccepting(errno);
      continue;
    }
    BoundSends(peer.get(), timeouts_.send);
    if (Serve(peer.get()) == Outcome::kEnds) return;
  }
}

// Returns false if the thread must end.
bool HandoverServer::AwaitSuccessor() const {
  while (true) {
    std::array<pollfd, 2> wait = {pollfd{.fd = listener_.get(), .events = POLLIN},
                                  pollfd{.fd = stop_.get(), .events = POLLIN}};
    const int ready = poll(wait.data(), wait.size(), -1);
    if (ready < 0 && errno == EINTR) continue;
    if (ready < 0) {
      LogError(
          "this proxy accepts no successor any more, because poll failed: {}; stop it before "
          "its successor starts",
          ErrorText(errno));
    }
    if (ready < 0 || wait[1].revents != 0) return false;
    if (wait[0].revents != 0) return true;
  }
}

// The successor stays in the accept queue and would wake the thread again at once.
void HandoverServer::PauseAccepting(int error) {
  if (const auto more = no_accept_log_.Admit(MonotonicNow())) {
    LogWarn(
        "a successor waits, because this proxy cannot accept its connection: {}; trying again; "
        "raise the limit on open files{}",
        ErrorText(error), *more);
  }
  pollfd stop{.fd = stop_.get(), .events = POLLIN};
  poll(&stop, 1, kAcceptPauseMillis);
}

HandoverServer::Outcome HandoverServer::ServeGrace() {
  const UniqueFd peer = std::move(predecessor_);
  const pid_t pid = PeerOf(peer.get()).pid;
  HandoverMessage message;
  HandoverWait got = ReceiveHandover(peer.get(), stop_.get(), timeouts_.grace, &message);
  if (got == HandoverWait::kStopped) {
    // Closing the connection afterwards lets the predecessor accept.
    calls_.release();
    LogInfo("this proxy ends within its grace time: its predecessor with pid {} serves again", pid);
    return Outcome::kEnds;
  }
  if (got == HandoverWait::kTimeout) {
    TellHandover(peer.get(), HandoverMessageType::kDone);
    got = ReceiveHandover(peer.get(), stop_.get(), timeouts_.done, &message);
  }
  if (got == HandoverWait::kPeerGone) {
    LogInfo("the predecessor with pid {} has ended, this proxy keeps its sockets", pid);
  }
  if (message.type != HandoverMessageType::kTakenBack) return Outcome::kServes;
  calls_.release();
  calls_.stop(
      absl::StrCat("the predecessor with pid ", pid,
                   " took its sockets back, because this proxy was unresponsive for too long"));
  return Outcome::kEnds;
}

HandoverServer::Outcome HandoverServer::Serve(int peer) {
  const pid_t pid = PeerOf(peer).pid;
  std::string reason = WhyRefused(peer);
  absl::StatusOr<HandoverSockets> offer;
  if (reason.empty()) {
    offer = calls_.offer();
    if (!offer.ok()) reason = std::string(offer.status().message());
  }
  if (!reason.empty()) {
    LogWarn("hand-over to the process with pid {} refused, this proxy keeps serving: {}", pid,
            reason);
    TellHandover(peer, HandoverMessageType::kRefusal, reason);
    return Outcome::kServes;
  }
  if (!SendAll(peer, *offer)) {
    LogWarn(
        "the successor with pid {} did not come up, this proxy keeps serving: it did not take all "
        "sockets",
        pid);
    return Outcome::kServes;
  }
  LogInfo("listening sockets handed to a successor with pid {}", pid);
  return AwaitReady(peer);
}

// Returns an empty string if the peer may take over.
std::string HandoverServer::WhyRefused(int peer) const {
  const uid_t uid = PeerOf(peer).uid;
  if (uid != geteuid() && uid != 0) {
    return absl::StrCat("the successor runs as uid ", uid, ", the running proxy as uid ", geteuid(),
                        "; run both as the same user");
  }
  HandoverMessage hello;
  ReceiveHandover(peer, stop_.get(), timeouts_.hello, &hello);
  if (hello.type != HandoverMessageType::kHello) {
    return absl::StrCat("it sent no hello, so it is no proxy, or one that speaks a version before ",
                        kHandoverVersion, " of the hand-over; stop the running proxy first");
  }
  const std::pair<std::string, std::string> fields =
      absl::StrSplit(hello.text, absl::MaxSplits('\n', 1));
  const auto& [version, proxy_id] = fields;
  if (version != kHandoverVersion) {
    return absl::StrCat("the successor speaks version ", version,
                        " of the hand-over, the running proxy version ", kHandoverVersion,
                        "; stop the running proxy first");
  }
  if (proxy_id != proxy_id_) {
    return absl::StrCat("the successor has proxy_id ", proxy_id, ", the running proxy ", proxy_id_,
                        "; a different proxy needs a handover_socket of its own");
  }
  return "";
}

bool HandoverServer::SendAll(int peer, const HandoverSockets& offer) {
  bool sent = SendHandover(peer, HandoverMessageType::kWelcome, kHandoverVersion);
  for (const auto& [key, sockets] : offer.services) {
    for (const UniqueFd& socket : sockets) {
      sent = sent && SendHandover(peer, HandoverMessageType::kService, key, socket.get());
    }
  }
  if (offer.admin) {
    sent = sent &&
           SendHandover(peer, HandoverMessageType::kAdmin, offer.admin_listen, offer.admin.get());
  }
  return sent && SendHandover(peer, HandoverMessageType::kHandover, "", listener_.get()) &&
         SendHandover(peer, HandoverMessageType::kEnd);
}

HandoverServer::Outcome HandoverServer::AwaitReady(int peer) {
  const pid_t pid = PeerOf(peer).pid;
  HandoverMessage message;
  const HandoverWait got = ReceiveHandover(peer, stop_.get(), timeouts_.ready, &message);
  if (got == HandoverWait::kStopped) {
    calls_.release();
    return Outcome::kEnds;
  }
  if (message.type == HandoverMessageType::kReady) {
    LogInfo("the successor with pid {} is ready: this proxy stops accepting", pid);
    calls_.release();
    TellHandover(peer, HandoverMessageType::kReleased);
    return AwaitDone(peer);
  }
  if (got == HandoverWait::kTimeout) {
    TellHandover(
        peer, HandoverMessageType::kRefusal,
        absl::StrCat("the successor was not ready within ", absl::FormatDuration(timeouts_.ready)));
  }
  LogWarn("the successor with pid {} did not come up, this proxy keeps serving: {}", pid,
          message.type == HandoverMessageType::kRefusal ? message.text
          : got == HandoverWait::kTimeout               ? "it was not ready in time"
                                          : "it ended before it was ready; its log says why");
  return Outcome::kServes;
}

HandoverServer::Outcome HandoverServer::AwaitDone(int peer) {
  const pid_t pid = PeerOf(peer).pid;
  HandoverMessage message;
  const HandoverWait got =
      ReceiveHandover(peer, stop_.get(), timeouts_.grace + timeouts_.done, &message);
  if (got == HandoverWait::kStopped) return Outcome::kEnds;
  if (message.type == HandoverMessageType::kDone) {
    TellHandover(peer, HandoverMessageType::kGoodbye);
    calls_.stop(absl::StrCat("replaced by the successor with pid ", pid, ", which serves"));
    return Outcome::kEnds;
  }
  if (got == HandoverWait::kTimeout && !SendHandover(peer, HandoverMessageType::kTakenBack)) {
    LogWarn("the successor with pid {} cannot be told that it must stop; if it still runs, stop it",
            pid);
  }
  calls_.take_back();
  ClaimHandover(listener_.get());
  LogWarn("the successor with pid {} {}: this proxy has taken its sockets back and serves again",
          pid,
          got == HandoverWait::kTimeout ? "did not answer in time" : "ended within its grace time");
  return Outcome::kServes;
}

}  // namespace trunkline
