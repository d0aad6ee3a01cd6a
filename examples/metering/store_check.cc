#include "examples/metering/store_check.h"

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "examples/metering/acked_log.h"
#include "examples/metering/payload_hash.h"
#include "examples/metering/sqlite_handle.h"

namespace trunkline::metering {
namespace {

constexpr size_t kExamples = 10;

// Meter and sequence.
using Key = std::pair<uint64_t, uint64_t>;
struct Seen {
  uint64_t acked_hash = 0;
  bool acked = false;
  uint32_t copies = 0;
};

struct Row {
  Key key;
  uint64_t row_hash;
  std::string_view payload;
};

class Checker {
 public:
  absl::Status AddAcked(const std::string& path);
  absl::Status AddDatabase(const std::string& path);
  StoreCheckResult Finish();

 private:
  void AddRow(const Row& row, const std::string& database);
  void Wrong(const Key& key, const std::string& what);

  absl::flat_hash_map<Key, Seen> readings_;
  StoreCheckResult result_;
};

void Checker::Wrong(const Key& key, const std::string& what) {
  if (result_.examples.size() >= kExamples) return;
  result_.examples.push_back(
      absl::StrFormat("meter %d sequence %d: %s", key.first, key.second, what));
}

absl::Status Checker::AddAcked(const std::string& path) {
  return ReadAckedLog(path, [this](const AckedReading& reading) {
    const Key key(reading.meter_id, reading.sequence);
    Seen& seen = readings_[key];
    if (seen.acked && seen.acked_hash != reading.payload_hash) {
      ++result_.corrupted;
      Wrong(key, "acknowledged twice with different payloads");
    }
    if (!seen.acked) ++result_.acknowledged;
    seen.acked = true;
    seen.acked_hash = reading.payload_hash;
  });
}

absl::Status Checker::AddDatabase(const std::string& path) {
  // Opened for writing, since SQLite must recover the log of a killed server before it can read.
  absl::StatusOr<SqliteHandle> db = OpenSqlite(path, SQLITE_OPEN_READWRITE);
  if (!db.ok()) return db.status();
  absl::StatusOr<SqliteStatement> rows =
      PrepareSql(db->get(), "SELECT meter_id, sequence, payload_hash, payload FROM readings");
  if (!rows.ok()) return absl::UnavailableError(absl::StrCat(path, ": ", rows.status().message()));

  int step = SQLITE_ROW;
  while ((step = sqlite3_step(rows->get())) == SQLITE_ROW) {
    sqlite3_stmt* row = rows->get();
    const auto* payload = static_cast<const char*>(sqlite3_column_blob(row, 3));
    const auto size = static_cast<size_t>(sqlite3_column_bytes(row, 3));
    AddRow({.key = {static_cast<uint64_t>(sqlite3_column_int64(row, 0)),
                    static_cast<uint64_t>(sqlite3_column_int64(row, 1))},
            .row_hash = static_cast<uint64_t>(sqlite3_column_int64(row, 2)),
            .payload = {payload, size}},
           path);
  }
  if (step != SQLITE_DONE) return SqliteError(db->get(), path);
  return absl::OkStatus();
}

void Checker::AddRow(const Row& row, const std::string& database) {
  ++result_.stored;
  Seen& seen = readings_[row.key];
  if (++seen.copies == 2) {
    ++result_.duplicated;
    Wrong(row.key, absl::StrCat("stored again in ", database));
  }
  const uint64_t hash = PayloadHash(row.payload);
  if (hash != row.row_hash || (seen.acked && hash != seen.acked_hash)) {
    ++result_.corrupted;
    Wrong(row.key, absl::StrFormat("payload in %s has hash %016x, expected %016x", database, hash,
                                   seen.acked ? seen.acked_hash : row.row_hash));
  }
}

StoreCheckResult Checker::Finish() {
  for (const auto& [key, seen] : readings_) {
    if (!seen.acked) ++result_.unacknowledged;
    if (!seen.acked || seen.copies > 0) continue;
    ++result_.missing;
    Wrong(key, "acknowledged, and in no database");
  }
  return std::move(result_);
}

}  // namespace

absl::StatusOr<StoreCheckResult> CheckStores(const std::vector<std::string>& acked_logs,
                                             const std::vector<std::string>& databases) {
  Checker checker;
  for (const std::string& path : acked_logs) {
    if (absl::Status status = checker.AddAcked(path); !status.ok()) return status;
  }
  for (const std::string& path : databases) {
    if (absl::Status status = checker.AddDatabase(path); !status.ok()) return status;
  }
  return checker.Finish();
}

}  // namespace trunkline::metering
