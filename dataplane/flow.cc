#include "dataplane/flow.h"

#include <algorithm>

#include "dataplane/service_router.h"

namespace trunkline {
namespace {

// First try included.
constexpr size_t kMaxTries = 3;

}  // namespace

bool Flow::tried(const EndpointState* endpoint) const {
  return std::find(tried_.begin(), tried_.end(), endpoint) != tried_.end();
}

bool Flow::TryElsewhere() {
  if (tried_.size() + 1 >= kMaxTries) return false;
  tried_.push_back(endpoint_);
  router_.Release(*this);
  return router_.Retry(*this);
}

}  // namespace trunkline
