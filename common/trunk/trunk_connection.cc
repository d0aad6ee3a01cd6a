#include "common/trunk/trunk_connection.h"

#include <sys/types.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/absl_view.h"
#include "common/base/check.h"
#include "common/base/trunk_counters.h"
#include "common/base/unique_fd.h"
#include "common/http2/http2_client_session.h"
#include "common/http2/http2_server_session.h"
#include "common/http2/http2_session.h"
#include "common/inband/inband_report.h"
#include "common/net/event_loop.h"
#include "common/net/output_buffer.h"
#include "common/net/socket.h"
#include "common/trunk/load_offer.h"
#include "common/trunk/trunk_lifecycle.h"

namespace trunkline {
namespace {

constexpr size_t kReadBytes = 64 * 1024;
// Reads and writes of one trunk per pass, so that other trunks get their turn.
constexpr int kReadsPerPass = 8;
constexpr int kWritesPerPass = 8;
// Unsent bytes at which streams are no longer pulled: backpressure reaches the clients.
constexpr size_t kHighWaterBytes = 256 * 1024;
// RFC 9113, 4.2: the largest frame that a peer may send by default, with its head.
constexpr size_t kLargestFrameBytes = 16 * 1024 + 9;
static_assert(kReadBytes >= kLargestFrameBytes && kHighWaterBytes >= kLargestFrameBytes);
// An estimate of the payload per segment.
constexpr size_t kSegmentBytes = 1448;
// Between the shutdown notice and the GOAWAY that names the last stream: streams in flight arrive.
constexpr absl::Duration kShutdownNotice = absl::Milliseconds(200);
// How long a finished trunk waits for the peer to close. Closing at once with bytes unread would
// make the kernel send a reset and drop unsent bytes: the tail of the last streams.
constexpr absl::Duration kLinger = absl::Seconds(1);
// After the peer refused a stream, the number of streams that it is offered doubles this often.
constexpr absl::Duration kRefusalPause = absl::Milliseconds(50);

// Bytes are parsed before the next read, so a thread needs one buffer for all its trunks.
uint8_t* ReadBuffer() {
  thread_local std::vector<uint8_t> buffer(kReadBytes);
  return buffer.data();
}

std::unique_ptr<Http2Session> NewSession(const TrunkConnection::Options& options,
                                         Http2ServerSession::Listener* listener,
                                         OutputBuffer* output) {
  Http2Session::Options session = options.session;
  session.extension = LoadOffer(options.offers_load);
  if (options.role == TrunkConnection::Role::kServer) {
    return std::make_unique<Http2ServerSession>(session, listener, output);
  }
  return std::make_unique<Http2ClientSession>(session, listener, output);
}

}  // namespace

TrunkConnection::TrunkConnection(EventLoop& loop, UniqueFd fd, const Options& options, Owner* owner,
                                 TrunkCounters* counters)
    : loop_(loop),
      options_(options),
      owner_(owner),
      counters_(counters),
      peer_(options.role == Role::kServer ? PeerAddress(fd.get()) : IpPort()),
      socket_(std::move(fd), options.tls, options.role == Role::kClient),
      session_(NewSession(options, this, &output_)),
      last_read_(loop.now()) {
  SetTrunkOptions(socket_.fd());
  watched_ = loop_.Add(socket_.fd(), EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, this);
  loop_.Arm(life_timer_, watched_.ok() ? options_.up_timeout : absl::ZeroDuration());
}

TrunkConnection::~TrunkConnection() { loop_.CancelFlush(this); }

Http2ClientSession& TrunkConnection::client_session() {
  TRUNKLINE_CHECK(options_.role == Role::kClient, "only the end that dialed opens streams");
  return static_cast<Http2ClientSession&>(*session_);
}

Http2ServerSession& TrunkConnection::server_session() {
  TRUNKLINE_CHECK(options_.role == Role::kServer, "only the end that accepted answers streams");
  return static_cast<Http2ServerSession&>(*session_);
}

void TrunkConnection::OnEvents(uint32_t events) {
  if (state_ == TrunkState::kLost) return;
  if (events & EPOLLOUT) {
    writable_ = true;
    connected_ = connected_ || (events & (EPOLLERR | EPOLLHUP)) == 0;
    loop_.RequestFlush(this);
  }
  // Bytes may precede the end or an error, so both are handled by reading up to them.
  if (events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) end_seen_ = true;
  if (!Handshake()) return;
  if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) ReadAvailable();
}

// Returns true if the handshake is complete.
bool TrunkConnection::Handshake() {
  if (socket_.handshake_complete()) return true;
  // While it is still connecting there is no peer; a failure to connect arrives as an event.
  if (!writable_ && !end_seen_) return false;
  switch (socket_.Handshake()) {
    case TrunkSocket::Step::kLater:
      return false;
    case TrunkSocket::Step::kFailed:
      if (socket_.tls_fault()) counters_->tls_failures.Add();
      Close(socket_.tls_fault() ? absl::UnauthenticatedError(socket_.error())
                                : absl::UnavailableError(socket_.error()));
      return false;
    case TrunkSocket::Step::kDone:
      break;
  }
  // The peer's first frames may have arrived with the end of the handshake.
  read_pending_ = true;
  loop_.RequestFlush(this);
  return true;
}

void TrunkConnection::ReadAvailable() {
  read_pending_ = false;
  for (int i = 0; i < kReadsPerPass; ++i) {
    if (session_->has_unread()) {
      if (!Parse(0)) return;
      if (!session_->has_unread()) continue;
      read_pending_ = true;
      return;
    }
    const ssize_t n = socket_.Read(ReadBuffer(), kReadBytes);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n <= 0) return OnReadFailed(n);
    OnBytesRead(static_cast<size_t>(n));
    if (RefuseTlsPeer() || !Parse(n)) return;
    if (session_->has_unread()) break;
    // A short read emptied the socket, unless its end waits behind the bytes: epoll does not report
    // that again.
    if (static_cast<size_t>(n) < kReadBytes && !end_seen_ && socket_.short_is_all()) return;
  }
  read_pending_ = true;
}

void TrunkConnection::OnBytesRead(size_t size) {
  counters_->reads.Add();
  counters_->bytes_read.Add(size);
  passed_.bytes += size;
  last_read_ = loop_.now();
  MeasurePath();
  if (liveness_ != Liveness::kSuspect) return;
  Apply(LivenessEvent::kAnyByte);
  if (state_ != TrunkState::kClosing) loop_.Arm(life_timer_, options_.ping_after);
}

// Closes a trunk whose peer alone uses TLS, and returns true.
bool TrunkConnection::RefuseTlsPeer() {
  if (liveness_ != Liveness::kUnheard || socket_.is_tls() || !socket_.peer_speaks_tls()) {
    return false;
  }
  counters_->tls_failures.Add();
  Close(absl::UnauthenticatedError(socket_.error()));
  return true;
}

// `result` is 0 at the end of file, else an error.
void TrunkConnection::OnReadFailed(ssize_t result) {
  const bool end_of_file = result == 0;
  connected_ = connected_ || end_of_file || errno == ECONNRESET;
  // In TLS 1.3 a server verifies its client after the client's side of the handshake is complete.
  const bool refused = !end_of_file && state_ == TrunkState::kStarting && socket_.is_tls();
  if (refused) counters_->tls_failures.Add();
  const bool idle = draining() && session_->open_streams() == 0;
  const bool orderly =
      state_ == TrunkState::kClosing || (end_of_file && (idle || session_->Finished()));
  if (orderly) return Close(absl::OkStatus());
  if (refused) return Close(absl::UnauthenticatedError(socket_.error()));
  Close(absl::UnavailableError(end_of_file ? "the peer closed it" : socket_.error()));
}

void TrunkConnection::MeasurePath() {
  if (!congestion_.MeasurementDue(last_read_)) return;
  const TcpPath path = PathOf(socket_.fd());
  session_->set_round_trip(path.round_trip);
  passed_.resent = path.resent_segments;
  congestion_.Measure(last_read_, passed_);
}

// Parses the first `size` bytes of the read buffer. Returns false if the trunk is lost.
bool TrunkConnection::Parse(size_t size) {
  const absl::Status parsed = session_->Receive(ReadBuffer(), size, last_read_);
  if (state_ == TrunkState::kLost) return false;
  loop_.RequestFlush(this);
  if (parsed.ok()) return true;
  if (session_->status().ok()) counters_->protocol_errors.Add();
  session_->Produce(kHighWaterBytes);
  SendOutput();
  Close(parsed);
  return false;
}

void TrunkConnection::OnFlush() {
  if (state_ == TrunkState::kLost) return;
  if (!session_->status().ok()) return Close(session_->status());
  if (!socket_.handshake_complete()) return;
  if (read_pending_) ReadAvailable();
  if (state_ == TrunkState::kLost) return;
  if (writable_ && state_ != TrunkState::kClosing) WriteAvailable();
  ReportUsability();
  if (state_ != TrunkState::kLost) EndIfFinished();
}

void TrunkConnection::WriteAvailable() {
  for (int i = 0; i < kWritesPerPass; ++i) {
    const bool more = session_->Produce(kHighWaterBytes);
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

// Returns false if the socket takes no more.
bool TrunkConnection::SendOutput() {
  while (!output_.empty()) {
    const ssize_t n = socket_.Write(output_.data(), output_.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) {
      writable_ = false;
      if (errno == EAGAIN) return false;
      // The connection broke. Bytes that the peer sent before are read first; their end closes the
      // trunk.
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
  max_streams_ = std::min<size_t>(max_streams, options_.session.max_streams);
  stream_limit_ = refusal_timer_.armed() ? std::min(stream_limit_, max_streams_) : max_streams_;
  if (state_ == TrunkState::kLost || liveness_ != Liveness::kUnheard) return;
  Apply(LivenessEvent::kSettings);
  Apply(TrunkEvent::kSettings);
  if (state_ != TrunkState::kClosing) loop_.Arm(life_timer_, options_.ping_after);
  if (state_ != TrunkState::kUp) return;
  reported_usable_ = usable();
  owner_->OnTrunkChanged(*this);
}

// The peer takes fewer streams than its SETTINGS say. Without a pause, the refused streams would
// come back at once, each for another round trip.
void TrunkConnection::OnStreamRefused() {
  if (!up() || options_.role != Role::kClient) return;
  stream_limit_ = std::min(stream_limit_, session_->open_streams());
  loop_.Arm(refusal_timer_, kRefusalPause);
  loop_.RequestFlush(this);
}

void TrunkConnection::OnRefusalTimer() {
  stream_limit_ = std::min(max_streams_, std::max<size_t>(1, 2 * stream_limit_));
  if (stream_limit_ < max_streams_) loop_.Arm(refusal_timer_, kRefusalPause);
  loop_.RequestFlush(this);
}

void TrunkConnection::OnGoAway(int32_t) {
  if (state_ == TrunkState::kLost) return;
  const bool was_up = up();
  Apply(TrunkEvent::kGoAway);
  if (!was_up) return;
  peer_drains_ = true;
  reported_usable_ = false;
  owner_->OnTrunkChanged(*this);
}

void TrunkConnection::ReportUsability() {
  if (state_ == TrunkState::kStarting || usable() == reported_usable_) return;
  reported_usable_ = usable();
  owner_->OnTrunkChanged(*this);
}

void TrunkConnection::OnOutputWanted() { loop_.RequestFlush(this); }

void TrunkConnection::OnLifeTimer() {
  if (!watched_.ok()) return Close(watched_);
  if (state_ == TrunkState::kClosing) return Close(absl::OkStatus());
  switch (liveness_) {
    case Liveness::kUnheard:
      return OnNeverUp();
    case Liveness::kAlive:
      return PingAfterSilence();
    case Liveness::kSuspect:
      counters_->ping_timeouts.Add();
      return Close(absl::DeadlineExceededError(
          absl::StrCat("no sign of life for ", absl::FormatDuration(loop_.now() - last_read_))));
  }
}

void TrunkConnection::OnNeverUp() {
  if (draining()) return Close(absl::OkStatus());
  Close(absl::DeadlineExceededError(
      absl::StrCat("no HTTP/2 answer within ", absl::FormatDuration(options_.up_timeout))));
}

void TrunkConnection::PingAfterSilence() {
  const absl::Duration silence = loop_.now() - last_read_;
  if (silence < options_.ping_after) {
    loop_.Arm(life_timer_, options_.ping_after - silence);
    return;
  }
  Apply(LivenessEvent::kSilence);
  session_->Ping();
  loop_.Arm(life_timer_, options_.ping_timeout);
}

void TrunkConnection::Drain() {
  if (state_ == TrunkState::kLost || goaway_timer_.armed()) return;
  Apply(TrunkEvent::kDrain);
  if (state_ == TrunkState::kClosing) return;
  // No stream is in flight, but a peer whose handshake is nearly complete may still get the GOAWAY.
  if (liveness_ == Liveness::kUnheard) loop_.Arm(life_timer_, kLinger);
  if (options_.role == Role::kClient) {
    // Only clients open streams on a trunk, so none can be in flight toward this end.
    session_->GoAway(NGHTTP2_NO_ERROR);
    return;
  }
  server_session().AnnounceShutdown();
  loop_.Arm(goaway_timer_, kShutdownNotice);
}

void TrunkConnection::OnGoAwayDue() { session_->GoAway(NGHTTP2_NO_ERROR); }

void TrunkConnection::EndIfFinished() {
  if (state_ == TrunkState::kClosing || !output_.empty() || !session_->Finished()) return;
  if (session_->peer_error() != NGHTTP2_NO_ERROR) {
    counters_->protocol_errors.Add();
    Close(absl::InvalidArgumentError(
        absl::StrCat("the peer broke HTTP/2: ", nghttp2_http2_strerror(session_->peer_error()))));
    return;
  }
  if (!draining()) return;
  Apply(TrunkEvent::kFinished);
  socket_.ShutdownWrite();
  loop_.Arm(life_timer_, kLinger);
}

void TrunkConnection::Close(const absl::Status& why) {
  if (state_ == TrunkState::kLost) return;
  Apply(TrunkEvent::kClose);
  socket_.Close();
  life_timer_.Cancel();
  goaway_timer_.Cancel();
  refusal_timer_.Cancel();
  session_->CloseAll(kLostCode);
  owner_->OnTrunkLost(*this, ExplainIfNoAgent(why));
}

// Often the trunk leads to the server itself instead of its agent. It may answer in its own
// protocol, close the connection or wait for more bytes.
absl::Status TrunkConnection::ExplainIfNoAgent(const absl::Status& why) const {
  const bool unheard = options_.role == Role::kClient && liveness_ == Liveness::kUnheard;
  if (why.ok() || !unheard || !connected_ || absl::IsUnauthenticated(why)) return why;
  const std::string_view bytes = socket_.foreign_bytes();
  if (socket_.heard() && (bytes.empty() || socket_.is_tls())) return why;
  constexpr char kRemedy[] =
      ". If it is the server itself, set mode: direct (or mode: message with a codec) in its "
      "service; mode: tunnel, the default, needs an agent beside the server";
  if (!bytes.empty()) {
    return absl::UnavailableError(absl::StrCat("what answers there is no agent: it sent \"",
                                               absl::CHexEscape(AbslView(bytes)), "\"", kRemedy));
  }
  return absl::Status(
      why.code(),
      absl::StrCat(why.message(),
                   "; what answers there does not speak the trunk protocol: it accepted the "
                   "connection and sent nothing",
                   kRemedy,
                   ". If it is an agent, is it frozen, or does it expect TLS (trunk_tls)?"));
}

}  // namespace trunkline
