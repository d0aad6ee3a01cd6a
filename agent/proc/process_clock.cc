#include "agent/proc/process_clock.h"

#include <time.h>

#include <cerrno>
#include <cstdint>
#include <ctime>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace trunkline {
namespace {

constexpr uint64_t kNanosPerSecond = 1'000'000'000;

absl::Status Failed(int error, int pid) {
  return absl::ErrnoToStatus(error == ESRCH ? ENOENT : error,
                             absl::StrCat("the CPU clock of process ", pid));
}

}  // namespace

absl::StatusOr<uint64_t> ProcessCpuNanos(int pid) {
  clockid_t clock = 0;
  // 0 would be the clock of this process.
  if (pid <= 0) return Failed(ESRCH, pid);
  if (const int error = clock_getcpuclockid(pid, &clock); error != 0) return Failed(error, pid);
  timespec used = {};
  if (clock_gettime(clock, &used) == 0) {
    return static_cast<uint64_t>(used.tv_sec) * kNanosPerSecond +
           static_cast<uint64_t>(used.tv_nsec);
  }
  // The kernel no longer knows the clock of a process that has ended since.
  return Failed(errno == EINVAL ? ESRCH : errno, pid);
}

}  // namespace trunkline
