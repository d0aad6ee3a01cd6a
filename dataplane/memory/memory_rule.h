// Decides how a proxy reacts as its memory fills:
//
//   80 % of the budget   windows and reply buffers       until it is below 75 %
//                        stop growing
//   95 %                 clients are reset               until it is below 90 %
//   98 %                 no new clients are accepted     until it is below 95 %
//
// Stalled clients are reset first: they read little or nothing, so that their oldest byte has
// waited for seconds. Within each group, the client with the most buffered bytes comes first. Below
// 98 %, only stalled clients are reset, so that a client that reads is not reset because of others.
// Above, any client with buffered bytes may be, unless all buffered bytes together are too few to
// matter: then they are not the cause.
//
// Pure; externally synchronized. Sizes in bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "absl/time/time.h"

namespace trunkline {

struct MemoryReading {
  int64_t used_bytes = 0;
  int64_t budget_bytes = 1;

  double fullness() const {
    return static_cast<double>(used_bytes) / static_cast<double>(budget_bytes);
  }
};

// The state that follows from all readings so far. Nothing is stopped before the first reading.
class MemoryLevel {
 public:
  static constexpr double kGrowthStops = 0.80;
  static constexpr double kGrowthResumes = 0.75;
  static constexpr double kShedAbove = 0.95;
  static constexpr double kShedTo = 0.90;
  static constexpr double kAcceptStops = 0.98;
  static constexpr double kAcceptResumes = 0.95;
  static_assert(kGrowthResumes < kGrowthStops && kGrowthStops < kShedTo && kShedTo < kShedAbove &&
                kShedAbove <= kAcceptResumes && kAcceptResumes < kAcceptStops);

  void OnReading(const MemoryReading& reading);

  bool windows_may_grow() const { return !growth_stopped_; }
  bool takes_clients() const { return !accept_stopped_; }
  // Buffered bytes to free now. 0: none.
  int64_t bytes_to_shed() const { return bytes_to_shed_; }
  // Returns true if clients that still read may be reset too.
  bool urgent() const { return accept_stopped_; }
  // Bytes that may still be used before clients are reset.
  int64_t headroom_bytes() const { return headroom_bytes_; }

 private:
  bool growth_stopped_ = false;
  bool shedding_ = false;
  bool accept_stopped_ = false;
  int64_t bytes_to_shed_ = 0;
  int64_t headroom_bytes_ = 0;
};

// The bytes buffered for one client.
struct Holding {
  size_t bytes = 0;
  absl::Duration age;  // how long the oldest byte has waited
};

// A client whose oldest byte is older than this has stalled: it reads nothing, or less than 21
// KiB/s with a window of 64 KiB.
inline constexpr absl::Duration kStalledAfter = absl::Seconds(3);
// One page. A client with fewer buffered bytes is not worth a reset.
inline constexpr size_t kLeastShedBytes = 4096;

// Chooses clients to reset, as indexes into `holdings`, in this order: as many as have
// `bytes_to_shed` buffered together, or all that are eligible. Among equals, the client with older
// bytes comes first, then the lower index.
std::vector<size_t> ChooseToShed(std::span<const Holding> holdings, int64_t bytes_to_shed,
                                 bool urgent);

}  // namespace trunkline
