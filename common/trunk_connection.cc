#include "common/trunk_connection.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/socket.h"

namespace trunkline {
namespace {

constexpr size_t kReadBytes = 64 * 1024;
// Reads and writes of one trunk in a pass, so that its neighbours get their turn.
constexpr int kReadsPerPass = 8;
constexpr int kWritesPerPass = 8;
// Unsent bytes at which no more is pulled from clients: what the kernel does not take stays with them.
constexpr size_t kHighWaterBytes = 256 * 1024;
// Between "open nothing more" and the GOAWAY that names the last stream: what was under way arrives.
constexpr absl::Duration kShutdownNotice = absl::Milliseconds(200);

// Bytes are parsed before the next read, so a thread needs one buffer for all its trunks.
uint8_t* ReadBuffer() {
  thread_local std::vector<uint8_t> buffer(kReadBytes);
  return buffer.data();
}

}  // namespace

TrunkConnection::TrunkConnection(EventLoop& loop, UniqueFd fd, const Options& options, Owner* owner,
                                 TrunkCounters* counters)
    : loop_(loop),
      options_(options),
      owner_(owner),
      counters_(counters),
      fd_(std::move(fd)),
      session_(options.session, this, &output_),
      last_read_(loop.now()) {
  SetTrunkOptions(fd_.get());
  loop_.Add(fd_.get(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, this);
  loop_.Arm(life_timer_, options_.up_timeout);
}

TrunkConnection::~TrunkConnection() { loop_.CancelFlush(this); }

void TrunkConnection::OnEvents(uint32_t events) {
  if (state_ == State::kLost) return;
  if (events & EPOLLERR) {
    Close(absl::UnavailableError(ErrorText(SocketError(fd_.get()))));
    return;
  }
  if (events & EPOLLOUT) {
    writable_ = true;
    loop_.RequestFlush(this);
  }
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)) ReadAvailable();
}

void TrunkConnection::ReadAvailable() {
  read_pending_ = false;
  for (int i = 0; i < kReadsPerPass; ++i) {
    const ssize_t n = recv(fd_.get(), ReadBuffer(), kReadBytes, 0);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
      Close(n == 0 && session_.Finished() ? absl::OkStatus()
                                          : absl::UnavailableError(n == 0 ? "the peer closed it"
                                                                          : ErrorText(errno)));
      return;
    }
    counters_->reads.Add();
    counters_->bytes_read.Add(n);
    last_read_ = loop_.now();
    if (std::exchange(suspect_, false)) owner_->OnTrunkChanged(*this);
    const absl::Status parsed = session_.Receive(ReadBuffer(), n);
    if (state_ == State::kLost) return;
    if (!parsed.ok()) {
      counters_->protocol_errors.Add();
      session_.Produce(kHighWaterBytes);
      SendOutput();
      Close(parsed);
      return;
    }
    loop_.RequestFlush(this);
    if (static_cast<size_t>(n) < kReadBytes) return;
  }
  read_pending_ = true;
}

void TrunkConnection::OnFlush() {
  if (state_ == State::kLost) return;
  if (read_pending_) ReadAvailable();
  if (state_ != State::kLost && writable_) WriteAvailable();
  if (state_ != State::kLost) EndIfFinished();
}

void TrunkConnection::WriteAvailable() {
  for (int i = 0; i < kWritesPerPass; ++i) {
    const bool more = session_.Produce(kHighWaterBytes);
    if (output_.empty()) return;
    if (!SendOutput()) return;
    if (!more) {
      output_.Shrink();
      return;
    }
  }
  loop_.RequestFlush(this);
}

// False: the socket takes no more, or the trunk was lost.
bool TrunkConnection::SendOutput() {
  while (!output_.empty()) {
    const ssize_t n = send(fd_.get(), output_.data(), output_.size(), MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      writable_ = false;
      if (errno != EAGAIN) Close(absl::UnavailableError(ErrorText(errno)));
      return false;
    }
    counters_->writes.Add();
    counters_->bytes_written.Add(n);
    const bool whole = static_cast<size_t>(n) == output_.size();
    output_.Consume(n);
    if (!whole) {
      writable_ = false;
      return false;
    }
  }
  return true;
}

Http2Stream* TrunkConnection::OnConnect(std::string_view authority, int* status) {
  return owner_->OnConnect(*this, authority, status);
}

void TrunkConnection::OnSettings(uint32_t max_streams) {
  const size_t own_limit = options_.session.max_streams;
  max_streams_ = std::min<size_t>(max_streams, own_limit);
  if (state_ != State::kStarting) return;
  state_ = State::kUp;
  loop_.Arm(life_timer_, options_.ping_after);
  owner_->OnTrunkChanged(*this);
}

void TrunkConnection::OnGoAway(int32_t) {
  if (state_ == State::kDraining || state_ == State::kLost) return;
  state_ = State::kDraining;
  owner_->OnTrunkChanged(*this);
}

void TrunkConnection::OnOutputWanted() { loop_.RequestFlush(this); }

void TrunkConnection::OnLifeTimer() {
  if (state_ == State::kStarting) {
    Close(absl::DeadlineExceededError(
        absl::StrCat("no HTTP/2 answer within ", absl::FormatDuration(options_.up_timeout))));
    return;
  }
  const absl::Duration silence = loop_.now() - last_read_;
  if (silence < options_.ping_after) {
    loop_.Arm(life_timer_, options_.ping_after - silence);
    return;
  }
  if (suspect_) {
    counters_->ping_timeouts.Add();
    Close(absl::DeadlineExceededError(
        absl::StrCat("no sign of life for ", absl::FormatDuration(silence))));
    return;
  }
  suspect_ = true;
  session_.Ping();
  loop_.Arm(life_timer_, options_.ping_timeout);
  owner_->OnTrunkChanged(*this);
}

void TrunkConnection::Drain() {
  if (state_ == State::kLost || goaway_timer_.armed()) return;
  state_ = State::kDraining;
  session_.AnnounceShutdown();
  loop_.Arm(goaway_timer_, kShutdownNotice);
}

void TrunkConnection::OnGoAwayDue() {
  session_.GoAway(NGHTTP2_NO_ERROR);
}

void TrunkConnection::EndIfFinished() {
  if (output_.empty() && session_.Finished()) Close(absl::OkStatus());
}

void TrunkConnection::Close(const absl::Status& why) {
  if (state_ == State::kLost) return;
  state_ = State::kLost;
  fd_.Reset();
  life_timer_.Cancel();
  goaway_timer_.Cancel();
  session_.CloseAll(kLostCode);
  owner_->OnTrunkLost(*this, why);
}

}  // namespace trunkline
