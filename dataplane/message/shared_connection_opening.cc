// The opening of a shared connection: sent before any request, and its reply taken before any
// reply.
#include <sys/socket.h>

#include <cerrno>

#include "dataplane/message/shared_connection.h"

namespace trunkline {

// A new connection has room for all of it. Bytes that are there before it was sent answer nothing.
void SharedConnection::SendOpening() {
  uint8_t byte = 0;
  if (recv(fd_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0) {
    fault_ = "bytes came before the opening of the connection was sent";
    return EndProtocolError(Finding::kUnasked);
  }
  const std::string_view bytes = opening_->bytes();
  const ssize_t n = send(fd_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL);
  if (n == static_cast<ssize_t>(bytes.size())) return;
  End(ConnectionEvent::kPeerClosed,
      absl::UnavailableError(n < 0 ? ErrorText(errno)
                                   : "the opening of the connection found no room in the socket"));
}

// Removes the reply to the opening from the front of `bytes`.
SharedConnection::Finding SharedConnection::TakeOpeningReply(std::span<uint8_t>* bytes) {
  const ConnectionOpening::Step step = opening_->Read(*bytes);
  *bytes = bytes->subspan(step.used);
  switch (step.state) {
    case ConnectionOpening::State::kMore:
      return Finding::kGood;
    case ConnectionOpening::State::kAccepted:
      opening_.reset();
      Open(ConnectionEvent::kGreeted);
      return Finding::kGood;
    case ConnectionOpening::State::kRefused:
      opening_refused_ = true;
      End(ConnectionEvent::kProtocolError, absl::UnavailableError(opening_->fault()));
      return Finding::kGood;
    case ConnectionOpening::State::kBroken:
      break;
  }
  counters_->protocol_errors.Add();
  End(ConnectionEvent::kProtocolError, absl::InvalidArgumentError(opening_->fault()));
  return Finding::kMalformed;
}

}  // namespace trunkline
