// The opening of a shared connection: sent before any request, and its reply taken before any
// reply.
#include <sys/socket.h>
#include <sys/types.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/net/send_bytes.h"
#include "common/net/socket.h"
#include "dataplane/codec/opening.h"
#include "dataplane/message/lifecycle.h"
#include "dataplane/message/shared_connection.h"

namespace trunkline {

// A new connection has room for all of it. Bytes that are there before it was sent answer nothing.
void SharedConnection::SendOpening() {
  std::array<uint8_t, kMostQuotedBytes> early;
  const ssize_t there = recv(fd_.get(), early.data(), early.size(), MSG_PEEK | MSG_DONTWAIT);
  if (there > 0) {
    fault_ = absl::StrCat("bytes came before the opening of the connection was sent",
                          QuoteForLog({early.data(), static_cast<size_t>(there)}));
    return EndProtocolError(Finding::kUnasked);
  }
  const std::string_view bytes = opening_->bytes();
  const ssize_t n = SendBytes(fd_.get(), bytes);
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
    case ConnectionOpening::State::kLacking:
      opening_end_ = OpeningEnd::kLacking;
      [[fallthrough]];
    case ConnectionOpening::State::kRefused:
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
