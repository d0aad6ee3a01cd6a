#include "dataplane/table/endpoint_set.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/table/alias_table.h"
#include "dataplane/table/maglev_table.h"

namespace trunkline {

std::shared_ptr<const AliasTable> MakeWeights(const std::vector<Endpoint>& endpoints) {
  std::vector<double> weights;
  weights.reserve(endpoints.size());
  for (const Endpoint& endpoint : endpoints) weights.push_back(endpoint.weight);
  return std::make_shared<AliasTable>(weights);
}

std::shared_ptr<const MaglevTable> MakeClientTable(const std::vector<Endpoint>& endpoints) {
  std::vector<std::string_view> ids;
  std::vector<double> weights;
  for (const Endpoint& endpoint : endpoints) {
    ids.push_back(endpoint.id);
    weights.push_back(endpoint.weight);
  }
  return std::make_shared<MaglevTable>(ids, weights);
}

ConnectionShare ShareOf(const EndpointSet& set, size_t worker, size_t workers) {
  const size_t limit = set.message != nullptr ? set.message->max_connections : 0;
  if (limit == 0) return {};
  // Kept for the check, so that it can find out that all other connections hang.
  const size_t most = set.health_check != nullptr && limit > 1 ? limit - 1 : limit;
  const size_t first = std::hash<std::string>()(set.service) % workers;
  const size_t place = (worker + workers - first) % workers;
  const size_t takers = std::min(most, workers);
  return {.limited = true,
          .connections = static_cast<uint32_t>(most / workers + (place < most % workers ? 1 : 0)),
          .taker = (first + place % takers) % workers};
}

}  // namespace trunkline
