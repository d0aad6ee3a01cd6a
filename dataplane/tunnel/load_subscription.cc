#include "dataplane/tunnel/load_subscription.h"

#include <cstddef>
#include <cstdint>
#include <span>

#include "absl/time/time.h"
#include "common/http2/http2_faults.h"
#include "common/inband/inband_report.h"
#include "common/net/event_loop.h"
#include "common/trunk/trunk_connection.h"

namespace trunkline {
namespace {

// An agent sends at most one line of 256 bytes per service every 50 ms. This suffices for a hundred
// services.
constexpr FrameAllowance kReportBytesAllowance{1024 * 1024, 512 * 1024};
constexpr int kStatusOk = 200;

}  // namespace

LoadSubscription::LoadSubscription(EventLoop& loop, const TrunkConnection& trunk, Owner& owner)
    : loop_(loop), trunk_(trunk), owner_(owner), bytes_(kReportBytesAllowance) {
  forgiven_at_ = loop.now();
}

void LoadSubscription::Cancel() {
  if (attached()) session()->Abandon(this, NGHTTP2_CANCEL);
}

void LoadSubscription::OnResponse(int status) {
  if (status != kStatusOk) GiveUp(NGHTTP2_CANCEL, /*fault=*/false);
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
  InbandReport report;
  while (reader_.Next(left, &report)) owner_.OnInbandReport(report);
  if (reader_.broken()) GiveUp(NGHTTP2_PROTOCOL_ERROR, /*fault=*/true);
}

void LoadSubscription::GiveUp(uint32_t error_code, bool fault) {
  session()->Abandon(this, error_code);
  owner_.OnLoadEnded(*this, fault);
}

void LoadSubscription::OnClosed(uint32_t) { owner_.OnLoadEnded(*this, /*fault=*/false); }

}  // namespace trunkline
