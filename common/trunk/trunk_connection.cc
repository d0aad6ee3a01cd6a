#include "common/trunk/trunk_connection.h"

#include <algorithm>
#include <cerrno>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/net/socket.h"
#include "common/trunk/load_offer.h"

namespace trunkline {
namespace {

constexpr size_t kReadBytes = 64 * 1024;
// Reads and writes of one trunk in a pass, so that its neighbours get their turn.
constexpr int kReadsPerPass = 8;
constexpr int kWritesPerPass = 8;
// Unsent bytes at which no more is pulled from clients: what the kernel does not take stays with
// them.
constexpr size_t kHighWaterBytes = 256 * 1024;
// On the way; an estimate.
constexpr size_t kSegmentBytes = 1448;
// Between "open nothing more" and the GOAWAY that names the last stream: what was under way
// arrives.
constexpr absl::Duration kShutdownNotice = absl::Milliseconds(200);
// How long a finished trunk waits for the peer to close. Closing at once with bytes unread would
// make the kernel send a reset and drop what it had not sent yet: the tail of the last streams.
constexpr absl::Duration kLinger = absl::Seconds(1);

// Bytes are parsed before the next read, so a thread needs one buffer for all its trunks.
uint8_t* ReadBuffer() {
  thread_local std::vector<uint8_t> buffer(kReadBytes);
  return buffer.data();
}

Http2Session::Options SessionOptions(const TrunkConnection::Options& options) {
  Http2Session::Options session = options.session;
  session.extension = LoadOffer(options.offers_load);
  return session;
}

}  // namespace

TrunkConnection::TrunkConnection(EventLoop& loop, UniqueFd fd, const Options& options, Owner* owner,
                                 TrunkCounters* counters)
    : loop_(loop),
      options_(options),
      owner_(owner),
      counters_(counters),
      socket_(std::move(fd), options.tls, options.session.role == Http2Session::Role::kClient),
      session_(SessionOptions(options), this, &output_),
      last_read_(loop.now()) {
  SetTrunkOptions(socket_.fd());
  loop_.Add(socket_.fd(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, this);
  loop_.Arm(life_timer_, options_.up_timeout);
}

TrunkConnection::~TrunkConnection() { loop_.CancelFlush(this); }

void TrunkConnection::OnEvents(uint32_t events) {
  if (state_ == State::kLost) return;
  if (events & EPOLLOUT) {
    writable_ = true;
    loop_.RequestFlush(this);
  }
  // The end and errors, too, are found by reading: what came before them is still there.
  if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) end_seen_ = true;
  if (!Handshake()) return;
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) ReadAvailable();
}

// True: bytes of HTTP/2 may pass.
bool TrunkConnection::Handshake() {
  if (socket_.shaken()) return true;
  // A dialled one that is not connected yet has nobody to talk to; its failure is an event.
  if (!writable_ && !end_seen_) return false;
  switch (socket_.Handshake()) {
    case TrunkSocket::Step::kLater:
      return false;
    case TrunkSocket::Step::kFailed:
      counters_->tls_failures.Add();
      Close(absl::UnavailableError(socket_.error()));
      return false;
    case TrunkSocket::Step::kDone:
      break;
  }
  // The peer's first words may have come with the end of the handshake.
  read_pending_ = true;
  loop_.RequestFlush(this);
  return true;
}

void TrunkConnection::ReadAvailable() {
  read_pending_ = false;
  for (int i = 0; i < kReadsPerPass; ++i) {
    if (session_.has_unread()) {
      if (!Parse(0)) return;
      if (!session_.has_unread()) continue;
      read_pending_ = true;
      return;
    }
    const ssize_t n = socket_.Read(ReadBuffer(), kReadBytes);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) {
      // In TLS 1.3 a server judges its client when the client's side of the handshake is through.
      const bool refused = n < 0 && state_ == State::kStarting && socket_.is_tls();
      if (refused) counters_->tls_failures.Add();
      const bool idle = state_ == State::kDraining && session_.open_streams() == 0;
      const bool orderly = lingering_ || (n == 0 && (idle || session_.Finished()));
      Close(orderly ? absl::OkStatus()
                    : absl::UnavailableError(n == 0 ? "the peer closed it" : socket_.error()));
      return;
    }
    counters_->reads.Add();
    counters_->bytes_read.Add(n);
    passed_.bytes += n;
    last_read_ = loop_.now();
    LookAtPath();
    if (std::exchange(suspect_, false)) loop_.Arm(life_timer_, options_.ping_after);
    if (!Parse(n)) return;
    if (session_.has_unread()) break;
    // A short read emptied the socket, unless its end waits behind: of that, epoll does not tell
    // again.
    if (static_cast<size_t>(n) < kReadBytes && !end_seen_ && socket_.short_is_all()) return;
  }
  read_pending_ = true;
}

void TrunkConnection::LookAtPath() {
  if (!congestion_.LookDue(last_read_)) return;
  const TcpPath path = PathOf(socket_.fd());
  // Windows of streams grow by it.
  session_.set_round_trip(path.round_trip);
  passed_.resent = path.resent_segments;
  congestion_.Look(last_read_, passed_);
}

// The first bytes of the read buffer. False: the trunk is lost.
bool TrunkConnection::Parse(size_t size) {
  const absl::Status parsed = session_.Receive(ReadBuffer(), size, last_read_);
  if (state_ == State::kLost) return false;
  loop_.RequestFlush(this);
  if (parsed.ok()) return true;
  counters_->protocol_errors.Add();
  session_.Produce(kHighWaterBytes);
  SendOutput();
  Close(parsed);
  return false;
}

void TrunkConnection::OnFlush() {
  if (state_ == State::kLost) return;
  if (!socket_.shaken()) return;
  if (read_pending_) ReadAvailable();
  if (state_ != State::kLost && writable_ && !lingering_) WriteAvailable();
  if (state_ != State::kLost) NotifyUsability();
  if (state_ != State::kLost) EndIfFinished();
}

void TrunkConnection::WriteAvailable() {
  for (int i = 0; i < kWritesPerPass; ++i) {
    const bool more = session_.Produce(kHighWaterBytes);
    if (!more) congestion_.OnCaughtUp();
    if (output_.empty()) return;
    if (!SendOutput()) {
      if (more) congestion_.OnBehind(loop_.now());
      return;
    }
    if (!more) {
      output_.Shrink();
      return;
    }
  }
  loop_.RequestFlush(this);
}

TrunkCongestion::Level TrunkConnection::congestion() const {
  return congestion_.level(loop_.now());
}

// False: the socket takes no more.
bool TrunkConnection::SendOutput() {
  while (!output_.empty()) {
    const ssize_t n = socket_.Write(output_.data(), output_.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      writable_ = false;
      if (errno == EAGAIN) return false;
      // Broken. What the peer said before that is read first; the end of it closes the trunk.
      read_pending_ = true;
      loop_.RequestFlush(this);
      return false;
    }
    counters_->writes.Add();
    counters_->bytes_written.Add(n);
    passed_.bytes += n;
    passed_.segments += 1 + n / kSegmentBytes;
    const bool whole = static_cast<size_t>(n) == output_.size();
    output_.Consume(n);
    if (!whole && socket_.short_is_all()) {
      writable_ = false;
      return false;
    }
  }
  return true;
}

Http2Stream* TrunkConnection::OnConnect(std::string_view authority, int* status) {
  return owner_->OnConnect(*this, authority, status);
}

Http2Stream* TrunkConnection::OnGet(std::string_view path, int* status) {
  return path == kLoadPath ? owner_->OnAskedForLoad(*this, status) : nullptr;
}

void TrunkConnection::OnSettings(uint32_t max_streams) {
  const size_t own_limit = options_.session.max_streams;
  max_streams_ = std::min<size_t>(max_streams, own_limit);
  if (std::exchange(heard_, true)) return;
  loop_.Arm(life_timer_, options_.ping_after);
  if (state_ != State::kStarting) return;
  state_ = State::kUp;
  told_usable_ = usable();
  owner_->OnTrunkChanged(*this);
}

void TrunkConnection::OnGoAway(int32_t) {
  if (state_ == State::kDraining || state_ == State::kLost) return;
  state_ = State::kDraining;
  peer_drains_ = true;
  told_usable_ = false;
  owner_->OnTrunkChanged(*this);
}

void TrunkConnection::NotifyUsability() {
  if (state_ == State::kStarting || usable() == told_usable_) return;
  told_usable_ = usable();
  owner_->OnTrunkChanged(*this);
}

void TrunkConnection::OnOutputWanted() { loop_.RequestFlush(this); }

void TrunkConnection::OnLifeTimer() {
  if (lingering_) {
    Close(absl::OkStatus());
    return;
  }
  if (!heard_ && state_ == State::kDraining) {
    Close(absl::OkStatus());
    return;
  }
  if (!heard_) {
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
}

void TrunkConnection::Drain() {
  if (state_ == State::kLost || goaway_timer_.armed()) return;
  state_ = State::kDraining;
  // Nothing is under way; whose handshake is nearly through may still hear it in words.
  if (!heard_) loop_.Arm(life_timer_, kLinger);
  if (options_.session.role == Http2Session::Role::kClient) {
    // Only clients open streams here, so nothing can be under way.
    session_.GoAway(NGHTTP2_NO_ERROR);
    return;
  }
  session_.AnnounceShutdown();
  loop_.Arm(goaway_timer_, kShutdownNotice);
}

void TrunkConnection::OnGoAwayDue() { session_.GoAway(NGHTTP2_NO_ERROR); }

void TrunkConnection::EndIfFinished() {
  if (lingering_ || !output_.empty() || !session_.Finished()) return;
  if (session_.peer_error() != NGHTTP2_NO_ERROR) {
    counters_->protocol_errors.Add();
    Close(absl::InvalidArgumentError(
        absl::StrCat("the peer broke HTTP/2: ", nghttp2_http2_strerror(session_.peer_error()))));
    return;
  }
  lingering_ = true;
  socket_.ShutdownWrite();
  loop_.Arm(life_timer_, kLinger);
}

void TrunkConnection::Close(const absl::Status& why) {
  if (state_ == State::kLost) return;
  state_ = State::kLost;
  socket_.Close();
  life_timer_.Cancel();
  goaway_timer_.Cancel();
  session_.CloseAll(kLostCode);
  owner_->OnTrunkLost(*this, why);
}

}  // namespace trunkline
