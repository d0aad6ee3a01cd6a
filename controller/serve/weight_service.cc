#include "controller/serve/weight_service.h"

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "common/base/clock.h"
#include "controller/core/control_core.h"
#include "controller/core/weight_history.h"
#include "controller/loop/control_loop.h"
#include "controller/serve/server_stream.h"
#include "controller/wire/history.h"
#include "controller/wire/view.h"
#include "trunkline/v1/weights.pb.h"

namespace trunkline {
namespace {

using WriteReactor = grpc::ServerWriteReactor<v1::WatchWeightsResponse>;

class WatchStream : public ServerStream<WriteReactor, v1::WatchWeightsResponse> {
 public:
  WatchStream(StreamRegistry& registry, ControlLoop& loop, std::string service)
      : ServerStream(registry), loop_(loop), service_(std::move(service)) {}

  void Wake() override {
    dirty_.store(true);
    Pump();
  }

 private:
  void OnOpen() override { Wake(); }
  void OnClosed() override {}

  bool NextMessage(v1::WatchWeightsResponse* out) override {
    if (!dirty_.exchange(false)) return false;
    absl::StatusOr<v1::WeightTable> table = WriteWeightTable(*loop_.view(), service_);
    if (!table.ok()) return false;
    *out->mutable_table() = *std::move(table);
    return true;
  }

  ControlLoop& loop_;
  const std::string service_;
  std::atomic<bool> dirty_{false};
};

// Finishes the call with the answer's status, and moves the answer to `out` if there is one.
template <typename Message>
grpc::ServerUnaryReactor* Answer(grpc::CallbackServerContext* context,
                                 absl::StatusOr<Message> answer, Message* out) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  const absl::Status status = answer.status();
  if (answer.ok()) *out = *std::move(answer);
  reactor->Finish(ToGrpc(status));
  return reactor;
}

}  // namespace

WeightService::WeightService(ControlLoop& loop) : loop_(loop), streams_(kMaxWatchers) {
  loop.Subscribe([this](const std::shared_ptr<const ControllerView>&) { streams_.WakeAll(); });
}

grpc::ServerUnaryReactor* WeightService::GetWeights(grpc::CallbackServerContext* context,
                                                    const v1::GetWeightsRequest* request,
                                                    v1::GetWeightsResponse* response) {
  return Answer(context, WriteWeightTable(*loop_.view(), request->service()),
                response->mutable_table());
}

WriteReactor* WeightService::WatchWeights(grpc::CallbackServerContext*,
                                          const v1::WatchWeightsRequest* request) {
  auto stream = std::make_shared<WatchStream>(streams_, loop_, request->service());
  const absl::Status known = WriteWeightTable(*loop_.view(), request->service()).status();
  if (!known.ok()) stream->End(known);
  stream->Open();
  return stream.get();
}

grpc::ServerUnaryReactor* WeightService::ExplainWeight(grpc::CallbackServerContext* context,
                                                       const v1::ExplainWeightRequest* request,
                                                       v1::ExplainWeightResponse* response) {
  return Answer(context,
                WriteExplanation(*loop_.view(), {request->service(), request->endpoint_id()}),
                response->mutable_explanation());
}

grpc::ServerUnaryReactor* WeightService::GetWeightHistory(
    grpc::CallbackServerContext* context, const v1::GetWeightHistoryRequest* request,
    v1::GetWeightHistoryResponse* response) {
  const std::shared_ptr<const ControllerView> view = loop_.view();
  return Answer(context, loop_.ReadHistory([&](const WeightHistory& history) {
    return WriteHistory(history, *view, *request, MonotonicNow());
  }),
                response);
}

}  // namespace trunkline
