#include "dataplane/control/snapshot_wire.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "common/base/balancing_policy.h"
#include "common/base/forwarding_mode.h"
#include "common/base/limits.h"
#include "common/config/balancing_policy_wire.h"
#include "common/config/config_rules.h"
#include "common/config/config_values.h"
#include "common/config/durations.h"
#include "common/config/proxy_version_wire.h"
#include "common/config/rule_check.h"
#include "common/net/address.h"
#include "common/net/address_list.h"
#include "common/net/listen_addresses.h"
#include "common/proxy_protocol/proxy_version.h"
#include "dataplane/codec/codec.h"
#include "dataplane/control/codecs.h"
#include "dataplane/control/health_checks.h"
#include "dataplane/stats/traffic_stats.h"
#include "dataplane/table/endpoint_set.h"
#include "dataplane/table/message_service.h"
#include "trunkline/v1/discovery.pb.h"
#include "trunkline/v1/service.pb.h"

namespace trunkline {
namespace {

// Limits weights and capacities, which are at most rates: far above any server, and sums stay
// finite.
constexpr double kMaxWeight = 1e18;
// Default number of shared connections to an endpoint for a protocol that allows one request in
// flight per connection, so this many requests proceed at once.
constexpr size_t kExclusiveConnections = 64;

absl::Status InService(const std::string& service, const absl::Status& error) {
  return absl::InvalidArgumentError(absl::StrCat("service ", service, ": ", error.message()));
}

// The rules in service.proto exclude a timeout of 0, which would reset every client.
absl::StatusOr<FlowLimits> ReadLimits(const std::string& service, const v1::FlowLimits& from) {
  if (const absl::Status checked = CheckRules(from, "limits"); !checked.ok()) {
    return InService(service, checked);
  }
  FlowLimits limits;
  if (from.has_connect_timeout()) limits.connect_timeout = ReadDuration(from.connect_timeout());
  if (from.has_idle_timeout()) limits.idle_timeout = ReadDuration(from.idle_timeout());
  if (from.has_first_byte_timeout()) {
    limits.first_byte_timeout = ReadDuration(from.first_byte_timeout());
  }
  if (from.has_max_clients()) limits.max_clients = from.max_clients();
  limits.max_clients_per_source = from.max_clients_per_source();
  return limits;
}

absl::Status CheckWeight(const std::string& where, const char* field, double value) {
  if (std::isfinite(value) && value >= 0 && value <= kMaxWeight) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(where, ": ", field, " must be a number from 0 to ",
                                                 kMaxWeight, "; got ", value));
}

// `previous` is the endpoint with the same id in the previous table, or null.
absl::StatusOr<Endpoint> ReadEndpoint(const std::string& service, const v1::Endpoint& from,
                                      const Endpoint* previous, const Resolver& resolve,
                                      TrafficStats& stats) {
  const std::string where = absl::StrCat("service ", service, ", endpoint ", from.endpoint_id());
  absl::Status numbers = CheckWeight(where, "weight", from.weight());
  numbers.Update(CheckWeight(where, "capacity", from.capacity()));
  if (!numbers.ok()) return numbers;
  const bool same_address = previous != nullptr && previous->address == from.address();
  Endpoint endpoint;
  if (same_address) {
    endpoint = *previous;
  } else {
    endpoint.id = from.endpoint_id();
    endpoint.address = from.address();
    endpoint.stats = stats.Endpoint(service, endpoint.id);
  }
  endpoint.weight = from.draining() ? 0 : from.weight();
  if (same_address && !endpoint.is_name) return endpoint;
  const absl::StatusOr<Address> address = ParseAddress(from.address());
  if (!address.ok()) {
    return absl::InvalidArgumentError(
        absl::StrCat(where, ": address: ", address.status().message()));
  }
  endpoint.is_name = IsHostName(*address);
  endpoint.addresses = resolve(*address);
  return endpoint;
}

// Returns the endpoints of a service, sorted by id. Fails if an id is empty or occurs twice.
absl::StatusOr<std::vector<const v1::Endpoint*>> SortEndpoints(const v1::Service& from) {
  std::vector<const v1::Endpoint*> sorted;
  sorted.reserve(static_cast<size_t>(from.endpoints_size()));
  for (const v1::Endpoint& endpoint : from.endpoints()) {
    if (endpoint.endpoint_id().empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("service ", from.name(), ": an endpoint has no endpoint_id"));
    }
    sorted.push_back(&endpoint);
  }
  const auto id = [](const v1::Endpoint* endpoint) -> const std::string& {
    return endpoint->endpoint_id();
  };
  if (!std::ranges::is_sorted(sorted, {}, id)) std::ranges::sort(sorted, {}, id);
  const auto twice = std::ranges::adjacent_find(sorted, {}, id);
  if (twice == sorted.end()) return sorted;
  return absl::InvalidArgumentError(
      absl::StrCat("service ", from.name(), ": endpoint ", id(*twice), " is listed twice"));
}

bool SameEndpoint(const Endpoint& a, const Endpoint& b) {
  return a.id == b.id && a.address == b.address && a.stats == b.stats &&
         SameAddresses(a.addresses, b.addresses);
}

// Returns a number that is unique in the process, across all tables.
uint64_t NewLayout() {
  static std::atomic<uint64_t> last = 0;
  return ++last;
}

// Takes unchanged endpoints from `previous`, which may be null: snapshots with thousands of
// endpoints arrive twice per second, and usually only their weights change.
absl::Status ReadEndpoints(const v1::Service& from, const EndpointSet* previous,
                           const Resolver& resolve, TrafficStats& stats, EndpointSet& set) {
  const auto sorted = SortEndpoints(from);
  if (!sorted.ok()) return sorted.status();
  set.endpoints.reserve(sorted->size());
  const std::vector<Endpoint> none;
  const std::vector<Endpoint>& old = previous != nullptr ? previous->endpoints : none;
  size_t next = 0;
  for (const v1::Endpoint* item : *sorted) {
    while (next < old.size() && old[next].id < item->endpoint_id()) ++next;
    const bool known = next < old.size() && old[next].id == item->endpoint_id();
    absl::StatusOr<Endpoint> endpoint =
        ReadEndpoint(from.name(), *item, known ? &old[next] : nullptr, resolve, stats);
    if (!endpoint.ok()) return endpoint.status();
    set.endpoints.push_back(*std::move(endpoint));
  }
  set.weights = MakeWeights(set.endpoints);
  if (set.policy == BalancingPolicy::kMaglev) set.by_client = MakeClientTable(set.endpoints);
  const bool same_layout =
      previous != nullptr && std::ranges::equal(old, set.endpoints, SameEndpoint);
  set.layout = same_layout ? previous->layout : NewLayout();
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<const MessageService>> ReadMessage(const std::string& service,
                                                                  const v1::MessageOptions& from,
                                                                  const FlowLimits& limits) {
  absl::StatusOr<std::shared_ptr<const Codec>> codec = MakeCodec(from);
  if (!codec.ok()) return InService(service, codec.status());
  auto message = std::make_shared<MessageService>();
  SharedConnectionOptions& connection = message->connection;
  connection.codec = *std::move(codec);
  connection.idempotent = from.idempotent();
  connection.greeting = from.greeting() == v1::GREETING_ONE_MESSAGE;
  connection.connect_timeout = limits.connect_timeout;
  if (connection.codec->one_at_a_time()) message->max_shared = kExclusiveConnections;
  if (from.has_reply_timeout()) connection.reply_timeout = ReadDuration(from.reply_timeout());
  if (from.has_idle_timeout()) connection.idle_timeout = ReadDuration(from.idle_timeout());
  if (from.has_max_in_flight()) connection.max_in_flight = from.max_in_flight();
  if (from.has_shared_connections()) message->max_shared = from.shared_connections();
  if (from.has_max_connections()) message->max_connections = from.max_connections();
  return message;
}

absl::Status ReadMode(const v1::Service& from, EndpointSet& set) {
  set.forwarding_key = absl::StrCat(from.mode(), from.message().SerializeAsString(), "/",
                                    absl::FormatDuration(set.limits.connect_timeout));
  switch (from.mode()) {
    case v1::FORWARDING_MODE_TUNNEL:
      return absl::OkStatus();
    case v1::FORWARDING_MODE_DIRECT:
      set.mode = ForwardingMode::kDirect;
      return absl::OkStatus();
    case v1::FORWARDING_MODE_MESSAGE: {
      set.mode = ForwardingMode::kMessage;
      auto message = ReadMessage(from.name(), from.message(), set.limits);
      if (!message.ok()) return message.status();
      set.message = *std::move(message);
      if (const uint64_t fingerprint = set.message->connection.codec->fingerprint();
          fingerprint != 0) {
        absl::StrAppend(&set.forwarding_key, "/", fingerprint);
      }
      return absl::OkStatus();
    }
    default:
      return absl::InvalidArgumentError(absl::StrCat(
          "service ", from.name(), ": mode ", v1::ForwardingMode_Name(from.mode()),
          " is not known to this proxy; expected ", EnumChoices(*v1::ForwardingMode_descriptor())));
  }
}

absl::Status ReadProxyProtocol(const v1::Service& from, EndpointSet& set) {
  set.accept_proxy_protocol = from.accept_proxy_protocol();
  const std::optional<ProxyVersion> send = ReadProxyVersion(from.send_proxy_protocol());
  if (!send) {
    return absl::InvalidArgumentError(
        absl::StrCat("service ", from.name(), ": send_proxy_protocol ", from.send_proxy_protocol(),
                     " is not known to this proxy"));
  }
  // Clients share connections in this mode, so a header could name only one of them.
  if (*send != ProxyVersion::kNone && set.mode == ForwardingMode::kMessage) {
    return absl::InvalidArgumentError(absl::StrCat(
        "service ", from.name(),
        ": send_proxy_protocol is not possible in message mode, where clients share connections"));
  }
  set.send_proxy_protocol = *send;
  return absl::OkStatus();
}

absl::Status ReadBalancing(const v1::Service& from, EndpointSet& set) {
  const std::optional<BalancingPolicy> policy = ReadPolicy(from.policy());
  if (!policy) {
    return absl::InvalidArgumentError(absl::StrCat("service ", from.name(), ": policy ",
                                                   from.policy(), " is not known to this proxy"));
  }
  set.policy = *policy;
  return absl::OkStatus();
}

absl::Status ReadHealthCheck(const v1::Service& from, EndpointSet& set) {
  auto check =
      MakeHealthCheck(from, set.message != nullptr ? set.message->connection.codec : nullptr);
  if (!check.ok()) return InService(from.name(), check.status());
  set.health_check = *std::move(check);
  // It has one of the connections for itself (ShareOf).
  const bool shares = set.message != nullptr && set.message->max_connections > 0;
  if (shares && set.health_check != nullptr) set.forwarding_key += "/checked";
  return absl::OkStatus();
}

absl::StatusOr<std::shared_ptr<EndpointSet>> ReadService(const v1::Service& from,
                                                         const EndpointSet* previous,
                                                         const Resolver& resolve,
                                                         TrafficStats& stats) {
  if (from.name().empty()) return absl::InvalidArgumentError("a service has no name");
  if (static_cast<size_t>(from.endpoints_size()) > kMaxServiceEndpoints) {
    return absl::InvalidArgumentError(
        absl::StrCat("service ", from.name(), ": more than ", kMaxServiceEndpoints, " endpoints"));
  }
  const auto unusable = FindListenErrors("listener.address", from.listener().address());
  if (!unusable.empty()) {
    return InService(from.name(), absl::InvalidArgumentError(unusable.front()));
  }
  auto set = std::make_shared<EndpointSet>();
  set->service = from.name();
  for (const std::string& address : from.listener().address()) {
    set->listen.push_back(*ParseAddress(address));
  }
  set->authority = absl::StrCat(from.name(), ":", set->listen.front().port);
  absl::StatusOr<FlowLimits> limits = ReadLimits(from.name(), from.limits());
  if (!limits.ok()) return limits.status();
  set->limits = *limits;
  if (absl::Status read = ReadMode(from, *set); !read.ok()) return read;
  if (absl::Status read = ReadBalancing(from, *set); !read.ok()) return read;
  if (absl::Status read = ReadProxyProtocol(from, *set); !read.ok()) return read;
  if (absl::Status read = ReadHealthCheck(from, *set); !read.ok()) return read;
  set->stats = stats.Listener(from.name());
  const absl::Status read = ReadEndpoints(from, previous, resolve, stats, *set);
  if (!read.ok()) return read;
  return set;
}

// A snapshot in which a name occurs twice contradicts itself.
absl::Status CheckNamesAndSize(const v1::Snapshot& snapshot) {
  if (static_cast<size_t>(snapshot.services_size()) > kMaxServices) {
    return absl::InvalidArgumentError(
        absl::StrCat("more than ", kMaxServices, " services: ", snapshot.services_size()));
  }
  std::set<std::string_view> names;
  size_t listens = 0;
  for (const v1::Service& service : snapshot.services()) {
    listens += static_cast<size_t>(service.listener().address_size());
    if (names.insert(service.name()).second) continue;
    return absl::InvalidArgumentError(absl::StrCat("service ", service.name(), " is listed twice"));
  }
  if (listens <= kMaxClusterListens) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("more than ", kMaxClusterListens, " addresses to listen on: ", listens));
}

bool SameCheck(const EndpointSet& a, const EndpointSet& b) {
  if (a.health_check == nullptr || b.health_check == nullptr) {
    return a.health_check == b.health_check;
  }
  return *a.health_check == *b.health_check;
}

bool SameButWeights(const EndpointSet& a, const EndpointSet& b) {
  const auto limits = [](const FlowLimits& l) {
    return std::tuple(l.connect_timeout, l.idle_timeout, l.first_byte_timeout, l.max_clients,
                      l.max_clients_per_source);
  };
  return a.service == b.service && a.listen == b.listen && limits(a.limits) == limits(b.limits) &&
         a.forwarding_key == b.forwarding_key && a.policy == b.policy &&
         a.accept_proxy_protocol == b.accept_proxy_protocol &&
         a.send_proxy_protocol == b.send_proxy_protocol && SameCheck(a, b) && SameLayout(a, b);
}

bool SameSet(const EndpointSet& a, const EndpointSet& b) {
  return SameButWeights(a, b) &&
         std::ranges::equal(a.endpoints, b.endpoints, {}, &Endpoint::weight, &Endpoint::weight);
}

}  // namespace

std::string RefusalText(const std::vector<RefusedService>& refused) {
  std::string text;
  for (const RefusedService& service : refused) {
    absl::StrAppend(
        &text, text.empty() ? "" : "; ", "service ", service.service, " refused, ",
        service.kept ? "former version in service: " : "not in service: ", service.reason);
  }
  return text;
}

absl::StatusOr<std::shared_ptr<const RoutingTable>> BuildRoutingTable(
    const v1::Snapshot& snapshot, const RoutingTable* previous, const Resolver& resolve,
    TrafficStats& stats, std::vector<RefusedService>* refused) {
  if (absl::Status checked = CheckNamesAndSize(snapshot); !checked.ok()) return checked;
  refused->clear();
  auto table = std::make_shared<RoutingTable>();
  table->epoch = snapshot.id().epoch();
  table->version = snapshot.id().version();
  absl::flat_hash_map<std::string_view, std::shared_ptr<const EndpointSet>> before;
  if (previous != nullptr) {
    for (const auto& set : previous->services) before[set->service] = set;
  }
  ListenAddresses listens;
  for (const v1::Service& item : snapshot.services()) {
    const auto found = before.find(item.name());
    const auto old = found != before.end() ? found->second : nullptr;
    absl::StatusOr<std::shared_ptr<EndpointSet>> set = ReadService(item, old.get(), resolve, stats);
    const absl::Status usable =
        set.ok() ? listens.AddAll(item.name(), (*set)->listen) : set.status();
    if (usable.ok()) {
      const bool same = old != nullptr && SameSet(*old, **set);
      table->services.push_back(same ? old : *std::move(set));
      continue;
    }
    const bool kept = old != nullptr && listens.AddAll(item.name(), old->listen).ok();
    if (kept) table->services.push_back(old);
    refused->push_back({item.name(), std::string(usable.message()), kept});
  }
  const bool none = static_cast<int>(refused->size()) == snapshot.services_size();
  if (!refused->empty() && none) return absl::InvalidArgumentError(refused->front().reason);
  return table;
}

bool OnlyWeightsMoved(const RoutingTable& before, const RoutingTable& after) {
  const auto takes = [](const Endpoint& endpoint) { return endpoint.weight > 0; };
  const auto alike = [&](const auto& a, const auto& b) {
    return a == b || (SameButWeights(*a, *b) &&
                      std::ranges::equal(a->endpoints, b->endpoints, {}, takes, takes));
  };
  return std::ranges::equal(before.services, after.services, alike);
}

}  // namespace trunkline
