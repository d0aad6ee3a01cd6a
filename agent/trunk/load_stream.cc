#include "agent/trunk/load_stream.h"

#include <cstddef>
#include <cstdint>
#include <vector>

#include "agent/sample/local_service.h"
#include "agent/sample/service_traffic.h"
#include "common/base/metrics.h"
#include "common/http2/http2_server_session.h"
#include "common/http2/http2_session.h"
#include "common/inband/inband_report.h"
#include "common/net/event_loop.h"

namespace trunkline {
namespace {

constexpr int kStatusOk = 200;
constexpr size_t kFrameBytes = 16 * 1024;
static_assert(kMaxLoadLineBytes <= kFrameBytes, "a frame without room for a line would stay empty");

}  // namespace

LoadStream::LoadStream(EventLoop& loop, const TrunkConnection& trunk,
                       const std::vector<LocalService>& services, const TrafficTable& traffic,
                       Counter& reports, Owner& owner)
    : loop_(loop),
      trunk_(trunk),
      services_(services),
      traffic_(traffic),
      reports_(reports),
      owner_(owner),
      pacer_(services.size()) {}

void LoadStream::OnRequest(Http2ServerSession& session) { session.Respond(this, kStatusOk); }

void LoadStream::Tick() {
  for (size_t i = 0; i < services_.size(); ++i) {
    if (pacer_.Due(i, traffic_.Load(i), loop_.now())) return session()->Ready(this);
  }
}

void LoadStream::End() {
  ending_ = true;
  session()->Ready(this);
}

Http2Stream::Pull LoadStream::PullData(uint8_t* to, size_t capacity, size_t* size) {
  if (ending_) return Pull::kLast;
  for (size_t i = 0; i < services_.size(); ++i) {
    // No room for another line: the next tick continues with the services that are left.
    if (capacity - *size < kMaxLoadLineBytes) break;
    const ServerLoad load = traffic_.Load(i);
    if (!pacer_.Due(i, load, loop_.now())) continue;
    pacer_.OnSent(i, load, loop_.now());
    const size_t line = WriteInbandReport({services_[i].name, load}, to + *size);
    *size += line;
    if (line > 0) reports_.Add();
  }
  return *size > 0 ? Pull::kMore : Pull::kNothing;
}

}  // namespace trunkline
