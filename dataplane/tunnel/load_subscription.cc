#include "dataplane/tunnel/load_subscription.h"

namespace trunkline {
namespace {

// An agent says at most one line of 256 bytes for each service each 50 ms: enough for a hundred of
// them, a second.
constexpr FrameAllowance kWordBytesAllowance{1024 * 1024, 512 * 1024};
constexpr int kStatusSpeaks = 200;

}  // namespace

LoadSubscription::LoadSubscription(EventLoop& loop, const TrunkConnection& trunk, Owner& owner)
    : loop_(loop), trunk_(trunk), owner_(owner), bytes_(kWordBytesAllowance) {
  forgiven_at_ = loop.now();
}

void LoadSubscription::Cancel() {
  if (attached()) session()->Abandon(this, NGHTTP2_CANCEL);
}

void LoadSubscription::OnHeaders(int status) {
  if (status != kStatusSpeaks) GiveUp(NGHTTP2_CANCEL, /*fault=*/false);
}

void LoadSubscription::OnData(const uint8_t* data, size_t size) {
  const MonotonicTime now = loop_.now();
  bytes_.Forgive(absl::ToDoubleSeconds(now - forgiven_at_));
  forgiven_at_ = now;
  if (!bytes_.Spend(static_cast<double>(size))) {
    return GiveUp(NGHTTP2_ENHANCE_YOUR_CALM, /*fault=*/true);
  }
  session()->Consume(this, size, now);
  std::span<const uint8_t> left(data, size);
  InbandReport word;
  while (reader_.Next(left, &word)) owner_.OnInbandReport(word);
  if (reader_.broken()) GiveUp(NGHTTP2_PROTOCOL_ERROR, /*fault=*/true);
}

void LoadSubscription::GiveUp(uint32_t error_code, bool fault) {
  session()->Abandon(this, error_code);
  owner_.OnLoadEnded(*this, fault);
}

void LoadSubscription::OnClosed(uint32_t) { owner_.OnLoadEnded(*this, /*fault=*/false); }

}  // namespace trunkline
