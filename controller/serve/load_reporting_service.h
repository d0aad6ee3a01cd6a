// Agents' streams: reports in, validated and posted to the control loop; directives out.
//
// It holds no state of an agent beyond its stream. A report that is wrong ends the stream with the
// field's name; reports that come faster than kMaxReportsPerSecond are dropped and counted, so one
// mad agent starves nobody.
//
// Thread-safe (gRPC's callback API). Borrows the loop, which outlives it. Shutdown() before the
// server's.
#pragma once

#include "controller/loop/control_loop.h"
#include "controller/serve/server_stream.h"
#include "trunkline/v1/load_report.grpc.pb.h"

namespace trunkline {

class LoadReportingService : public v1::LoadReportingService::CallbackService {
 public:
  // Twice the fleet that one controller is built for.
  static constexpr size_t kMaxAgents = 20000;
  // An agent sends one a second, and at most ten where load crosses its thresholds.
  static constexpr int kMaxReportsPerSecond = 20;

  explicit LoadReportingService(ControlLoop& loop) : loop_(loop), streams_(kMaxAgents) {}

  grpc::ServerBidiReactor<v1::LoadReport, v1::AgentDirective>* Report(
      grpc::CallbackServerContext* context) override;

  void Shutdown() { streams_.EndAll(absl::UnavailableError("the controller is stopping")); }

 private:
  ControlLoop& loop_;
  StreamRegistry streams_;
};

}  // namespace trunkline
