// Serves agents' streams: validates load reports, passes them to the control loop, and sends
// directions back.
//
// An invalid report ends the stream with an error that names the field. The service drops and
// counts reports beyond kMaxReportsPerSecond per agent, so one broken agent cannot starve the
// others.
//
// Thread-safe (gRPC's callback API). Borrows the loop, which outlives it. Call Shutdown() before
// the server's.
#pragma once

#include "controller/loop/control_loop.h"
#include "controller/serve/server_stream.h"
#include "trunkline/v1/load_report.grpc.pb.h"

namespace trunkline {

class LoadReportingService : public v1::LoadReportingService::CallbackService {
 public:
  // Twice the fleet that one controller is built for.
  static constexpr size_t kMaxAgents = 20000;
  // An agent sends one per report interval, and at most ten per second while its load crosses the
  // thresholds.
  static constexpr int kMaxReportsPerSecond = 20;

  explicit LoadReportingService(ControlLoop& loop) : loop_(loop), streams_(kMaxAgents) {}

  grpc::ServerBidiReactor<v1::ReportLoadRequest, v1::ReportLoadResponse>* ReportLoad(
      grpc::CallbackServerContext* context) override;

  void Shutdown() { streams_.EndAll(absl::UnavailableError("the controller is stopping")); }

 private:
  ControlLoop& loop_;
  StreamRegistry streams_;
};

}  // namespace trunkline
