// collectors is the load generator of the metering example.
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "common/base/atomic_file.h"
#include "common/net/address.h"
#include "common/net/socket.h"
#include "examples/metering/acked_log.h"
#include "examples/metering/collector_fleet.h"
#include "examples/metering/flag_values.h"
#include "examples/metering/program_start.h"
#include "examples/metering/workload.h"

namespace trunkline::metering {
namespace {

// Descriptors for standard streams, epoll and the log, with a reserve.
constexpr size_t kOwnDescriptors = 32;
constexpr double kPeriodSeconds = 30;  // a quarter-hour, played thirty times as fast

struct Flags {
  std::vector<Address> targets;
  CollectorFleet::Options fleet;
  double rate = 0;
  double rate_scale = 1;
  bool keep = false;
  std::string json, acked;
};

void Declare(CLI::App& app, Flags& flags) {
  app.set_version_flag("--version", std::string("collectors ") + METERING_VERSION);
  CollectorFleet::Options& fleet = flags.fleet;
  AddAddresses(app, "--target", flags.targets,
               "host:port or unix:/path of a server; repeat it to spread the load")
      ->required();
  app.add_option("--collectors", fleet.workload.collectors, "number of collectors (10000)")
      ->check(CLI::Range(1, 10'000'000));
  AddSeconds(app, "--seconds", fleet.duration, "seconds to send for (30)");
  app.add_option("--rate", flags.rate, "mean readings per second (collectors / 30)")
      ->check(CLI::PositiveNumber);
  app.add_option("--rate-scale", flags.rate_scale, "the rate as a multiple of its default (1)")
      ->check(CLI::PositiveNumber);
  app.add_flag(
      "--burst,!--no-burst", fleet.workload.burst,
      "the quarter-hour with bursts and outages (default), or the same sizes at Poisson times");
  app.add_option("--seed", fleet.workload.seed,
                 "seed of the workload; equal seeds send equal readings (1)");
  app.add_option(
      "--first-sequence", fleet.workload.first_sequence,
      "first sequence of every meter; reuse a value to resend the same readings (from the clock)");
  AddDuration(app, "--timeout", fleet.timeout, "time limit of one attempt (2s)");
  AddDuration(app, "--grace", fleet.grace,
              "time to await outstanding acknowledgements after the last reading (30s)");
  AddDuration(app, "--slo", fleet.slo, "a reading acknowledged later counts as a miss (200ms)");
  app.add_flag("--keep", flags.keep, "each collector also keeps an idle connection open");
  app.add_option("--json", flags.json, "file for the result as JSON");
  app.add_option("--acked", flags.acked, "file to append acknowledged readings to, for storecheck");
}

// Resolves the targets and derives the options that the flags do not set.
absl::Status Complete(Flags& flags) {
  CollectorFleet::Options& fleet = flags.fleet;
  for (const Address& address : flags.targets) {
    absl::StatusOr<SocketAddress> target = ResolveAddress(address);
    if (!target.ok()) return target.status();
    fleet.targets.push_back(*target);
  }
  const double usual = static_cast<double>(fleet.workload.collectors) / kPeriodSeconds;
  fleet.workload.rate = flags.rate > 0 ? flags.rate : usual * flags.rate_scale;
  fleet.held = flags.keep ? fleet.workload.collectors : 0;

  rlimit limit;
  getrlimit(RLIMIT_NOFILE, &limit);
  if (limit.rlim_cur <= fleet.held + 2 * kOwnDescriptors) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the descriptor limit is ", limit.rlim_cur, ", too low for ", fleet.held,
                     " held connections: raise it (ulimit -n) or use fewer collectors"));
  }
  fleet.max_attempts = std::min(fleet.max_attempts, limit.rlim_cur - fleet.held - kOwnDescriptors);
  return absl::OkStatus();
}

int Fail(const absl::Status& status) {
  fprintf(stderr, "collectors: %s\n", std::string(status.message()).c_str());
  return 1;
}

int Collect(Flags flags) {
  if (absl::Status status = Complete(flags); !status.ok()) return Fail(status);
  absl::StatusOr<AckedLog> log = AckedLog::Open(flags.acked);
  if (!log.ok()) return Fail(log.status());
  const Workload::Options& workload = flags.fleet.workload;
  printf("%lu collectors, %.1f readings/s %s, seed %lu, first sequence %lu\n", workload.collectors,
         workload.rate, workload.burst ? "in bursts" : "at Poisson times", workload.seed,
         workload.first_sequence);

  CollectorFleet fleet(flags.fleet, *log, [](const std::string& line) {
    printf("%s\n", line.c_str());
    fflush(stdout);
  });
  // Detached, since the signal that this thread waits for may never come.
  std::thread([&fleet] {
    WaitForStopSignal();
    fleet.StopSending();
  }).detach();
  absl::StatusOr<bool> complete = fleet.Run();
  if (!complete.ok()) return Fail(complete.status());

  printf("%s", fleet.report().Table().c_str());
  if (!flags.json.empty()) {
    absl::Status status = WriteFileAtomically(flags.json, fleet.report().Json());
    if (!status.ok()) return Fail(status);
  }
  fflush(stdout);
  return *complete ? 0 : 1;
}

}  // namespace
}  // namespace trunkline::metering

int main(int argc, char** argv) {
  using namespace trunkline::metering;
  Flags flags;
  flags.fleet.workload.first_sequence = static_cast<uint64_t>(absl::ToUnixMillis(absl::Now()));
  CLI::App app("Sends energy readings as ten thousand collectors do, until each is acknowledged.");
  Declare(app, flags);
  CLI11_PARSE(app, argc, argv);
  RaiseDescriptorLimit();
  KeepStopSignals();
  return Collect(std::move(flags));
}
