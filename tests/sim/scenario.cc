#include "tests/sim/scenario.h"

namespace trunkline::sim {

double Scenario::capacity() const {
  double sum = 0;
  for (const ServerSpec& server : servers) sum += server.capacity();
  return sum;
}

const char* NameOf(Measure measure) {
  switch (measure) {
    case Measure::kImbalance:
      return "max/avg";
    case Measure::kWeights:
      return "weights";
    case Measure::kSwing:
      return "swing";
    case Measure::kMisses:
      return "misses";
    case Measure::kShare:
      return "share";
    case Measure::kSettle:
      return "settle";
    case Measure::kP99:
      return "p99";
  }
  return "";
}

}  // namespace trunkline::sim
