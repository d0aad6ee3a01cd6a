#include "dataplane/flow/flow.h"

#include <algorithm>
#include <cstddef>

namespace trunkline {
namespace {

// Including the first try.
constexpr size_t kMaxTries = 3;

}  // namespace

bool Flow::tried(const EndpointState* endpoint) const {
  return std::find(tried_.begin(), tried_.end(), endpoint) != tried_.end();
}

bool Flow::has_tries_left() const { return tried_.size() + 1 < kMaxTries; }

bool Flow::NoteTry() {
  if (!has_tries_left()) return false;
  tried_.push_back(endpoint_);
  return true;
}

}  // namespace trunkline
