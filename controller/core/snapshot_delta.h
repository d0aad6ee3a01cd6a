// Computes the changes between two snapshots, so that a proxy gets changes and not everything.
//
// Nearly all changes are weights of some of a service's endpoints, at each tick. So a delta names
// such an endpoint by its position in the base and its weight by an integer; everything else of a
// service that changes is rare and is sent as a whole endpoint or a whole service.
//
// Pure. Thread-safe: no state. Errors: Apply only.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "controller/core/snapshot_publisher.h"

namespace trunkline {

// As v1::ServiceDelta.
struct ServiceDelta {
  std::string name;
  struct Number {
    // The endpoint's place in the base, from 0.
    uint32_t position = 0;
    // In units of 1/kNumberUnits.
    uint32_t value = 0;
    friend bool operator==(const Number&, const Number&) = default;
  };
  // Sorted by position.
  std::vector<Number> weights;
  std::vector<Number> capacities;
  // Sorted.
  std::vector<std::string> removed_endpoints;
  // New, or changed in more than these two numbers. Sorted by endpoint id.
  std::vector<SnapshotEndpoint> endpoints;
};

struct ClusterDelta {
  SnapshotVersion base;
  SnapshotVersion id;
  // New, or changed in more than their endpoints.
  std::vector<std::shared_ptr<const SnapshotService>> services;
  std::vector<std::string> removed_services;
  // Changed in their endpoints only.
  std::vector<ServiceDelta> changed_services;
};

// Returns the number of units of 1 / kNumberUnits that `number` consists of; nullopt if that is no
// integer, or too large. Weights and capacities have three digits, so those of 0.01 and more are
// multiples of a unit.
std::optional<uint32_t> InUnits(double number);

ClusterDelta Diff(const ClusterSnapshot& base, const ClusterSnapshot& target);
// Returns nullopt if `delta` is for another base.
std::optional<ClusterSnapshot> Apply(const ClusterSnapshot& base, const ClusterDelta& delta);

}  // namespace trunkline
