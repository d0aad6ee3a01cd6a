// ServiceRouter's lines of the connection log.
#include <cstdint>
#include <memory>

#include "common/base/forwarding_mode.h"
#include "dataplane/flow/client_origin.h"
#include "dataplane/flow/flow_end.h"
#include "dataplane/flow/flow_record.h"
#include "dataplane/flow/request_record.h"
#include "dataplane/log/connection_log.h"
#include "dataplane/route/service_router.h"

namespace trunkline {

std::unique_ptr<FlowRecord> ServiceRouter::NewRecord(int client) {
  if (connection_log_ == nullptr) return nullptr;
  const bool sampled = connection_log_->Samples(random_.Uniform());
  const bool with_requests =
      set_->mode == ForwardingMode::kMessage && connection_log_->logs_requests();
  if (!sampled && !connection_log_->logs_errors() && !with_requests) return nullptr;
  auto record = std::make_unique<FlowRecord>();
  record->sampled = sampled;
  record->shares = set_->mode == ForwardingMode::kMessage;
  record->phase = set_->accept_proxy_protocol ? FlowRecord::Phase::kHeader
                  : record->shares            ? FlowRecord::Phase::kRequest
                                              : FlowRecord::Phase::kQueue;
  record->addresses = AddressesOf(client);
  record->accepted_at = worker_.loop.now();
  if (with_requests) record->open_requests = std::make_unique<RequestRecords>();
  return record;
}

void ServiceRouter::LogEnd(const FlowRecord& record, FlowEnd end) {
  connection_log_->Write(record, {.service = set_->service,
                                  .mode = set_->mode,
                                  .end = end,
                                  .lacks_sockets = worker_.dialer.lacking(),
                                  .at = worker_.loop.now()});
}

uint32_t ServiceRouter::FollowRequest(FlowRecord& client, MonotonicTime arrived_at) {
  return client.open_requests->Add(
      {.sampled = connection_log_->Samples(random_.Uniform()), .arrived_at = arrived_at});
}

void ServiceRouter::LogRequest(const FlowRecord& client, const RequestRecord& request,
                               FlowEnd client_end) {
  connection_log_->Write(request, client,
                         {.service = set_->service,
                          .mode = set_->mode,
                          .end = client_end,
                          .lacks_sockets = worker_.dialer.lacking(),
                          .at = worker_.loop.now()});
}

}  // namespace trunkline
