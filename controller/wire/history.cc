#include "controller/wire/history.h"

#include <cstddef>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "controller/core/control_core.h"
#include "controller/core/load_report.h"
#include "controller/core/weight_history.h"
#include "controller/wire/page.h"
#include "controller/wire/view.h"
#include "trunkline/v1/weights.pb.h"

namespace trunkline {
namespace {

v1::EndpointHistory WriteEndpoint(const WeightHistory& history, const EndpointKey& key) {
  v1::EndpointHistory out;
  out.set_service(key.service);
  out.set_endpoint_id(key.endpoint_id);
  for (const HistoryPoint& point : history.PointsOf(key)) {
    v1::EndpointHistory::Point* to = out.add_points();
    if (point.weight) to->set_weight(static_cast<float>(*point.weight));
    if (point.utilization) to->set_utilization(static_cast<float>(*point.utilization));
    if (point.error_share) to->set_error_share(static_cast<float>(*point.error_share));
    if (point.wait_seconds) to->set_wait_seconds(static_cast<float>(*point.wait_seconds));
  }
  return out;
}

// Returns NOT_FOUND if the request names something that neither exists nor has a history.
absl::Status CheckNames(const WeightHistory& history, const ControllerView& view,
                        const v1::GetWeightHistoryRequest& request) {
  if (request.service().empty()) {
    if (request.endpoint_id().empty()) return absl::OkStatus();
    return absl::InvalidArgumentError(
        "service: expected the name of the endpoint's service, because ids are unique within a "
        "service only; got none");
  }
  const EndpointKey key{request.service(), request.endpoint_id()};
  std::vector<std::string> known;
  for (const EndpointKey* other : history.EndpointsAfter(std::nullopt)) {
    if (other->service != key.service) continue;
    if (key.endpoint_id.empty() || *other == key) return absl::OkStatus();
    known.push_back(other->endpoint_id);
  }
  const absl::Status service = CheckService(view, key.service);
  if (!service.ok() || key.endpoint_id.empty() || view.Knows(key)) return service;
  return absl::NotFoundError(absl::StrCat(
      "service ", key.service, " had no endpoint \"", key.endpoint_id,
      "\" in the last hour; its endpoints: ", known.empty() ? "none" : absl::StrJoin(known, ", ")));
}

}  // namespace

absl::StatusOr<v1::GetWeightHistoryResponse> WriteHistory(
    const WeightHistory& history, const ControllerView& view,
    const v1::GetWeightHistoryRequest& request, MonotonicTime now) {
  if (absl::Status known = CheckNames(history, view, request); !known.ok()) return known;
  const absl::StatusOr<std::optional<EndpointKey>> last = ReadPageToken(request.page_token());
  if (!last.ok()) return last.status();
  v1::GetWeightHistoryResponse response;
  response.set_step_seconds(absl::ToDoubleSeconds(WeightHistory::kStep));
  if (const std::optional<absl::Duration> age = history.Age(now); age.has_value()) {
    response.set_age_seconds(absl::ToDoubleSeconds(*age));
  }
  const EndpointKey* page_end = nullptr;
  size_t bytes = 0;
  for (const EndpointKey* key : history.EndpointsAfter(*last)) {
    if (!request.service().empty() && key->service != request.service()) continue;
    if (!request.endpoint_id().empty() && key->endpoint_id != request.endpoint_id()) continue;
    v1::EndpointHistory endpoint = WriteEndpoint(history, *key);
    bytes += endpoint.ByteSizeLong() + kItemOverhead;
    if (page_end != nullptr && bytes > kMaxPageBytes) {
      response.set_next_page_token(WritePageToken(*page_end));
      return response;
    }
    *response.add_endpoints() = std::move(endpoint);
    page_end = key;
  }
  return response;
}

}  // namespace trunkline
