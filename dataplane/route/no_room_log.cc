#include "dataplane/route/no_room_log.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "common/base/clock.h"
#include "common/observe/log.h"
#include "dataplane/route/carrier.h"
#include "dataplane/route/endpoint_state.h"
#include "dataplane/table/endpoint_set.h"

namespace trunkline {
namespace {

bool IsUsable(const EndpointState& state) {
  return state.carrier != nullptr && state.carrier->usable();
}

bool IsHealthy(const EndpointState& state) {
  const bool reachable = state.full || IsUsable(state);
  return state.endpoint().weight > 0 && state.cell->ejected.Value() == 0 && reachable;
}

// Why the endpoints of a service take no client: "endpoints: 2 unreachable, 1 without a free
// connection".
std::string DescribeEndpoints(NoRoomLog::States states, uint32_t max_connections) {
  if (states.empty()) return "it has no endpoints";
  size_t unweighted = 0;
  size_t full = 0;
  size_t unreachable = 0;
  size_t ejected = 0;
  size_t busy = 0;
  // While none is healthy, ejected ones are used.
  const bool avoids_ejected =
      std::ranges::any_of(states, [](const auto& state) { return IsHealthy(*state); });
  for (const auto& state : states) {
    const bool avoided = avoids_ejected && state->cell->ejected.Value() != 0;
    size_t& count = state->endpoint().weight <= 0 ? unweighted
                    : state->full                 ? full
                    : !IsUsable(*state)           ? unreachable
                    : avoided                     ? ejected
                                                  : busy;
    ++count;
  }
  std::vector<std::string> parts;
  if (unweighted > 0) parts.push_back(absl::StrCat(unweighted, " with weight 0"));
  if (unreachable > 0) parts.push_back(absl::StrCat(unreachable, " unreachable"));
  if (ejected > 0) {
    parts.push_back(absl::StrCat(ejected, " ejected after failed connects or health checks"));
  }
  if (full > 0) parts.push_back(absl::StrCat(full, " with all streams in use"));
  if (busy > 0) {
    const std::string limit =
        max_connections > 0
            ? absl::StrCat(" (max_connections allows this worker ", max_connections, " to each)")
            : "";
    parts.push_back(absl::StrCat(busy, " without a free connection", limit));
  }
  return absl::StrCat("endpoints: ", absl::StrJoin(parts, ", "));
}

}  // namespace

void NoRoomLog::EndpointsAreFull(const EndpointSet& set, States states, MonotonicTime now) {
  const auto more = full_.Admit(now);
  if (!more) return;
  const auto first =
      std::find_if(states.begin(), states.end(), [](const auto& state) { return state->full; });
  if (first == states.end()) return;
  LogWarn("clients of service {} wait, at most {}, because endpoint {} is full: {}{}", set.service,
          absl::FormatDuration(set.limits.connect_timeout), (*first)->endpoint().id,
          (*first)->carrier->DescribeFull(), *more);
}

void NoRoomLog::WaitedInVain(const EndpointSet& set, States states, uint32_t max_connections,
                             MonotonicTime now) {
  const auto more = in_vain_.Admit(now);
  if (!more) return;
  LogWarn("a client of service {} found no endpoint within {} and was refused; {}{}", set.service,
          absl::FormatDuration(set.limits.connect_timeout),
          DescribeEndpoints(states, max_connections), *more);
}

void NoRoomLog::QueueIsFull(const EndpointSet& set, size_t pending, MonotonicTime now) {
  const auto more = queue_.Admit(now);
  if (!more) return;
  LogWarn(
      "a client of service {} was refused at once: {} clients of this worker, the most that may, "
      "wait for an endpoint already{}",
      set.service, pending, *more);
}

}  // namespace trunkline
