// How the endpoints of a service get their weights, and how a proxy picks one for a flow;
// docs/weights.md compares the policies.
#pragma once

namespace trunkline {

enum class BalancingPolicy {
  kAdaptive,      // learned weights; the least loaded for its weight
  kStatic,        // configured weights; in turn, in proportion to them
  kRoundRobin,    // equal weights; in turn
  kLeastRequest,  // configured weights; the least loaded for its weight
  kLeastTime,     // configured weights; the least product of load and time to the first byte
  kRandom,        // configured weights; at random, in proportion to them
  kMaglev,        // configured weights; by a hash of the client's IP address
};

}  // namespace trunkline
