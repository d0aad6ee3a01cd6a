// Messages between a proxy and its successor on a unix socket; handover.h has their sequence.
//
// A message is a packet (SOCK_SEQPACKET), so it is whole or absent: one byte for the type, text,
// and at most one descriptor. Stateless; thread-safe.
#pragma once

#include <sys/types.h>

#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/base/unique_fd.h"

namespace trunkline {

// Both processes must speak the same version. Version 1 had no hello.
inline constexpr char kHandoverVersion[] = "2";

enum class HandoverMessageType : char {
  kNone = 0,         // no message arrived
  kHello = 'H',      // successor: version, newline, proxy_id
  kWelcome = 'W',    // predecessor: version
  kRefusal = 'X',    // either side: the reason; the last message
  kService = 'S',    // predecessor: service, its address, + a listening socket
  kAdmin = 'A',      // predecessor: admin_listen + its listening socket
  kHandover = 'L',   // predecessor: + the listening socket of the hand-over itself
  kEnd = 'E',        // predecessor: all sockets are sent
  kReady = 'R',      // successor: ready to accept
  kReleased = 'G',   // predecessor: has stopped accepting
  kDone = 'D',       // successor: has served for the grace time
  kGoodbye = 'B',    // predecessor: never takes its sockets back
  kTakenBack = 'T',  // predecessor: accepts again, the successor must not
};

struct HandoverMessage {
  HandoverMessageType type = HandoverMessageType::kNone;
  std::string text;
  UniqueFd passed;
};

// `passed` is a descriptor of which the peer gets a copy, or negative. Returns false if the peer is
// gone.
[[nodiscard]] bool SendHandover(int peer, HandoverMessageType type, const std::string& text = "",
                                int passed = -1);
// As SendHandover, for a message after which the caller closes the connection or waits for an
// answer: a peer that is gone is noticed by that wait, which ends at once.
void TellHandover(int peer, HandoverMessageType type, const std::string& text = "");

enum class HandoverWait { kMessage, kPeerGone, kTimeout, kStopped };
// Waits for a message. The wait also ends when `stop` becomes readable; a negative one is ignored.
HandoverWait ReceiveHandover(int peer, int stop, absl::Duration timeout, HandoverMessage* message);

// The process at the other end: for an accepted connection the process that connected, for a
// connecting one the process that called listen() last. All zero if the kernel does not say.
struct HandoverPeer {
  pid_t pid = 0;
  uid_t uid = 0;
};
HandoverPeer PeerOf(int peer);

// Returns an error if `path` is too long or names a file that is not a socket. It never connects,
// so a running proxy does not notice.
absl::Status CheckHandoverPath(const std::string& path);

// Connects to the process that listens at `path`. Returns no descriptor if none listens there, and
// an error that names the cause and the remedy if something else is there, or one may not connect.
absl::StatusOr<UniqueFd> ConnectToHandover(const std::string& path, absl::Duration timeout);

// Listens at `path`. A socket file at which no process listens is replaced; any other file is left
// alone, and the error says what is there.
absl::StatusOr<UniqueFd> ListenForHandover(const std::string& path);

// Bounds each send, which otherwise blocks while the peer does not read, and each connect.
void BoundSends(int fd, absl::Duration timeout);

// Makes this process the one that PeerOf names at the other end of new connections.
void ClaimHandover(int listener);

}  // namespace trunkline
