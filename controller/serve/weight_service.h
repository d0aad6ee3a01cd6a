// Answers questions about weights from the newest published view: get, watch, explain, history.
//
// Thread-safe (gRPC's callback API). Borrows the loop, which outlives it. Call Shutdown() before
// the server's.
#pragma once

#include <memory>

#include "controller/loop/control_loop.h"
#include "controller/serve/server_stream.h"
#include "trunkline/v1/weights.grpc.pb.h"

namespace trunkline {

class WeightService : public v1::WeightService::CallbackService {
 public:
  // Enough for operators and dashboards; each one costs a table per change.
  static constexpr size_t kMaxWatchers = 200;

  // Subscribes to the loop; construct before its Start().
  explicit WeightService(ControlLoop& loop);

  grpc::ServerUnaryReactor* GetWeights(grpc::CallbackServerContext* context,
                                       const v1::GetWeightsRequest* request,
                                       v1::GetWeightsResponse* response) override;
  grpc::ServerWriteReactor<v1::WatchWeightsResponse>* WatchWeights(
      grpc::CallbackServerContext* context, const v1::WatchWeightsRequest* request) override;
  grpc::ServerUnaryReactor* ExplainWeight(grpc::CallbackServerContext* context,
                                          const v1::ExplainWeightRequest* request,
                                          v1::ExplainWeightResponse* response) override;
  grpc::ServerUnaryReactor* GetWeightHistory(grpc::CallbackServerContext* context,
                                             const v1::GetWeightHistoryRequest* request,
                                             v1::GetWeightHistoryResponse* response) override;

  void Shutdown() { streams_.EndAll(absl::UnavailableError("the controller is stopping")); }

 private:
  ControlLoop& loop_;
  StreamRegistry streams_;
};

}  // namespace trunkline
