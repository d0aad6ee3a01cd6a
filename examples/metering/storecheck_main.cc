// storecheck checks that every acknowledged reading is in the databases exactly once.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/str_format.h"
#include "common/base/atomic_file.h"
#include "examples/metering/store_check.h"

namespace trunkline::metering {
namespace {

std::string Json(const StoreCheckResult& r) {
  return absl::StrFormat(
      R"({"acknowledged": %d, "stored": %d, "missing": %d, "duplicated": %d, "corrupted": %d, )"
      R"("unacknowledged": %d, "ok": %s})"
      "\n",
      r.acknowledged, r.stored, r.missing, r.duplicated, r.corrupted, r.unacknowledged,
      r.ok() ? "true" : "false");
}

int Check(const std::vector<std::string>& acked, const std::vector<std::string>& databases,
          const std::string& json) {
  absl::StatusOr<StoreCheckResult> result = CheckStores(acked, databases);
  if (!result.ok()) {
    fprintf(stderr, "storecheck: %s\n", std::string(result.status().message()).c_str());
    return 2;
  }
  printf("acknowledged    %lu\nstored          %lu (%lu of them never acknowledged)\n",
         result->acknowledged, result->stored, result->unacknowledged);
  printf("missing         %lu\nduplicated      %lu\ncorrupted       %lu\n", result->missing,
         result->duplicated, result->corrupted);
  for (const std::string& example : result->examples) printf("  %s\n", example.c_str());
  if (!json.empty() && !WriteFileAtomically(json, Json(*result)).ok()) {
    fprintf(stderr, "storecheck: %s cannot be written\n", json.c_str());
    return 2;
  }
  return result->ok() ? 0 : 1;
}

}  // namespace
}  // namespace trunkline::metering

int main(int argc, char** argv) {
  std::vector<std::string> acked, databases;
  std::string json;
  CLI::App app(
      "Checks that every acknowledged reading is in the databases exactly once.\n"
      "Exit codes: 0 if they are, 1 if they are not, 2 if a file cannot be read.");
  app.set_version_flag("--version", std::string("storecheck ") + METERING_VERSION);
  app.add_option("--acked", acked, "file that collectors wrote with --acked; may be repeated")
      ->required();
  app.add_option("--db", databases, "database of a meterstore; may be repeated")->required();
  app.add_option("--json", json, "file for the result as JSON");
  CLI11_PARSE(app, argc, argv);
  return trunkline::metering::Check(acked, databases, json);
}
