#include "dataplane/check/check_connection.h"

#include <sys/socket.h>
#include <sys/types.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/net/event_loop.h"
#include "common/net/send_bytes.h"
#include "common/net/socket.h"
#include "dataplane/check/check_exchange.h"

namespace trunkline {
namespace {

constexpr uint32_t kWatched = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
constexpr size_t kReadBytes = 4096;

// A shortage of this machine, of local ports too.
bool IsOurFault(int error) { return IsShortage(error) || error == EADDRNOTAVAIL; }

}  // namespace

CheckConnection::CheckConnection(EventLoop& loop, Owner& owner, const SocketAddress& address,
                                 CheckExchange exchange)
    : loop_(loop), owner_(owner), address_(address), exchange_(std::move(exchange)) {}

CheckConnection::State CheckConnection::Start() {
  ConnectResult result = ConnectTo(address_);
  if (result.state == ConnectState::kFailed && IsOurFault(result.error)) {
    shortage_ = ErrorText(result.error);
    return State::kNoSocket;
  }
  if (result.state == ConnectState::kFailed || result.state == ConnectState::kRetryLater) {
    return Fail(Fault::kConnect, result.error);
  }
  fd_ = std::move(result.fd);
  if (result.state == ConnectState::kConnected) {
    if (const State state = OnConnected(); state != State::kRunning) return state;
  }
  // Reports what has happened before.
  const absl::Status watched = loop_.Add(fd_.get(), kWatched, this);
  if (watched.ok()) return State::kRunning;
  shortage_ = std::string(watched.message());
  return State::kNoSocket;
}

void CheckConnection::OnEvents(uint32_t events) {
  if (!fd_) return;
  const State state = Advance(events);
  if (state == State::kRunning) return;
  Close();
  owner_.OnConnectionEnded(state == State::kPassed);
}

CheckConnection::State CheckConnection::Advance(uint32_t events) {
  if (!connected_) {
    if (const int error = SocketError(fd_.get()); error != 0) return Fail(Fault::kConnect, error);
    if (!(events & EPOLLOUT)) return State::kRunning;
    return OnConnected();
  }
  if (const State state = Send(); state != State::kRunning) return state;
  return Receive();
}

CheckConnection::State CheckConnection::OnConnected() {
  connected_ = true;
  if (const State state = Send(); state != State::kRunning) return state;
  return Receive();
}

CheckConnection::State CheckConnection::Send() {
  const std::string_view rest = std::string_view(exchange_.to_send()).substr(sent_bytes_);
  if (!rest.empty()) {
    const ssize_t n = SendBytes(fd_.get(), rest);
    // A server may say why it breaks the connection off, so its bytes are read first.
    if (n < 0) return WouldBlock(errno) ? State::kRunning : Receive();
    sent_bytes_ += static_cast<size_t>(n);
    if (static_cast<size_t>(n) < rest.size()) return State::kRunning;
  }
  return Take(exchange_.OnSent());
}

CheckConnection::State CheckConnection::Receive() {
  char bytes[kReadBytes];
  for (;;) {
    const ssize_t n = recv(fd_.get(), bytes, sizeof bytes, 0);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && WouldBlock(errno)) return State::kRunning;
    if (n <= 0) return Fail(Fault::kClosed, n < 0 ? errno : 0);
    const State state = Take(exchange_.OnBytes({bytes, static_cast<size_t>(n)}));
    if (state != State::kRunning) return state;
  }
}

CheckConnection::State CheckConnection::Take(CheckExchange::State state) {
  switch (state) {
    case CheckExchange::State::kMore:
      return State::kRunning;
    case CheckExchange::State::kPassed:
      return State::kPassed;
    case CheckExchange::State::kFailed:
      return Fail(Fault::kWrongAnswer);
  }
  return State::kRunning;
}

CheckConnection::State CheckConnection::Fail(Fault fault, int error) {
  fault_ = fault;
  error_ = error;
  return State::kFailed;
}

std::string CheckConnection::DescribeFailure() const {
  const std::string address = address_.ToString();
  switch (fault_) {
    case Fault::kNone:
      break;
    case Fault::kConnect:
      return absl::StrCat("the connect to ", address, " failed: ", ErrorText(error_));
    case Fault::kClosed:
      return absl::StrCat(address, " closed the connection",
                          error_ != 0 ? absl::StrCat(" (", ErrorText(error_), ")") : "", ": ",
                          exchange_.Describe());
    case Fault::kWrongAnswer:
      return absl::StrCat(address, " gave a wrong answer: ", exchange_.Describe());
  }
  return "";
}

std::string CheckConnection::DescribeTimeout(absl::Duration timeout) const {
  const std::string address = address_.ToString();
  if (!connected_) {
    return absl::StrCat(address, " did not answer the connect within ",
                        absl::FormatDuration(timeout));
  }
  return absl::StrCat(address, " did not answer in full within ", absl::FormatDuration(timeout),
                      ": ", exchange_.Describe());
}

}  // namespace trunkline
