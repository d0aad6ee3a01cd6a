#include "dataplane/table/maglev_table.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string_view>
#include <vector>

namespace trunkline {
namespace {

constexpr uint32_t kFree = std::numeric_limits<uint32_t>::max();

// The slots in the order in which an endpoint wants them: offset, offset + step, ... The number of
// slots is prime, so this visits every one.
class Preferences {
 public:
  Preferences(std::string_view id, double weight) : weight(weight) {
    const uint64_t hash = StableHash(id);
    next_ = hash % MaglevTable::kSlots;
    step_ = (hash >> 32) % (MaglevTable::kSlots - 1) + 1;
  }

  size_t Next() {
    const size_t slot = next_;
    next_ = (next_ + step_) % MaglevTable::kSlots;
    return slot;
  }

  double weight;
  double due = 0;  // slots that the endpoint may take now

 private:
  size_t next_;
  size_t step_;
};

}  // namespace

uint64_t StableHash(std::string_view bytes) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char byte : bytes) hash = (hash ^ static_cast<uint8_t>(byte)) * 0x100000001b3;
  hash ^= hash >> 30;
  hash *= 0xbf58476d1ce4e5b9;
  hash ^= hash >> 27;
  hash *= 0x94d049bb133111eb;
  return hash ^ hash >> 31;
}

MaglevTable::MaglevTable(std::span<const std::string_view> ids, std::span<const double> weights) {
  std::vector<Preferences> endpoints;
  std::vector<uint32_t> indexes;
  double largest = 0;
  for (uint32_t i = 0; i < ids.size(); ++i) {
    if (weights[i] <= 0) continue;
    endpoints.emplace_back(ids[i], weights[i]);
    indexes.push_back(i);
    largest = std::max(largest, weights[i]);
  }
  if (endpoints.empty()) return;
  slots_.assign(kSlots, kFree);
  size_t taken = 0;
  while (taken < kSlots) {
    for (size_t e = 0; e < endpoints.size() && taken < kSlots; ++e) {
      Preferences& endpoint = endpoints[e];
      endpoint.due += endpoint.weight / largest;
      if (endpoint.due < 1) continue;
      endpoint.due -= 1;
      size_t slot = endpoint.Next();
      while (slots_[slot] != kFree) slot = endpoint.Next();
      slots_[slot] = indexes[e];
      ++taken;
    }
  }
}

}  // namespace trunkline
