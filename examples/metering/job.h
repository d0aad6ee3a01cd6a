// What travels between the stages of a meterstore: a reading with the connection that waits for its
// answer.
#pragma once

#include "common/base/clock.h"
#include "examples/metering/connection_server.h"
#include "examples/metering/metering.pb.h"

namespace trunkline::metering {

struct Job {
  ConnectionId connection = 0;
  Reading reading;
  MonotonicTime arrived;
};

}  // namespace trunkline::metering
