#include "agent/sample/target_listeners.h"

#include <algorithm>
#include <cstdint>
#include <set>
#include <vector>

#include "agent/proc/sock_diag.h"
#include "common/net/ip_port.h"

namespace trunkline {
namespace {

// In ascending order of the kernel's preference; see compute_score in net/ipv4/inet_hashtables.c.
enum class Match { kNone, kBothFamilies, kWildcard, kExactOfBoth, kExact };

bool IsWildcard(const IpPort& address) {
  return std::all_of(address.ip.begin(), address.ip.end(), [](uint8_t byte) { return byte == 0; });
}

Match MatchOf(const ListeningSocket& listener, const IpPort& target) {
  IpPort bound;
  bound.ip = listener.address;
  bound.family = listener.ipv6 ? IpPort::Family::kIpv6 : IpPort::Family::kIpv4;
  const bool wildcard = IsWildcard(bound.Unmapped());
  if (target.family == IpPort::Family::kIpv6) {
    if (!listener.ipv6 || bound.Unmapped().family == IpPort::Family::kIpv4) return Match::kNone;
    if (wildcard) return Match::kWildcard;
    return bound.ip == target.ip ? Match::kExact : Match::kNone;
  }
  if (!listener.ipv6) {
    if (wildcard) return Match::kWildcard;
    return bound.ip == target.ip ? Match::kExact : Match::kNone;
  }
  if (listener.only_ipv6) return Match::kNone;
  if (wildcard) return Match::kBothFamilies;
  return bound.Unmapped().family == IpPort::Family::kIpv4 && bound.Unmapped().ip == target.ip
             ? Match::kExactOfBoth
             : Match::kNone;
}

}  // namespace

std::set<uint32_t> InodesOfTarget(const std::vector<ListeningSocket>& listeners,
                                  const IpPort& target) {
  const IpPort wanted = target.Unmapped();
  Match best = Match::kNone;
  std::set<uint32_t> inodes;
  for (const ListeningSocket& listener : listeners) {
    const Match match = MatchOf(listener, wanted);
    // The kernel shows inode 0 for a socket that no process holds any more.
    if (match == Match::kNone || match < best || listener.inode == 0) continue;
    if (match > best) inodes.clear();
    best = match;
    inodes.insert(listener.inode);
  }
  return inodes;
}

}  // namespace trunkline
