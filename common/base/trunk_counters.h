// Counters of trunks, written by the worker that owns them (see common/base/metrics.h).
#pragma once

#include "common/base/metrics.h"

namespace trunkline {

// One set per worker, stored by its owner.
struct TrunkCounters {
  Counter bytes_read;
  Counter bytes_written;
  Counter reads;
  Counter writes;
  Counter ping_timeouts;
  Counter protocol_errors;
  Counter tls_failures;
};

}  // namespace trunkline
