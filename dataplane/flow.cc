#include "dataplane/flow.h"

#include <algorithm>
#include <cstring>

#include "dataplane/service_router.h"

namespace trunkline {
namespace {

// The copy that makes a second try possible; a client that sent more before the answer has one try.
constexpr size_t kMaxSentCopyBytes = 64 * 1024;
// First try included.
constexpr size_t kMaxTries = 3;
constexpr int kStatusNotConnected = 503;

// Agents say 200; a foreign end may use any other of this class (RFC 9110, 9.3.6).
bool IsConnected(int status) { return status >= 200 && status < 300; }

}  // namespace

Flow::Flow(EventLoop& loop, UniqueFd client, ServiceRouter& router, const FlowLimits& limits)
    : StreamBridge(loop, limits.idle_timeout),
      router_(router),
      first_byte_timeout_(limits.first_byte_timeout),
      accepted_at_(loop.now()) {
  AdoptSocket(std::move(client), /*try_read_now=*/true);
  loop.Arm(connect_timer_, limits.connect_timeout);
}

bool Flow::tried(const EndpointState* endpoint) const {
  return std::find(tried_.begin(), tried_.end(), endpoint) != tried_.end();
}

Http2Stream::Pull Flow::PullData(uint8_t* to, size_t capacity, size_t* size) {
  if (replayed_ < sent_copy_.size()) {
    *size = std::min(capacity, sent_copy_.size() - replayed_);
    std::memcpy(to, sent_copy_.data() + replayed_, *size);
    replayed_ += *size;
    if (confirmed_) ForgetIfReplayed();
    return Pull::kMore;
  }
  const Pull result = StreamBridge::PullData(to, capacity, size);
  if (!confirmed_ && *size > 0) Remember(to, *size);
  return result;
}

void Flow::Remember(const uint8_t* data, size_t size) {
  if (sent_copy_.size() + size > kMaxSentCopyBytes) replayable_ = false;
  if (!replayable_) return;
  sent_copy_.insert(sent_copy_.end(), data, data + size);
  replayed_ = sent_copy_.size();
}

void Flow::ForgetIfReplayed() {
  if (replayed_ < sent_copy_.size()) return;
  std::vector<uint8_t>().swap(sent_copy_);
  replayed_ = 0;
}

void Flow::OnHeaders(int status) {
  if (!IsConnected(status)) {
    refused_ = true;
    if (status == kStatusNotConnected) router_.OnConnectRefused(*this);
    session()->Abandon(this, NGHTTP2_CANCEL);
    if (!TryElsewhere()) GiveUp();
    return;
  }
  confirmed_ = true;
  // The answer may overtake the replay: nothing but HEADERS may be on its way yet.
  ForgetIfReplayed();
  router_.OnConnected(*this);
  loop().Arm(connect_timer_, first_byte_timeout_);
}

void Flow::OnData(const uint8_t* data, size_t size) {
  connect_timer_.Cancel();
  StreamBridge::OnData(data, size);
}

void Flow::OnClosed(uint32_t error_code) {
  if (error_code == NGHTTP2_REFUSED_STREAM && TryElsewhere()) return;
  StreamBridge::OnClosed(error_code);
}

bool Flow::TryElsewhere() {
  if (confirmed_ || !replayable_ || tried_.size() + 1 >= kMaxTries) return false;
  tried_.push_back(endpoint_);
  router_.Release(*this);
  replayed_ = 0;
  return router_.Retry(*this);
}

void Flow::GiveUp() { Abort(End::kStreamReset); }

void Flow::OnConnectTimer() {
  if (confirmed_ && carried_bytes()) return;
  Abort(End::kTimeout);
}

void Flow::OnDone(End end) {
  connect_timer_.Cancel();
  router_.OnFlowDone(*this, end);
}

}  // namespace trunkline
