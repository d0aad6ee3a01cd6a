#include "controller/wire/view.h"

#include <cmath>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "controller/wire/snapshot.h"

namespace trunkline {
namespace {

v1::EndpointState WriteState(EndpointCondition state) {
  switch (state) {
    case EndpointCondition::kExpected:
      return v1::EXPECTED;
    case EndpointCondition::kFresh:
      return v1::FRESH;
    case EndpointCondition::kStale:
      return v1::STALE;
    case EndpointCondition::kExpired:
      return v1::EXPIRED;
  }
  return v1::ENDPOINT_STATE_UNSPECIFIED;
}

v1::WeightPolicy WritePolicy(PolicyKind kind) {
  switch (kind) {
    case PolicyKind::kAdaptive:
      return v1::ADAPTIVE;
    case PolicyKind::kStatic:
      return v1::STATIC;
    case PolicyKind::kRoundRobin:
      return v1::ROUND_ROBIN;
  }
  return v1::WEIGHT_POLICY_UNSPECIFIED;
}

double ReportAge(const EndpointReason& reason) {
  return reason.report_age.has_value() ? absl::ToDoubleSeconds(*reason.report_age) : -1;
}

void WriteWeight(const EndpointReason& reason, v1::EndpointWeight* out) {
  const RegisteredEndpoint& endpoint = reason.endpoint;
  out->set_endpoint_id(endpoint.key.endpoint_id);
  out->set_address(endpoint.address);
  out->set_weight(reason.weight);
  out->set_share(reason.share);
  out->set_capacity(reason.load.capacity);
  out->set_state(WriteState(endpoint.state));
  out->set_report_age_seconds(ReportAge(reason));
  out->set_draining(endpoint.draining);
  out->set_pinned(endpoint.pin.has_value());
  if (!endpoint.load.has_value()) return;
  out->set_utilization(Utilization(*endpoint.load));
  out->set_active_streams(endpoint.load->active_streams);
  out->set_connections(endpoint.load->connections);
  out->set_cpu_utilization(endpoint.load->cpu_utilization);
  out->set_memory_utilization(endpoint.load->memory_utilization);
}

absl::Status NoSuchService(const ControllerView& view, const std::string& service) {
  std::vector<std::string> names;
  for (const ServiceReason& known : view.services) names.push_back(known.spec.name);
  return absl::NotFoundError(absl::StrCat("no service \"", service, "\"; known services: ",
                                          names.empty() ? "none" : absl::StrJoin(names, ", ")));
}

// Those that `service` names; an unknown name is an error.
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
      return "its cores";
    case CapacitySource::kMedian:
      return "the median of the others";
    case CapacitySource::kStored:
      return "the state file or its last stay";
  }
  return "";
}

class TermWriter {
 public:
  explicit TermWriter(v1::Explanation* out) : out_(out) {}
  void Add(const std::string& name, double value, const std::string& unit,
           const std::string& meaning) {
    v1::Explanation::Term* term = out_->add_terms();
    term->set_name(name);
    term->set_value(value);
    term->set_unit(unit);
    term->set_meaning(meaning);
  }

 private:
  v1::Explanation* const out_;
};

void ExplainUtilization(const ReportedLoad& load, TermWriter& terms) {
  terms.Add("cpu", load.cpu_utilization, "",
            absl::StrCat("CPU over what the server may use, from ", load.cpu_source));
  terms.Add("connections", load.connection_utilization, "",
            absl::StrCat(load.connections, " established connections over their limit"));
  terms.Add("nic", load.nic_utilization, "", "network throughput over the link's speed");
  terms.Add("named", load.named_utilization, "",
            load.named_metric.empty()
                ? "the application gives no metric of its own"
                : absl::StrCat("the application's metric ", load.named_metric));
  terms.Add("u", Utilization(load), "", "utilization: the largest of the four above");
}

void ExplainModel(const ServiceReason& service, const EndpointReason& reason, TermWriter& terms) {
  const LoadEstimate& load = reason.load;
  terms.Add("r", load.work, "streams/s",
            absl::StrFormat("work: %.1f streams/s ended well, and %.0f bytes/s at 64 KiB a stream",
                            reason.endpoint.load->successes_per_second,
                            reason.endpoint.load->bytes_per_second));
  terms.Add("e", load.error_share, "", "share of failed streams, from 20 events on");
  terms.Add("u_eff", load.effective_utilization, "",
            "u and the share of failures: a server that fails fast is not idle");
  terms.Add(
      "k", service.load.work_per_capacity, "streams/s",
      "work that one unit of capacity did at full utilization, over the service's fresh endpoints");
  terms.Add("ubar", service.load.mean_utilization, "",
            "mean utilization of the fresh endpoints by weight");
  terms.Add("expected_u", load.expected_utilization, "",
            "r/(P*k): the utilization that this work would cause were P exact");
  terms.Add("obs", load.observed, "ln",
            "ln((expected_u + 0.03)/(u_eff + 0.03)), at most +-ln 20: above 0, it does better than "
            "P says");
}

void ExplainFactors(const ServiceReason& service, const EndpointReason& reason, TermWriter& terms) {
  const RegisteredEndpoint& endpoint = reason.endpoint;
  const ProposedWeight& proposed = reason.proposed;
  if (service.spec.policy == PolicyKind::kAdaptive) {
    terms.Add("P", reason.load.capacity, "mean 1",
              absl::StrCat("learned capacity, begun from ", SourceOf(reason.load.capacity_source)));
    terms.Add("theta", reason.load.theta, "ln",
              absl::StrFormat("how it does now, smoothed and step-bounded: a factor of %.3f",
                              std::exp(reason.load.theta)));
    terms.Add("memory", proposed.memory, "",
              absl::StrFormat("1 below 0.85 of the memory limit, 0.05 from 0.97 on; now at %.2f",
                              endpoint.load.has_value() ? endpoint.load->memory_utilization : 0.0));
  } else {
    terms.Add("configured", proposed.base, "",
              service.spec.policy == PolicyKind::kStatic ? "the operator's figure (policy static)"
                                                         : "1 for everyone (policy round_robin)");
  }
  terms.Add("slow_start", proposed.slow_start, "",
            "0.1 growing to 1 after a start, while it keeps up with the others");
  terms.Add("admin", endpoint.draining ? 0 : 1, "",
            endpoint.draining ? "draining: no new flows" : "in service");
  terms.Add("proposed", proposed.value, "", "the product of the factors");
  terms.Add("mean", service.mean_proposed, "",
            "mean of the proposals of those that take part: accepted weights have mean 1");
  terms.Add("accepted", reason.weight, "mean 1",
            "as published: within 0.02 and 10 of the mean, three digits, never raised while stale");
}

void WriteNotices(const ServiceReason& service, const EndpointReason& reason,
                  v1::Explanation* out) {
  const RegisteredEndpoint& endpoint = reason.endpoint;
  if (service.load.frozen()) out->add_notices(service.load.freeze_reason);
  if (endpoint.address.empty()) {
    out->add_notices("no address yet: proxies learn of it when its agent reports");
  }
  switch (endpoint.state) {
    case EndpointCondition::kExpected:
      out->add_notices("expected: configured, no report yet");
      break;
    case EndpointCondition::kStale:
      out->add_notices("stale: no report for 3 intervals; the weight is not raised");
      break;
    case EndpointCondition::kExpired:
      out->add_notices(
          "expired: no report for 10 intervals; the weight relaxes to learned capacity");
      break;
    case EndpointCondition::kFresh:
      break;
  }
  if (endpoint.draining) out->add_notices("draining: an operator takes it out of service");
  if (endpoint.pin.has_value()) {
    out->add_notices(absl::StrFormat("pinned: an operator set the weight to %g", *endpoint.pin));
  }
  if (!reason.proposed.reachable) {
    out->add_notices(
        "unreachable: the agent cannot connect to the local server; the weight is the floor (0.02 "
        "of "
        "the mean), so that proxies notice when it is back");
  }
  if (reason.proposed.slow_start < 1) {
    out->add_notices(absl::StrFormat("ramping: at %.0f %%", 100 * reason.proposed.slow_start));
  }
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
      WriteWeight(endpoint, weights->add_endpoints());
    }
  }
  return table;
}

absl::StatusOr<v1::ListEndpointsResponse> WriteEndpoints(const ControllerView& view,
                                                         const std::string& service) {
  absl::StatusOr<std::vector<const ServiceReason*>> selected = Select(view, service);
  if (!selected.ok()) return selected.status();
  v1::ListEndpointsResponse response;
  for (const ServiceReason* reason : *selected) {
    for (const EndpointReason& endpoint : reason->endpoints) {
      v1::ListEndpointsResponse::Item* item = response.add_endpoints();
      item->set_service(reason->spec.name);
      WriteWeight(endpoint, item->mutable_weight());
      item->set_agent_id(endpoint.endpoint.agent_id);
      item->set_boot_id(endpoint.endpoint.agent_boot_id);
      item->set_cores(endpoint.endpoint.cores);
      if (!endpoint.endpoint.load.has_value()) continue;
      const ReportedLoad& load = *endpoint.endpoint.load;
      item->set_cpu_source(load.cpu_source);
      item->set_successes_per_second(load.successes_per_second);
      item->set_errors_per_second(load.errors_per_second);
      item->set_bytes_per_second(load.bytes_per_second);
      item->set_reachable(load.reachable);
    }
  }
  return response;
}

v1::ListServicesResponse WriteServices(const ControllerView& view) {
  v1::ListServicesResponse response;
  for (const ServiceReason& service : view.services) {
    v1::ListServicesResponse::Item* item = response.add_services();
    item->set_name(service.spec.name);
    item->set_listen(service.spec.listen);
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
    explanation.set_report_age_seconds(ReportAge(reason));
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
