// Owners for SQLite's C handles, and its errors as Status. Confined to one thread, like the
// handles.
#pragma once

#include <sqlite3.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"

namespace trunkline::metering {

struct SqliteClose {
  void operator()(sqlite3* db) const { sqlite3_close_v2(db); }
};
using SqliteHandle = std::unique_ptr<sqlite3, SqliteClose>;

struct SqliteFinalize {
  void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using SqliteStatement = std::unique_ptr<sqlite3_stmt, SqliteFinalize>;

// `flags` are those of sqlite3_open_v2. Later calls wait up to 5 s for a locked database.
absl::StatusOr<SqliteHandle> OpenSqlite(const std::string& path, int flags);

// The error of the last call on `db`, prefixed with `doing`.
absl::Status SqliteError(sqlite3* db, const std::string& doing);

absl::Status RunSql(sqlite3* db, const char* sql);
absl::StatusOr<SqliteStatement> PrepareSql(sqlite3* db, const char* sql);

}  // namespace trunkline::metering
