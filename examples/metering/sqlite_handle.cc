#include "examples/metering/sqlite_handle.h"

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"

namespace trunkline::metering {
namespace {

// Longer than any commit or recovery of another server.
constexpr int kLockWaitMs = 5000;

}  // namespace

absl::StatusOr<SqliteHandle> OpenSqlite(const std::string& path, int flags) {
  sqlite3* raw = nullptr;
  const int result = sqlite3_open_v2(path.c_str(), &raw, flags, nullptr);
  SqliteHandle db(raw);
  if (result != SQLITE_OK) return SqliteError(raw, absl::StrCat("opening ", path));
  sqlite3_busy_timeout(raw, kLockWaitMs);
  return db;
}

absl::Status SqliteError(sqlite3* db, const std::string& doing) {
  return absl::UnavailableError(absl::StrCat(doing, ": ", sqlite3_errmsg(db)));
}

absl::Status RunSql(sqlite3* db, const char* sql) {
  if (sqlite3_exec(db, sql, nullptr, nullptr, nullptr) == SQLITE_OK) return absl::OkStatus();
  return SqliteError(db, sql);
}

absl::StatusOr<SqliteStatement> PrepareSql(sqlite3* db, const char* sql) {
  sqlite3_stmt* raw = nullptr;
  if (sqlite3_prepare_v2(db, sql, -1, &raw, nullptr) != SQLITE_OK) return SqliteError(db, sql);
  return SqliteStatement(raw);
}

}  // namespace trunkline::metering
