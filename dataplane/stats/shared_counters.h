// Counters of shared connections, written by the worker that owns them (see common/base/metrics.h).
#pragma once

#include "common/base/metrics.h"

namespace trunkline {

// What shared connections count; one set a worker.
struct SharedCounters {
  Counter requests;
  Counter replies;
  Counter replies_discarded;  // the client had left
  Counter replies_unmatched;  // an id that nobody waits for
  Counter resent;             // requests that moved to another connection
  Counter reply_timeouts;
  Counter protocol_errors;
  Counter bytes_read;
  Counter bytes_written;
  Counter reads;
  Counter writes;
};

}  // namespace trunkline
