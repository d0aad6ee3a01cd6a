#include "controller/wire/view.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "common/base/balancing_policy.h"
#include "common/config/balancing_policy_wire.h"
#include "common/config/config_values.h"
#include "controller/core/control_core.h"
#include "controller/core/endpoint_registry.h"
#include "controller/core/load_model.h"
#include "controller/core/load_report.h"
#include "controller/core/service_spec.h"
#include "controller/core/wait_model.h"
#include "controller/core/weight_limiter.h"
#include "controller/core/weight_policy.h"
#include "controller/wire/page.h"
#include "controller/wire/snapshot.h"
#include "trunkline/v1/admin.pb.h"
#include "trunkline/v1/service.pb.h"
#include "trunkline/v1/weights.pb.h"

namespace trunkline {
namespace {

constexpr uint32_t kMaxPageSize = 5'000;

v1::EndpointState WriteState(EndpointCondition state) {
  switch (state) {
    case EndpointCondition::kExpected:
      return v1::ENDPOINT_STATE_EXPECTED;
    case EndpointCondition::kFresh:
      return v1::ENDPOINT_STATE_FRESH;
    case EndpointCondition::kStale:
      return v1::ENDPOINT_STATE_STALE;
    case EndpointCondition::kExpired:
      return v1::ENDPOINT_STATE_EXPIRED;
  }
  return v1::ENDPOINT_STATE_UNSPECIFIED;
}

// Message is EndpointWeight or Explanation; the field stays unset before the first report.
template <typename Message>
void WriteReportAge(const EndpointReason& reason, Message* out) {
  if (reason.report_age.has_value()) {
    out->set_report_age_seconds(absl::ToDoubleSeconds(*reason.report_age));
  }
}

void WriteTraffic(const EndpointEstimate& load, v1::EndpointWeight* out) {
  if (!load.traffic.has_value()) return;
  out->set_in_flight(load.traffic->in_flight);
  out->set_error_share(load.error_share);
  if (load.traffic->first_byte.has_value()) {
    out->set_wait_seconds(absl::ToDoubleSeconds(*load.traffic->first_byte));
  }
}

void WriteWeight(const ServiceReason& service, const EndpointReason& reason,
                 v1::EndpointWeight* out) {
  const RegisteredEndpoint& endpoint = reason.endpoint;
  out->set_endpoint_id(endpoint.key.endpoint_id);
  out->set_address(endpoint.address);
  out->set_weight(reason.weight);
  out->set_share(reason.share);
  out->set_capacity(reason.load.capacity);
  out->set_state(WriteState(endpoint.state));
  WriteReportAge(reason, out);
  out->set_draining(endpoint.draining);
  out->set_pinned(endpoint.pin.has_value());
  out->set_suspect(reason.load.suspect);
  const bool adaptive = service.spec.policy == BalancingPolicy::kAdaptive;
  out->set_hot(adaptive && reason.load.hot);
  out->set_slow(adaptive && reason.load.slower);
  out->set_unreachable(!reason.proposed.reachable);
  out->set_slow_start(reason.proposed.slow_start);
  WriteTraffic(reason.load, out);
  if (!endpoint.load.has_value()) return;
  if (endpoint.load->cpu_known) {
    out->set_utilization(Utilization(*endpoint.load));
    out->set_cpu_utilization(endpoint.load->cpu_utilization);
  }
  if (endpoint.load->cpu_throttled) out->set_cpu_throttled(*endpoint.load->cpu_throttled);
  out->set_active_streams(endpoint.load->active_streams);
  if (endpoint.load->connections) out->set_connections(*endpoint.load->connections);
  if (endpoint.load->memory_utilization) {
    out->set_memory_utilization(*endpoint.load->memory_utilization);
  }
}

absl::Status NoSuchService(const ControllerView& view, const std::string& service) {
  std::vector<std::string> names;
  for (const ServiceReason& known : view.services) names.push_back(known.spec.name);
  return absl::NotFoundError(absl::StrCat("no service \"", service, "\"; known services: ",
                                          names.empty() ? "none" : absl::StrJoin(names, ", ")));
}

// Selects the service of that name, or all services for an empty name. Returns NOT_FOUND for an
// unknown name.
absl::StatusOr<std::vector<const ServiceReason*>> Select(const ControllerView& view,
                                                         const std::string& service) {
  std::vector<const ServiceReason*> selected;
  for (const ServiceReason& reason : view.services) {
    if (service.empty() || reason.spec.name == service) selected.push_back(&reason);
  }
  if (selected.empty() && !service.empty()) return NoSuchService(view, service);
  return selected;
}

const char* SourceOf(CapacitySource source) {
  switch (source) {
    case CapacitySource::kOperator:
      return "the operator's figure";
    case CapacitySource::kCores:
      return "the server's cores";
    case CapacitySource::kMedian:
      return "the median of the other endpoints";
    case CapacitySource::kStored:
      return "the state file or the endpoint's previous stay";
  }
  return "";
}

class TermWriter {
 public:
  explicit TermWriter(v1::Explanation* out) : out_(out) {}
  // Without a value the term is unknown.
  void Add(const std::string& name, std::optional<double> value, const std::string& unit,
           const std::string& meaning) {
    v1::Explanation::Term* term = out_->add_terms();
    term->set_name(name);
    if (value) term->set_value(*value);
    term->set_unit(unit);
    term->set_meaning(meaning);
  }

 private:
  v1::Explanation* const out_;
};

void ExplainUtilization(const ReportedLoad& load, TermWriter& terms) {
  const auto if_cpu_known = [&](double value) {
    return load.cpu_known ? std::optional(value) : std::nullopt;
  };
  terms.Add("cpu", if_cpu_known(load.cpu_utilization), "",
            load.cpu_known
                ? absl::StrCat("CPU time over the server's limit, from ", load.cpu_source)
                : "unknown: the agent cannot read it; weights follow the learned capacity");
  const std::string connections = load.connections ? absl::StrCat(*load.connections) : "unknown";
  terms.Add("connections", load.connection_utilization, "",
            load.connection_utilization
                ? absl::StrCat(connections, " established connections over their limit")
                : absl::StrCat("established connections (", connections,
                               ") without a limit, or not counted"));
  terms.Add("nic", load.nic_utilization, "",
            load.nic_utilization ? "network throughput over the link speed"
                                 : "unknown: the agent cannot read the throughput or link speed");
  const bool named = !load.named_metric.empty();
  terms.Add("named", named ? std::optional(load.named_utilization) : std::nullopt, "",
            named ? absl::StrCat("the application's metric ", load.named_metric)
                  : "the application reports no metric of its own");
  terms.Add("u", if_cpu_known(Utilization(load)), "",
            "utilization: the largest of the terms above");
  terms.Add("throttled", load.cpu_throttled, "",
            load.cpu_throttled
                ? "share of time in which a CPU quota stopped the server; no part of the weight"
                : "unknown: no CPU quota applies to the server, or the agent cannot read it");
}

void ExplainModel(const ServiceReason& service, const EndpointReason& reason, TermWriter& terms) {
  const EndpointEstimate& load = reason.load;
  const ReportedLoad& reported = *reason.endpoint.load;
  terms.Add("r", load.work, "streams/s",
            load.traffic
                ? absl::StrFormat("work: %.1f flows or requests/s that were answered, plus %.0f "
                                  "bytes/s at %g KiB each, from the proxies' reports",
                                  load.traffic->served_per_second, load.traffic->bytes_per_second,
                                  kBytesPerStream / 1024)
                : absl::StrFormat("work: %.1f streams/s that ended well, plus %.0f bytes/s at %g "
                                  "KiB per stream, from the agent: no proxy reports traffic",
                                  reported.successes_per_second, reported.bytes_per_second,
                                  kBytesPerStream / 1024));
  terms.Add("e", load.error_share, "",
            absl::StrFormat("share of failed streams, measured over at least %g streams",
                            LoadModel::kMinErrorEvents));
  const bool waits_known = load.traffic && load.traffic->first_byte;
  terms.Add(
      "wait",
      waits_known ? std::optional(absl::ToDoubleSeconds(*load.traffic->first_byte)) : std::nullopt,
      "s", "mean time until an answer began, from the proxies' reports");
  terms.Add("excess_wait", load.excess_wait, "",
            absl::StrFormat("growth of the wait over its shortest of the last minutes, relative to "
                            "the service's median; above %g the share does not rise, above %g it "
                            "falls",
                            WaitModel::kSlower, WaitModel::kSlow));
  terms.Add("u_eff", load.effective_utilization, "",
            "u plus the share of failures: a server that fails fast is not idle");
  terms.Add("k", service.load.work_per_capacity, "streams/s",
            "work of one unit of capacity at full utilization, over the service's fresh endpoints");
  terms.Add("ubar", service.load.mean_utilization, "",
            "mean utilization of the fresh endpoints, by weight");
  terms.Add("expected_u", load.expected_utilization, "",
            "r/(P*k): the utilization that this work would cause if P were exact");
  terms.Add("obs", load.observed, "ln",
            absl::StrFormat("ln((expected_u + %1$g)/(u_eff + %1$g)), at most +-ln %2$g; above 0, "
                            "the endpoint does better than P says",
                            LoadModel::kNoiseUtilization, std::exp(LoadModel::kMaxObservation)));
}

std::string ExplainMemory(const RegisteredEndpoint& endpoint) {
  const std::optional<double> now =
      endpoint.load.has_value() ? endpoint.load->memory_utilization : std::nullopt;
  return absl::StrFormat("1 up to %g of the memory limit, falling to %g at %g; now %s",
                         WeightPolicy::kMemoryFree, WeightPolicy::kMemoryFloor,
                         WeightPolicy::kMemoryFull,
                         now ? absl::StrFormat("at %.2f", *now) : "unknown");
}

void ExplainBase(const ServiceReason& service, const EndpointReason& reason, TermWriter& terms) {
  if (service.spec.policy == BalancingPolicy::kAdaptive) {
    terms.Add(
        "P", reason.load.capacity, "mean 1",
        absl::StrCat("learned capacity, initially from ", SourceOf(reason.load.capacity_source)));
    terms.Add("theta", reason.load.theta, "ln",
              absl::StrFormat("correction for current load, smoothed and bounded per step: a "
                              "factor of %.3f",
                              std::exp(reason.load.theta)));
    terms.Add("memory", reason.proposed.memory, "", ExplainMemory(reason.endpoint));
    return;
  }
  const v1::BalancingPolicy policy = WritePolicy(service.spec.policy);
  const char* const source = service.spec.policy == BalancingPolicy::kRoundRobin
                                 ? "equal weights"
                                 : "the operator's figure";
  terms.Add(
      "configured", reason.proposed.base, "",
      absl::StrCat(source, " (policy ",
                   ShortName(*v1::BalancingPolicy_descriptor()->FindValueByNumber(policy)), ")"));
}

void ExplainFactors(const ServiceReason& service, const EndpointReason& reason, TermWriter& terms) {
  const RegisteredEndpoint& endpoint = reason.endpoint;
  ExplainBase(service, reason, terms);
  terms.Add("slow_start", reason.proposed.slow_start, "",
            absl::StrFormat("slow start: grows from %g to 1 while the endpoint is not busier than "
                            "the others",
                            WeightPolicy::kSlowStartFloor));
  terms.Add("admin", endpoint.draining ? 0 : 1, "",
            endpoint.draining ? "draining: no new flows" : "in service");
  terms.Add("proposed", reason.proposed.value, "", "the product of the factors");
  terms.Add("mean", service.mean_proposed, "",
            "mean of the proposals of the endpoints in service; published weights have mean 1");
  terms.Add("accepted", reason.weight, "mean 1",
            absl::StrFormat("published weight: within %g and %g of the mean, three digits, not "
                            "raised while stale",
                            WeightLimiter::kFloor, WeightLimiter::kCeiling));
}

// Empty for a fresh endpoint.
std::string StateNotice(EndpointCondition state) {
  switch (state) {
    case EndpointCondition::kExpected:
      return "expected: configured, no report yet";
    case EndpointCondition::kStale:
      return absl::StrFormat("stale: no report for %d intervals; the weight does not rise",
                             EndpointRegistry::kStaleIntervals);
    case EndpointCondition::kExpired:
      return absl::StrFormat(
          "expired: no report for %d intervals; the weight relaxes toward learned capacity",
          EndpointRegistry::kExpiredIntervals);
    case EndpointCondition::kFresh:
      break;
  }
  return "";
}

void WriteNotices(const ServiceReason& service, const EndpointReason& reason,
                  v1::Explanation* out) {
  const RegisteredEndpoint& endpoint = reason.endpoint;
  if (service.load.frozen()) out->add_notices(service.load.freeze_reason);
  if (endpoint.address.empty()) {
    out->add_notices("no address: proxies get the endpoint when its agent reports");
  }
  if (std::string notice = StateNotice(endpoint.state); !notice.empty()) out->add_notices(notice);
  if (endpoint.draining) out->add_notices("draining: an operator stopped new flows");
  if (endpoint.pin.has_value()) {
    out->add_notices(absl::StrFormat("pinned: an operator set the weight to %g", *endpoint.pin));
  }
  if (service.spec.policy == BalancingPolicy::kAdaptive && reason.load.hot) {
    out->add_notices(absl::StrFormat(
        "hot: its utilization is more than %g above the service's median; its share does not rise",
        LoadModel::kHotMargin));
  }
  if (service.spec.policy == BalancingPolicy::kAdaptive && reason.load.slower) {
    out->add_notices(
        "slow: proxies find that its clients wait longer than usual, by more than those of the "
        "other endpoints; its share does not rise");
  }
  if (reason.load.suspect) out->add_notices("suspect: " + DescribeSuspect(reason.load));
  if (!reason.proposed.reachable) {
    out->add_notices(
        absl::StrFormat("unreachable: the agent cannot connect to the local server; the weight is "
                        "the floor (%g of the mean), which lets proxies detect its return",
                        WeightLimiter::kFloor));
  }
  if (reason.proposed.slow_start < 1) {
    out->add_notices(absl::StrFormat("slow start: at %.0f %%", 100 * reason.proposed.slow_start));
  }
}

void WriteEndpoint(const ServiceReason& service, const EndpointReason& endpoint,
                   v1::ListEndpointsResponse::Item* item) {
  item->set_service(endpoint.endpoint.key.service);
  WriteWeight(service, endpoint, item->mutable_weight());
  item->set_agent_id(endpoint.endpoint.agent_id);
  item->set_boot_id(endpoint.endpoint.agent_boot_id);
  if (endpoint.endpoint.cores > 0) item->set_cores(endpoint.endpoint.cores);
  if (!endpoint.endpoint.load.has_value()) return;
  const ReportedLoad& load = *endpoint.endpoint.load;
  item->set_cpu_source(load.cpu_source);
  item->set_successes_per_second(load.successes_per_second);
  item->set_errors_per_second(load.errors_per_second);
  item->set_bytes_per_second(load.bytes_per_second);
  item->set_reachable(load.reachable);
}

}  // namespace

const char* StateName(EndpointCondition state) {
  switch (state) {
    case EndpointCondition::kExpected:
      return "expected";
    case EndpointCondition::kFresh:
      return "fresh";
    case EndpointCondition::kStale:
      return "stale";
    case EndpointCondition::kExpired:
      return "expired";
  }
  return "";
}

absl::Status CheckService(const ControllerView& view, const std::string& service) {
  return service.empty() ? NoSuchService(view, service) : Select(view, service).status();
}

absl::StatusOr<v1::WeightTable> WriteWeightTable(const ControllerView& view,
                                                 const std::string& service) {
  absl::StatusOr<std::vector<const ServiceReason*>> selected = Select(view, service);
  if (!selected.ok()) return selected.status();
  v1::WeightTable table;
  WriteSnapshotId(view.snapshot->id, table.mutable_id());
  for (const ServiceReason* reason : *selected) {
    v1::ServiceWeights* weights = table.add_services();
    weights->set_service(reason->spec.name);
    weights->set_policy(WritePolicy(reason->spec.policy));
    weights->set_notice(reason->load.freeze_reason);
    for (const EndpointReason& endpoint : reason->endpoints) {
      WriteWeight(*reason, endpoint, weights->add_endpoints());
    }
  }
  return table;
}

absl::StatusOr<v1::ListEndpointsResponse> WriteEndpoints(const ControllerView& view,
                                                         const v1::ListEndpointsRequest& request) {
  absl::StatusOr<std::vector<const ServiceReason*>> selected = Select(view, request.service());
  if (!selected.ok()) return selected.status();
  const absl::StatusOr<std::optional<EndpointKey>> last = ReadPageToken(request.page_token());
  if (!last.ok()) return last.status();
  const uint32_t wanted = request.page_size() == 0 ? kMaxPageSize : request.page_size();
  const int size = static_cast<int>(std::min(wanted, kMaxPageSize));
  v1::ListEndpointsResponse response;
  const EndpointKey* page_end = nullptr;
  size_t bytes = 0;
  for (const ServiceReason* reason : *selected) {
    for (const EndpointReason& endpoint : reason->endpoints) {
      const EndpointKey& key = endpoint.endpoint.key;
      if (last->has_value() && key <= **last) continue;
      v1::ListEndpointsResponse::Item item;
      WriteEndpoint(*reason, endpoint, &item);
      bytes += item.ByteSizeLong() + kItemOverhead;
      if (page_end != nullptr && (response.endpoints_size() == size || bytes > kMaxPageBytes)) {
        response.set_next_page_token(WritePageToken(*page_end));
        return response;
      }
      *response.add_endpoints() = std::move(item);
      page_end = &key;
    }
  }
  return response;
}

v1::ListServicesResponse WriteServices(const ControllerView& view) {
  v1::ListServicesResponse response;
  for (const ServiceReason& service : view.services) {
    v1::ListServicesResponse::Item* item = response.add_services();
    item->set_name(service.spec.name);
    item->mutable_listen()->Assign(service.spec.listen.begin(), service.spec.listen.end());
    item->set_mode(WriteMode(service.spec.mode));
    item->set_policy(WritePolicy(service.spec.policy));
    item->set_endpoints(static_cast<uint32_t>(service.endpoints.size()));
    uint32_t fresh = 0;
    for (const EndpointReason& endpoint : service.endpoints) {
      if (endpoint.endpoint.state == EndpointCondition::kFresh) ++fresh;
    }
    item->set_fresh_endpoints(fresh);
  }
  return response;
}

absl::StatusOr<v1::Explanation> WriteExplanation(const ControllerView& view,
                                                 const EndpointKey& key) {
  if (key.service.empty()) return NoSuchService(view, key.service);
  absl::StatusOr<std::vector<const ServiceReason*>> selected = Select(view, key.service);
  if (!selected.ok()) return selected.status();
  const ServiceReason& service = *selected->front();
  std::vector<std::string> names;
  for (const EndpointReason& reason : service.endpoints) {
    names.push_back(reason.endpoint.key.endpoint_id);
    if (reason.endpoint.key != key) continue;
    v1::Explanation explanation;
    explanation.set_service(key.service);
    explanation.set_endpoint_id(key.endpoint_id);
    WriteSnapshotId(view.snapshot->id, explanation.mutable_id());
    explanation.set_policy(WritePolicy(service.spec.policy));
    explanation.set_weight(reason.weight);
    explanation.set_state(WriteState(reason.endpoint.state));
    WriteReportAge(reason, &explanation);
    TermWriter terms(&explanation);
    if (reason.endpoint.load.has_value()) {
      ExplainUtilization(*reason.endpoint.load, terms);
      ExplainModel(service, reason, terms);
    }
    ExplainFactors(service, reason, terms);
    WriteNotices(service, reason, &explanation);
    return explanation;
  }
  return absl::NotFoundError(
      absl::StrCat("service ", key.service, " has no endpoint \"", key.endpoint_id,
                   "\"; known endpoints: ", names.empty() ? "none" : absl::StrJoin(names, ", ")));
}

}  // namespace trunkline
