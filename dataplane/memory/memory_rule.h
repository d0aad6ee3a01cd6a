// What a proxy does as its memory fills, and who pays for it.
//
//   80 % of the budget   windows of streams grow no more                  until it is below 75 %
//   95 %                 clients are reset, until it is below 90 %
//   98 %                 nobody new is taken                              until it is below 95 %
//
// Who is reset: those for which most is kept, and first those whose oldest byte has waited for
// seconds, who do not read or hardly. Up to 98 % only they are, so that a client that reads pays
// for none that does not. Above, all are that hold anything, unless all of it together is too
// little to matter: then it is not they who fill the memory.
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

// What follows from the last reading and those before. Nothing, before the first.
class MemoryLevel {
 public:
  static constexpr double kGrowthStops = 0.80;
  static constexpr double kGrowthResumes = 0.75;
  static constexpr double kShedAbove = 0.95;
  static constexpr double kShedTo = 0.90;
  static constexpr double kAcceptStops = 0.98;
  static constexpr double kAcceptResumes = 0.95;

  void OnReading(const MemoryReading& reading);

  bool windows_may_grow() const { return !growth_stopped_; }
  bool takes_clients() const { return !accept_stopped_; }
  // Of what is kept for clients, this much has to go now; 0: nothing.
  int64_t bytes_to_shed() const { return bytes_to_shed_; }
  // Clients that still read are no longer spared.
  bool urgent() const { return accept_stopped_; }
  // How much more may be used before clients are reset.
  int64_t headroom_bytes() const { return headroom_bytes_; }

 private:
  bool growth_stopped_ = false;
  bool shedding_ = false;
  bool accept_stopped_ = false;
  int64_t bytes_to_shed_ = 0;
  int64_t headroom_bytes_ = 0;
};

// What is kept for one client.
struct Holding {
  size_t bytes = 0;
  absl::Duration age;  // so long the oldest of it has waited
};

// Whose bytes are this old does not read, or less than 21 KiB/s of a window of 64 KiB.
inline constexpr absl::Duration kStalledAfter = absl::Seconds(3);
// Less than that is not worth a client: a page of memory.
inline constexpr size_t kLeastShedBytes = 4096;

// Whom to reset, as indexes into `holdings`, in this order: as many as hold `bytes_to_shed`, or all
// that may be. Of equals the one goes whose bytes are older, then the one that comes first.
std::vector<size_t> ChooseToShed(std::span<const Holding> holdings, int64_t bytes_to_shed,
                                 bool urgent);

}  // namespace trunkline
