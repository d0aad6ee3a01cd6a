// Decides when an endpoint to which connects fail is ejected, and for how long, where its carrier
// does not probe it: in tunnel mode.
//
// Five connects in a row that were refused or not answered eject an endpoint for the base time,
// with a jitter of 10 % so that workers do not return to it together. Each ejection without a
// successful connect in between adds the base time again, up to five minutes. An ejection ends by
// itself; the endpoint then gets flows as before.
//
// Pure: takes `now` and a random number. Externally synchronized.
#pragma once

#include <cstdint>

#include "absl/time/time.h"
#include "common/base/clock.h"

namespace trunkline {

class OutlierEjection {
 public:
  static constexpr uint32_t kFailuresToEject = 5;
  // Short: a refused connect is retried at another endpoint and costs its client nothing.
  static constexpr absl::Duration kBase = absl::Seconds(5);
  static constexpr absl::Duration kMax = absl::Seconds(300);
  static_assert(kBase <= kMax);

  explicit OutlierEjection(absl::Duration base = kBase) : base_(base) {}

  // One endpoint's record.
  struct Record {
    uint32_t failed_in_row = 0;
    uint32_t ejections = 0;  // without a successful connect in between
    bool ejected = false;
    MonotonicTime until;  // while ejected
  };

  void OnConnected(Record& record) const { record.failed_in_row = record.ejections = 0; }
  // Returns true if this failure ejects the endpoint. `uniform` is a random number in [0, 1).
  [[nodiscard]] bool OnFailed(Record& record, MonotonicTime now, double uniform) const;
  // Returns true if the ejection is over by `now`; the endpoint is no longer ejected.
  [[nodiscard]] bool End(Record& record, MonotonicTime now) const;
  // Returns how long the record's last ejection lasts, without jitter.
  absl::Duration Duration(const Record& record) const;

 private:
  const absl::Duration base_;
};

}  // namespace trunkline
