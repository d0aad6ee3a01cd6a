// Anyone's questions about weights: get, watch, explain. Answers come from the newest view, never
// from the stages.
//
// Thread-safe (gRPC's callback API). Borrows the loop, which outlives it. Shutdown() before the
// server's.
#pragma once

#include <memory>

#include "controller/loop/control_loop.h"
#include "controller/serve/server_stream.h"
#include "trunkline/v1/weights.grpc.pb.h"

namespace trunkline {

class WeightService : public v1::WeightService::CallbackService {
 public:
  // People and dashboards; each costs a table a change.
  static constexpr size_t kMaxWatchers = 200;

  // Subscribes to the loop; before its Start().
  explicit WeightService(ControlLoop& loop);

  grpc::ServerUnaryReactor* GetWeights(grpc::CallbackServerContext* context,
                                       const v1::GetWeightsRequest* request,
                                       v1::WeightTable* response) override;
  grpc::ServerWriteReactor<v1::WeightTable>* WatchWeights(
      grpc::CallbackServerContext* context, const v1::GetWeightsRequest* request) override;
  grpc::ServerUnaryReactor* ExplainWeight(grpc::CallbackServerContext* context,
                                          const v1::ExplainWeightRequest* request,
                                          v1::Explanation* response) override;

  void Shutdown() { streams_.EndAll(absl::UnavailableError("the controller is stopping")); }

 private:
  ControlLoop& loop_;
  StreamRegistry streams_;
};

}  // namespace trunkline
