// meterstore is the storage server of the metering example.
#include <sys/stat.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/net/address.h"
#include "examples/metering/connection_server.h"
#include "examples/metering/cost_model.h"
#include "examples/metering/flag_values.h"
#include "examples/metering/meter_service.h"
#include "examples/metering/program_start.h"
#include "examples/metering/reading_store.h"

namespace trunkline::metering {
namespace {

struct Flags {
  std::string database;
  ConnectionServer::Options server;
  MeterService::Options service;
  absl::Duration stop_grace = absl::Seconds(10);
};

void Declare(CLI::App& app, Flags& flags) {
  app.set_version_flag("--version", std::string("meterstore ") + METERING_VERSION);
  AddAddresses(app, "--listen", flags.server.listen,
               "host:port (port 0 selects a free port) or unix:/path; may be repeated")
      ->required();
  app.add_option("--database", flags.database,
                 "SQLite file, which the servers of one machine may share")
      ->required();
  app.add_option_function<std::string>(
      "--cost",
      [&flags](const std::string& text) { Check(ParseCost(text, &flags.service.work.cost)); },
      "CPU time per reading, for example 0.5ms-2ms (0)");
  app.add_option("--upload-factor", flags.service.work.cost.upload_factor,
                 "factor on the cost of an upload (10)");
  app.add_option_function<std::string>(
      "--tail",
      [&flags](const std::string& text) { Check(ParseTail(text, &flags.service.work.cost)); },
      "share of readings with another cost, for example 1%:50ms");
  app.add_option("--cost-seed", flags.service.work.cost.seed,
                 "seed of the costs; equal seeds make equal work (1)");
  app.add_option("--threads", flags.service.work.threads, "threads that spend this CPU time (2)")
      ->check(CLI::Range(1, 256));
  AddDuration(app, "--max-wait", flags.service.work.max_wait,
              "readings that wait longer for a thread are answered BUSY (1s)");
  app.add_option("--max-waiting", flags.service.max_waiting,
                 "limit of unacknowledged readings; further ones are answered BUSY (4096)");
  app.add_option("--max-connections", flags.server.max_connections,
                 "limit of connections; further ones wait in the listen queue (16000)");
  AddDuration(app, "--idle", flags.server.idle_timeout,
              "time after which an idle connection is closed (60s)");
  app.add_option("--commit-group", flags.service.commit.max_group,
                 "limit of readings per commit (256)");
  AddDuration(app, "--commit-wait", flags.service.commit.max_wait,
              "time that a reading waits for others to share its commit (5ms)");
  AddDuration(app, "--stop-grace", flags.stop_grace,
              "time to commit and acknowledge readings after SIGTERM (10s)");
}

int Fail(const absl::Status& status) {
  fprintf(stderr, "meterstore: %s\n", std::string(status.message()).c_str());
  return 1;
}

int Serve(Flags flags) {
  absl::StatusOr<std::unique_ptr<ReadingStore>> store = ReadingStore::Open(flags.database);
  if (!store.ok()) return Fail(store.status());

  MeterService* service = nullptr;  // set before the loop runs
  absl::StatusOr<std::unique_ptr<ConnectionServer>> server = ConnectionServer::Listen(
      flags.server, [&service](ConnectionId connection, std::string_view message) {
        return service->Receive(connection, message);
      });
  if (!server.ok()) return Fail(server.status());
  MeterService running(flags.service, *std::move(store), **server);
  service = &running;

  size_t unanswered = 0;
  std::thread loop([&] { unanswered = (*server)->Run(flags.stop_grace); });
  for (const Address& address : (*server)->addresses()) {
    printf("listening on %s\n", address.ToString().c_str());
  }
  fflush(stdout);
  WaitForStopSignal();
  (*server)->Stop();
  loop.join();
  printf("stopped; %zu readings left unacknowledged\n", unanswered);
  return 0;
}

}  // namespace
}  // namespace trunkline::metering

int main(int argc, char** argv) {
  using namespace trunkline::metering;
  Flags flags;
  CLI::App app("Stores energy readings in SQLite and acknowledges each once it is on disk.");
  Declare(app, flags);
  CLI11_PARSE(app, argc, argv);
  RaiseDescriptorLimit();
  KeepStopSignals();
  // Group members may connect to the unix socket: an agent often runs as another user than its
  // server.
  umask(S_IRWXO);
  return Serve(std::move(flags));
}
