// The successor's side of a hot restart; handover.h has the sequence of messages.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/unique_fd.h"
#include "dataplane/listen/handover_wire.h"

namespace trunkline {

// Keyed by service and wanted address, as ListenerSet names them.
using ListeningSockets = std::map<std::string, std::vector<UniqueFd>>;

// The sockets that a predecessor hands over, besides the socket of the hand-over itself.
struct HandoverSockets {
  ListeningSockets services;
  std::string admin_listen;  // the address that its configuration names
  UniqueFd admin;
};

// How long each side waits for the other.
struct HandoverTimeouts {
  // For the predecessor's first message. Longer than `grace`, so that the successor of a successor
  // waits until its predecessor may hand over.
  absl::Duration answer = absl::Seconds(15);
  absl::Duration hello = absl::Seconds(5);
  // For a successor that does not read.
  absl::Duration send = absl::Seconds(5);
  // For a successor that loads its snapshot.
  absl::Duration ready = absl::Seconds(60);
  // For a predecessor that stops its admin server and its subscription.
  absl::Duration release = absl::Seconds(30);
  // How long a successor serves before the predecessor forgets its sockets.
  absl::Duration grace = absl::Seconds(10);
  // For a successor whose grace time is over.
  absl::Duration done = absl::Seconds(10);
};
static_assert(HandoverTimeouts().answer > HandoverTimeouts().grace);

// Confined to main's thread.
class Inheritance {
 public:
  // Connects to the proxy that listens at `path` and receives its sockets. Returns an empty
  // Inheritance if `path` is empty or no proxy listens there. Returns an error if the predecessor
  // refuses or does not answer, and if `path` is anything else; the predecessor keeps serving then.
  static absl::StatusOr<Inheritance> Take(const std::string& path, const std::string& proxy_id,
                                          const HandoverTimeouts& timeouts = {});

  bool empty() const { return !peer_; }
  pid_t predecessor() const { return predecessor_; }
  // The predecessor's sockets. Mutable: their owner takes them out.
  HandoverSockets& sockets() { return sockets_; }
  // The listening socket at `path`, without a descriptor if this is empty.
  UniqueFd TakeHandoverSocket() { return std::move(handover_); }

  // Tells the predecessor why this process does not take over, so that both logs have the reason,
  // and returns `reason` with the consequence. Without a predecessor, returns `reason`.
  absl::Status Decline(const absl::Status& reason);

  // Tells the predecessor that this process is ready, and waits until the predecessor accepts
  // nothing any more. Returns an error if it does not answer; this process must not serve then. A
  // predecessor that ends meanwhile is no error.
  absl::Status Confirm();

  // The connection, which HandoverServer keeps during the grace time.
  UniqueFd TakePeer() { return std::move(peer_); }

 private:
  absl::Status ReceiveSockets(const std::string& path, absl::Duration timeout);
  bool Keep(HandoverMessage& message);

  UniqueFd peer_;
  pid_t predecessor_ = 0;
  absl::Duration release_timeout_;
  HandoverSockets sockets_;
  UniqueFd handover_;
};

}  // namespace trunkline
