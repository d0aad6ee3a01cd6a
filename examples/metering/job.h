// The value that the stages of a meterstore pass on: a reading and the connection that awaits its
// Ack.
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
