#include "controller/serve/load_reporting_service.h"

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/config/durations.h"
#include "common/observe/log.h"
#include "controller/core/endpoint_registry.h"
#include "controller/loop/control_loop.h"
#include "controller/serve/server_stream.h"
#include "controller/wire/report.h"
#include "trunkline/v1/load_report.pb.h"

namespace trunkline {
namespace {

using Reactor = grpc::ServerBidiReactor<v1::ReportLoadRequest, v1::ReportLoadResponse>;

class AgentReportStream : public ServerStream<Reactor, v1::ReportLoadResponse> {
 public:
  AgentReportStream(StreamRegistry& registry, ControlLoop& loop,
                    grpc::CallbackServerContext* context)
      : ServerStream(registry), loop_(loop), context_(context), session_(loop.NewSession()) {}

  void OnReadDone(bool ok) override {
    if (!ok) {
      // The agent half-closed, the connection ended, or this is the effect of our own End; OnClosed
      // distinguishes them.
      half_closed_ = End(absl::OkStatus());
      return;
    }
    if (absl::Status taken = Take(); !taken.ok()) {
      ++loop_.report_counts().invalid;
      LogWarn("{}", std::string(taken.message()));
      End(taken);
      return;
    }
    ReadNext(&in_);
  }

  // Called by the control loop.
  void Direct(const AgentOrders& orders) {
    {
      absl::MutexLock lock(&orders_mutex_);
      orders_ = orders;
    }
    Pump();
  }

 private:
  void OnOpen() override { ReadNext(&in_); }

  void OnClosed() override {
    // gRPC knows by now whether the status reached the agent.
    loop_.StreamEnded(session_, half_closed_ && !context_->IsCancelled());
  }

  bool NextMessage(v1::ReportLoadResponse* out) override {
    absl::MutexLock lock(&orders_mutex_);
    if (!orders_.has_value()) return false;
    WriteDuration(orders_->report_interval, out->mutable_report_interval());
    for (const AgentOrders::Endpoint& endpoint : orders_->endpoints) {
      v1::ReportLoadResponse::EndpointAdminState* state = out->add_endpoints();
      state->set_service(endpoint.key.service);
      state->set_endpoint_id(endpoint.key.endpoint_id);
      state->set_draining(endpoint.draining);
    }
    for (const EndpointRegistry::Refused& refused : orders_->refused) {
      v1::ReportLoadResponse::RefusedEndpoint* out_refused = out->add_refused();
      out_refused->set_service(refused.key.service);
      out_refused->set_endpoint_id(refused.key.endpoint_id);
      out_refused->set_reason(refused.reason);
    }
    orders_.reset();
    return true;
  }

  absl::Status Take() {
    const bool first = agent_id_.empty();
    if (first && !in_.has_announcement()) {
      return absl::InvalidArgumentError(
          "load report: announcement: expected in the first report of a stream; got none");
    }
    if (!first) in_.clear_announcement();
    absl::StatusOr<ValidReport> report = ReadLoadReport(in_, agent_id_);
    if (!report.ok()) return report.status();
    if (first) Announce(*std::move(report->announcement));
    if (!TooFrequent()) loop_.Report(session_, report->seq, std::move(report->loads));
    if (report->leaving) loop_.Leave(session_);
    return absl::OkStatus();
  }

  void Announce(AnnouncedAgent agent) {
    agent_id_ = agent.agent_id;
    std::weak_ptr<AgentReportStream> weak =
        std::static_pointer_cast<AgentReportStream>(shared_from_this());
    loop_.Announce(session_, std::move(agent),
                   {.direct =
                        [weak](const AgentOrders& orders) {
                          if (auto stream = weak.lock()) stream->Direct(orders);
                        },
                    .end =
                        [weak](const absl::Status& status) {
                          if (auto stream = weak.lock()) stream->End(status);
                        }});
  }

  bool TooFrequent() {
    const MonotonicTime now = MonotonicNow();
    if (now - window_began_ >= absl::Seconds(1)) {
      window_began_ = now;
      reports_in_window_ = 0;
    }
    if (++reports_in_window_ <= LoadReportingService::kMaxReportsPerSecond) return false;
    ++loop_.report_counts().too_frequent;
    return true;
  }

  ControlLoop& loop_;
  grpc::CallbackServerContext* const context_;
  const AgentSession session_;
  // Used only by gRPC's read callbacks, which do not overlap.
  v1::ReportLoadRequest in_;
  std::string agent_id_;
  MonotonicTime window_began_;
  int reports_in_window_ = 0;
  std::atomic<bool> half_closed_{false};

  absl::Mutex orders_mutex_;
  std::optional<AgentOrders> orders_ ABSL_GUARDED_BY(orders_mutex_);
};

}  // namespace

Reactor* LoadReportingService::ReportLoad(grpc::CallbackServerContext* context) {
  auto stream = std::make_shared<AgentReportStream>(streams_, loop_, context);
  stream->Open();
  return stream.get();
}

}  // namespace trunkline
