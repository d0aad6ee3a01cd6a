// Counters of shared upstream connections, written by the worker that owns them (see
// common/base/metrics.h).
#pragma once

#include "common/base/metrics.h"

namespace trunkline {

// One set per worker.
struct SharedCounters {
  Counter requests;
  Counter replies;
  Counter replies_discarded;        // the client had left
  Counter replies_unmatched;        // no request in flight has their id
  Counter resent;                   // requests sent again on another connection
  Counter one_way_discarded_bytes;  // sent by servers whose messages have no replies
  Counter reply_timeouts;
  Counter protocol_errors;
  Counter bytes_read;
  Counter bytes_written;
  Counter reads;
  Counter writes;
};

}  // namespace trunkline
