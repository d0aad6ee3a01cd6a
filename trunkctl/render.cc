#include "trunkctl/render.h"

#include <google/protobuf/descriptor.h>

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/config/config_values.h"
#include "trunkctl/text_table.h"
#include "trunkline/v1/admin.pb.h"
#include "trunkline/v1/discovery.pb.h"
#include "trunkline/v1/service.pb.h"
#include "trunkline/v1/weights.pb.h"

namespace trunkline {
namespace {

constexpr auto kRight = TextTable::Align::kRight;

std::string Number(double value) { return absl::StrFormat("%.3g", value); }
std::string Percent(double share) { return absl::StrFormat("%.1f%%", 100 * share); }

std::string PercentOrDash(bool known, double share) { return known ? Percent(share) : "-"; }
std::string CountOrDash(bool known, uint32_t count) { return known ? absl::StrCat(count) : "-"; }
std::string Rate(double value) { return absl::StrFormat("%.1f", value); }

std::string Age(double seconds) { return absl::StrFormat("%.1fs", seconds); }

// Message is EndpointWeight or Explanation.
template <typename Message>
std::string ReportAge(const Message& message) {
  return message.has_report_age_seconds() ? Age(message.report_age_seconds()) : "never";
}

std::string Bytes(double value) {
  constexpr const char* kUnits[] = {"", "K", "M", "G", "T"};
  size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  return absl::StrFormat("%.*f%s", unit == 0 ? 0 : 1, value, kUnits[unit]);
}

std::string OrDash(const std::string& text) { return text.empty() ? "-" : text; }

// A value that only a newer controller knows appears as its number.
std::string EnumText(const google::protobuf::EnumDescriptor& type, int value) {
  const google::protobuf::EnumValueDescriptor* known = type.FindValueByNumber(value);
  return known != nullptr ? ShortName(*known) : absl::StrCat(value);
}

std::string Mode(v1::ForwardingMode mode) {
  return EnumText(*v1::ForwardingMode_descriptor(), mode);
}

std::string Flags(const v1::EndpointWeight& endpoint) {
  std::vector<std::string> flags;
  if (endpoint.draining()) flags.push_back("draining");
  if (endpoint.pinned()) flags.push_back("pinned");
  if (endpoint.suspect()) flags.push_back("suspect");
  return flags.empty() ? "-" : absl::StrJoin(flags, ",");
}

// How many of the proxies that check the endpoint find it healthy.
std::string Health(const v1::ListEndpointsResponse::Item& item) {
  if (item.checking_proxies() == 0) return "-";
  return absl::StrCat(item.healthy_proxies(), "/", item.checking_proxies());
}

}  // namespace

std::string StateText(v1::EndpointState state) {
  return EnumText(*v1::EndpointState_descriptor(), state);
}

std::string PolicyText(v1::BalancingPolicy policy) {
  return EnumText(*v1::BalancingPolicy_descriptor(), policy);
}

std::string Render(const v1::SnapshotId& id) { return absl::StrCat(id.epoch(), "/", id.version()); }

std::string Render(const v1::WeightTable& table) {
  std::string text;
  for (const v1::ServiceWeights& service : table.services()) {
    absl::StrAppend(&text, text.empty() ? "" : "\n", "service ", service.service(), "  policy ",
                    PolicyText(service.policy()), "  snapshot ", Render(table.id()), "\n");
    if (!service.notice().empty()) absl::StrAppend(&text, "! ", service.notice(), "\n");
    TextTable rows({{"ENDPOINT"},
                    {"WEIGHT", kRight},
                    {"SHARE", kRight},
                    {"UTIL", kRight},
                    {"CPU", kRight},
                    {"MEMORY", kRight},
                    {"CAPACITY", kRight},
                    {"STREAMS", kRight},
                    {"STATE"},
                    {"REPORT", kRight},
                    {"FLAGS"}});
    for (const v1::EndpointWeight& endpoint : service.endpoints()) {
      rows.AddRow({endpoint.endpoint_id(), Number(endpoint.weight()), Percent(endpoint.share()),
                   PercentOrDash(endpoint.has_utilization(), endpoint.utilization()),
                   PercentOrDash(endpoint.has_cpu_utilization(), endpoint.cpu_utilization()),
                   PercentOrDash(endpoint.has_memory_utilization(), endpoint.memory_utilization()),
                   Number(endpoint.capacity()),
                   CountOrDash(endpoint.has_active_streams(), endpoint.active_streams()),
                   StateText(endpoint.state()), ReportAge(endpoint), Flags(endpoint)});
    }
    text += rows.Text();
  }
  return text.empty() ? "no services are configured\n" : text;
}

std::string Render(const v1::ListEndpointsResponse& response) {
  TextTable rows({{"SERVICE"},
                  {"ENDPOINT"},
                  {"ADDRESS"},
                  {"AGENT"},
                  {"STATE"},
                  {"WEIGHT", kRight},
                  {"UTIL", kRight},
                  {"CORES", kRight},
                  {"CPU FROM"},
                  {"THROTTLED", kRight},
                  {"STREAMS", kRight},
                  {"CONNS", kRight},
                  {"OK/S", kRight},
                  {"ERR/S", kRight},
                  {"BYTES/S", kRight},
                  {"REACHABLE"},
                  {"HEALTHY", kRight},
                  {"FLAGS"}});
  for (const v1::ListEndpointsResponse::Item& item : response.endpoints()) {
    const v1::EndpointWeight& weight = item.weight();
    const auto if_reported = [&](const std::string& text) {
      return weight.has_report_age_seconds() ? text : "-";
    };
    rows.AddRow({item.service(), weight.endpoint_id(), OrDash(weight.address()),
                 OrDash(item.agent_id()), StateText(weight.state()), Number(weight.weight()),
                 PercentOrDash(weight.has_utilization(), weight.utilization()),
                 item.has_cores() ? Number(item.cores()) : "-", OrDash(item.cpu_source()),
                 PercentOrDash(weight.has_cpu_throttled(), weight.cpu_throttled()),
                 if_reported(absl::StrCat(weight.active_streams())),
                 CountOrDash(weight.has_connections(), weight.connections()),
                 if_reported(Rate(item.successes_per_second())),
                 if_reported(Rate(item.errors_per_second())),
                 if_reported(Bytes(item.bytes_per_second())),
                 if_reported(item.reachable() ? "yes" : "no"), Health(item), Flags(weight)});
  }
  return rows.Text();
}

std::string Render(const v1::ListServicesResponse& response) {
  TextTable rows(
      {{"SERVICE"}, {"LISTEN"}, {"MODE"}, {"POLICY"}, {"ENDPOINTS", kRight}, {"FRESH", kRight}});
  for (const v1::ListServicesResponse::Item& item : response.services()) {
    rows.AddRow({item.name(), absl::StrJoin(item.listen(), ","), Mode(item.mode()),
                 PolicyText(item.policy()), absl::StrCat(item.endpoints()),
                 absl::StrCat(item.fresh_endpoints())});
  }
  return rows.Text();
}

std::string Render(const v1::ListProxiesResponse& response) {
  TextTable rows({{"PROXY"},
                  {"VERSION"},
                  {"CONNECTED"},
                  {"SNAPSHOT"},
                  {"WORKERS", kRight},
                  {"CLIENTS", kRight},
                  {"TRUNKS", kRight},
                  {"FLOWS/S", kRight},
                  {"SEEN", kRight},
                  {"LAST ERROR"}});
  for (const v1::ListProxiesResponse::Item& item : response.proxies()) {
    rows.AddRow({item.proxy_id(), OrDash(item.version()), item.connected() ? "yes" : "no",
                 Render(item.acked()), absl::StrCat(item.workers()), absl::StrCat(item.clients()),
                 absl::StrCat(item.trunks()), Rate(item.flows_per_second()),
                 Age(item.last_seen_seconds()), OrDash(item.last_error())});
  }
  return rows.Text();
}

std::string Render(const v1::Explanation& explanation) {
  std::string text =
      absl::StrCat(explanation.service(), "/", explanation.endpoint_id(), "  weight ",
                   Number(explanation.weight()), "  policy ", PolicyText(explanation.policy()),
                   "  state ", StateText(explanation.state()), "  report ", ReportAge(explanation),
                   "  snapshot ", Render(explanation.id()), "\n");
  for (const std::string& notice : explanation.notices())
    absl::StrAppend(&text, "! ", notice, "\n");
  TextTable rows({{"TERM"}, {"VALUE", kRight}, {"UNIT"}, {"MEANING"}});
  for (const v1::Explanation::Term& term : explanation.terms()) {
    rows.AddRow({term.name(), term.has_value() ? absl::StrFormat("%.4g", term.value()) : "-",
                 OrDash(term.unit()), term.meaning()});
  }
  return text + rows.Text();
}

std::string Render(const v1::Snapshot& snapshot) {
  std::string text = absl::StrCat("snapshot ", Render(snapshot.id()), "\n");
  for (const v1::Service& service : snapshot.services()) {
    absl::StrAppend(&text, "\nservice ", service.name(), "  listens on ",
                    absl::StrJoin(service.listener().address(), ", "), "  mode ",
                    Mode(service.mode()), "\n");
    TextTable rows(
        {{"ENDPOINT"}, {"ADDRESS"}, {"WEIGHT", kRight}, {"CAPACITY", kRight}, {"DRAINING"}});
    for (const v1::Endpoint& endpoint : service.endpoints()) {
      rows.AddRow({endpoint.endpoint_id(), endpoint.address(), Number(endpoint.weight()),
                   Number(endpoint.capacity()), endpoint.draining() ? "yes" : "no"});
    }
    text += rows.Text();
  }
  return text;
}

}  // namespace trunkline
