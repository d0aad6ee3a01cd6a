#include "dataplane/listen/inheritance.h"

#include <cstddef>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/limits.h"
#include "common/base/unique_fd.h"
#include "common/observe/log.h"
#include "dataplane/listen/handover_wire.h"

namespace trunkline {
namespace {

// The largest number of workers (config.proto).
constexpr size_t kMaxWorkers = 256;
// Limits what a faulty predecessor can send. A few services may still have a former address.
constexpr size_t kMaxSockets = 2 * kMaxClusterListens * kMaxWorkers;

}  // namespace

absl::StatusOr<Inheritance> Inheritance::Take(const std::string& path, const std::string& proxy_id,
                                              const HandoverTimeouts& timeouts) {
  Inheritance result;
  if (path.empty()) return result;
  absl::StatusOr<UniqueFd> peer = ConnectToHandover(path, timeouts.answer);
  if (!peer.ok()) return peer.status();
  if (!*peer) return result;
  result.peer_ = *std::move(peer);
  result.predecessor_ = PeerOf(result.peer_.get()).pid;
  result.release_timeout_ = timeouts.release;
  // A peer that closed at once is noticed by the next read.
  TellHandover(result.peer_.get(), HandoverMessageType::kHello,
               absl::StrCat(kHandoverVersion, "\n", proxy_id));
  if (absl::Status received = result.ReceiveSockets(path, timeouts.answer); !received.ok()) {
    return received;
  }
  return result;
}

absl::Status Inheritance::ReceiveSockets(const std::string& path, absl::Duration timeout) {
  const std::string who = absl::StrCat("the process with pid ", predecessor_,
                                       ", which listens on handover_socket ", path, ",");
  HandoverMessage message;
  const HandoverWait got = ReceiveHandover(peer_.get(), -1, timeout, &message);
  if (got == HandoverWait::kTimeout) {
    return absl::UnavailableError(absl::StrCat(
        who, " did not answer within ", absl::FormatDuration(timeout),
        ": not taking over, that process keeps its sockets; if it is frozen, stop it first"));
  }
  if (message.type == HandoverMessageType::kRefusal) {
    return absl::FailedPreconditionError(
        absl::StrCat(who, " refuses the hand-over and keeps serving: ", message.text));
  }
  if (got == HandoverWait::kPeerGone) {
    return absl::UnavailableError(absl::StrCat(
        who, " closed the connection: not taking over; if it is stopping, start this proxy again"));
  }
  if (message.type != HandoverMessageType::kWelcome || message.text != kHandoverVersion) {
    return absl::FailedPreconditionError(
        absl::StrCat(who, " does not speak version ", kHandoverVersion,
                     " of the hand-over: not taking over; stop it, then start this proxy"));
  }
  for (size_t i = 0; i < kMaxSockets; ++i) {
    ReceiveHandover(peer_.get(), -1, timeout, &message);
    if (message.type == HandoverMessageType::kEnd && handover_) return absl::OkStatus();
    if (!message.passed || !Keep(message)) break;
  }
  return absl::UnavailableError(absl::StrCat(
      who, " did not hand over all its sockets: not taking over; start this proxy again"));
}

// Returns false if the message passes no socket that this version knows.
bool Inheritance::Keep(HandoverMessage& message) {
  switch (message.type) {
    case HandoverMessageType::kService:
      sockets_.services[message.text].push_back(std::move(message.passed));
      return true;
    case HandoverMessageType::kAdmin:
      sockets_.admin_listen = message.text;
      sockets_.admin = std::move(message.passed);
      return true;
    case HandoverMessageType::kHandover:
      handover_ = std::move(message.passed);
      return true;
    default:
      return false;
  }
}

absl::Status Inheritance::Decline(const absl::Status& reason) {
  if (!peer_) return reason;
  TellHandover(peer_.get(), HandoverMessageType::kRefusal, std::string(reason.message()));
  peer_.Reset();
  return {reason.code(),
          absl::StrCat(reason.message(), "; not taking over, the running proxy with pid ",
                       predecessor_, " keeps serving")};
}

absl::Status Inheritance::Confirm() {
  if (!peer_) return absl::OkStatus();
  TellHandover(peer_.get(), HandoverMessageType::kReady);
  // Reads also if the predecessor is gone: it may have said why.
  HandoverMessage message;
  const HandoverWait got = ReceiveHandover(peer_.get(), -1, release_timeout_, &message);
  if (message.type == HandoverMessageType::kReleased) {
    sockets_ = {};
    LogInfo("took over from the proxy with pid {}, which serves again if this one ends within {}",
            predecessor_, absl::FormatDuration(HandoverTimeouts().grace));
    return absl::OkStatus();
  }
  if (got == HandoverWait::kPeerGone) {
    LogWarn("the proxy with pid {} ended during the hand-over; this one serves with its sockets",
            predecessor_);
    peer_.Reset();
    sockets_ = {};
    return absl::OkStatus();
  }
  if (message.type == HandoverMessageType::kRefusal) {
    return Decline(absl::UnavailableError(message.text));
  }
  return Decline(absl::UnavailableError(absl::StrCat(
      "the running proxy did not stop accepting within ", absl::FormatDuration(release_timeout_))));
}

}  // namespace trunkline
