#include "common/observe/admin_connection.h"

#include <sys/socket.h>
#include <sys/types.h>

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/base/unique_fd.h"
#include "common/net/event_loop.h"
#include "common/net/socket.h"

namespace trunkline {
namespace {

// From the accept to the end of the head, however slowly it arrives.
constexpr absl::Duration kHeadTimeout = absl::Seconds(10);
// Without progress of the answer.
constexpr absl::Duration kWriteTimeout = absl::Seconds(10);
constexpr absl::Duration kLingerTimeout = absl::Seconds(2);
constexpr size_t kMaxHeadBytes = 8 * 1024;
constexpr char kPlainText[] = "text/plain; charset=utf-8";

const char* ReasonOf(int status) {
  switch (status) {
    case 200:
      return "OK";
    case 404:
      return "Not Found";
    case 405:
      return "Method Not Allowed";
    case 431:
      return "Request Header Fields Too Large";
    case 503:
      return "Service Unavailable";
    default:
      return "Bad Request";
  }
}

std::string Serialize(const AdminAnswer& answer, bool head_only) {
  std::string text = absl::StrCat(
      "HTTP/1.1 ", answer.status, " ", ReasonOf(answer.status),
      "\r\nContent-Type: ", answer.content_type, "\r\nContent-Length: ", answer.body.size(),
      answer.status == 405 ? "\r\nAllow: GET, HEAD" : "", "\r\nConnection: close\r\n\r\n");
  if (!head_only) text += answer.body;
  return text;
}

}  // namespace

AdminConnection::AdminConnection(EventLoop& loop, Owner& owner, uint64_t id, UniqueFd fd)
    : loop_(loop), owner_(owner), id_(id), fd_(std::move(fd)) {}

absl::Status AdminConnection::Start() {
  loop_.Arm(deadline_, kHeadTimeout);
  return loop_.Add(fd_.get(), EPOLLIN, this);
}

void AdminConnection::Close() {
  if (state_ == State::kClosed) return;
  state_ = State::kClosed;
  deadline_.Cancel();
  fd_.Reset();
  owner_.OnClosed(*this);
}

void AdminConnection::OnEvents(uint32_t events) {
  if (state_ == State::kClosed) return;
  if ((events & (EPOLLERR | EPOLLHUP)) != 0) return Close();
  if (state_ == State::kWriting && (events & EPOLLOUT) != 0) return Write();
  if (state_ == State::kReading || state_ == State::kLingering) Read();
}

void AdminConnection::Read() {
  char piece[4096];
  const ssize_t n = recv(fd_.get(), piece, sizeof(piece), 0);
  if (n < 0 && (WouldBlock(errno) || errno == EINTR)) return;
  // A peer that half-closes before the end of its request can send no more of it.
  if (n <= 0) return Close();
  if (state_ == State::kLingering) return;
  in_.append(piece, static_cast<size_t>(n));
  ParseHead();
}

void AdminConnection::ParseHead() {
  const size_t end = in_.find("\r\n\r\n");
  if (end == std::string::npos && in_.size() < kMaxHeadBytes) return;
  state_ = State::kAnswering;
  deadline_.Cancel();
  if (end == std::string::npos) {
    return Answer({.status = 431, .content_type = kPlainText, .body = "the head is too large\n"});
  }
  const absl::string_view line = absl::string_view(in_).substr(0, in_.find("\r\n"));
  const std::vector<absl::string_view> words = absl::StrSplit(line, ' ');
  if (words.size() != 3 || !absl::StartsWith(words[2], "HTTP/1.")) {
    return Answer({.status = 400, .content_type = kPlainText, .body = "not an HTTP/1 request\n"});
  }
  head_only_ = words[0] == "HEAD";
  if (!head_only_ && words[0] != "GET") {
    return Answer(
        {.status = 405, .content_type = kPlainText, .body = "only GET and HEAD are served\n"});
  }
  // Pipelined bytes and a second line break change nothing while the answer is made.
  if (!loop_.Modify(fd_.get(), 0, this).ok()) return Close();
  owner_.OnRequest(*this, std::string(words[1].substr(0, words[1].find('?'))));
}

void AdminConnection::Answer(const AdminAnswer& answer) {
  if (state_ != State::kAnswering) return;
  out_ = Serialize(answer, head_only_);
  state_ = State::kWriting;
  loop_.Arm(deadline_, kWriteTimeout);
  Write();
}

void AdminConnection::Write() {
  while (sent_ < out_.size()) {
    const ssize_t n = send(fd_.get(), out_.data() + sent_, out_.size() - sent_, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && WouldBlock(errno)) {
      if (!loop_.Modify(fd_.get(), EPOLLOUT, this).ok()) Close();
      return;
    }
    if (n <= 0) return Close();
    sent_ += static_cast<size_t>(n);
    loop_.Arm(deadline_, kWriteTimeout);
  }
  std::string().swap(out_);
  shutdown(fd_.get(), SHUT_WR);
  state_ = State::kLingering;
  loop_.Arm(deadline_, kLingerTimeout);
  if (!loop_.Modify(fd_.get(), EPOLLIN, this).ok()) Close();
}

}  // namespace trunkline
