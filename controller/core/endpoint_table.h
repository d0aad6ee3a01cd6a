// Keeps something for each endpoint that took part in the last tick, in the order of that tick.
//
// The stages of a tick visit all endpoints several times, always in the same order. With a map by
// id, each visit would search among thousands of texts; here it is an index. A search by id remains
// possible between ticks.
//
// Pure. Externally synchronized. References are valid until the next Follow or Insert.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "controller/core/weighted_endpoint.h"

namespace trunkline {

template <typename Entry>
class EndpointTable {
 public:
  // Returns the entry of an endpoint, a new one if there is none. Cheap if ids come in ascending
  // order, as from the state file.
  Entry& Insert(const std::string& id) {
    const auto place = std::ranges::lower_bound(ids_, id);
    const auto position = static_cast<size_t>(place - ids_.begin());
    if (place != ids_.end() && *place == id) return entries_[position];
    ids_.insert(place, id);
    return *entries_.insert(entries_.begin() + static_cast<ptrdiff_t>(position), Entry());
  }

  // Makes the i-th entry that of `endpoints[i]`; these are sorted by id. Endpoints that are new get
  // new entries. Calls `gone` with the id and the entry of each one that is no longer there.
  template <typename Gone>
  void Follow(const std::vector<WeightedEndpoint>& endpoints, const Gone& gone) {
    const auto id_of = [](const WeightedEndpoint& weighted) -> const std::string& {
      return weighted.endpoint->key.endpoint_id;
    };
    if (std::ranges::equal(ids_, endpoints, {}, {}, id_of)) return;
    std::vector<std::string> ids;
    std::vector<Entry> entries;
    ids.reserve(endpoints.size());
    entries.reserve(endpoints.size());
    size_t old = 0;
    for (const WeightedEndpoint& weighted : endpoints) {
      const std::string& id = id_of(weighted);
      for (; old < ids_.size() && ids_[old] < id; ++old) gone(ids_[old], entries_[old]);
      ids.push_back(id);
      const bool known = old < ids_.size() && ids_[old] == id;
      entries.push_back(known ? std::move(entries_[old++]) : Entry());
    }
    for (; old < ids_.size(); ++old) gone(ids_[old], entries_[old]);
    ids_ = std::move(ids);
    entries_ = std::move(entries);
  }

  size_t size() const { return entries_.size(); }
  Entry& operator[](size_t position) { return entries_[position]; }
  const Entry& operator[](size_t position) const { return entries_[position]; }
  auto begin() { return entries_.begin(); }
  auto end() { return entries_.end(); }
  auto begin() const { return entries_.begin(); }
  auto end() const { return entries_.end(); }
  // Returns null for an unknown id.
  const Entry* Find(const std::string& id) const {
    const auto place = std::ranges::lower_bound(ids_, id);
    if (place == ids_.end() || *place != id) return nullptr;
    return &entries_[static_cast<size_t>(place - ids_.begin())];
  }

 private:
  std::vector<std::string> ids_;  // sorted
  std::vector<Entry> entries_;    // of ids_
};

}  // namespace trunkline
