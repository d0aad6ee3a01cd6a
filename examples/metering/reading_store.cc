#include "examples/metering/reading_store.h"

#include <fcntl.h>
#include <sys/file.h>

#include <cerrno>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/cleanup/cleanup.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "common/base/unique_fd.h"
#include "examples/metering/metering.pb.h"
#include "examples/metering/payload_hash.h"
#include "examples/metering/sqlite_handle.h"

namespace trunkline::metering {
namespace {

constexpr char kSchema[] = R"(
  PRAGMA journal_mode = WAL;
  PRAGMA synchronous = FULL;
  CREATE TABLE IF NOT EXISTS readings (
    meter_id     INTEGER NOT NULL,
    sequence     INTEGER NOT NULL,
    taken_at_ms  INTEGER NOT NULL,
    kind         INTEGER NOT NULL,
    payload_hash INTEGER NOT NULL,
    payload      BLOB NOT NULL,
    PRIMARY KEY (meter_id, sequence)
  );
)";

absl::Status LockExclusively(int fd) {
  while (flock(fd, LOCK_EX) != 0) {
    if (errno != EINTR) {
      return absl::UnavailableError(absl::StrCat("commit lock: ", strerror(errno)));
    }
  }
  return absl::OkStatus();
}

// Runs a statement that returns no row.
bool Done(sqlite3_stmt* statement) {
  const int result = sqlite3_step(statement);
  sqlite3_reset(statement);
  return result == SQLITE_DONE;
}

}  // namespace

ReadingStore::ReadingStore(SqliteHandle db, UniqueFd commit_lock)
    : db_(std::move(db)), commit_lock_(std::move(commit_lock)) {}

absl::StatusOr<std::unique_ptr<ReadingStore>> ReadingStore::Open(const std::string& path) {
  const std::string lock_path = path + ".commit-lock";
  UniqueFd lock(open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644));
  if (!lock) return absl::UnavailableError(absl::StrCat(lock_path, ": ", strerror(errno)));
  absl::StatusOr<SqliteHandle> db = OpenSqlite(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE);
  if (!db.ok()) return db.status();

  std::unique_ptr<ReadingStore> store(new ReadingStore(*std::move(db), std::move(lock)));
  if (absl::Status status = store->Prepare(); !status.ok()) return status;
  return store;
}

absl::Status ReadingStore::Prepare() {
  // Under the lock, so that one of several servers that start together creates the file.
  if (absl::Status status = LockExclusively(commit_lock_.get()); !status.ok()) return status;
  absl::Cleanup unlock = [this] { flock(commit_lock_.get(), LOCK_UN); };
  if (absl::Status status = RunSql(db_.get(), kSchema); !status.ok()) return status;

  const std::pair<SqliteStatement*, const char*> statements[] = {
      {&begin_, "BEGIN IMMEDIATE"},
      {&commit_, "COMMIT"},
      {&rollback_, "ROLLBACK"},
      {&insert_,
       "INSERT INTO readings (meter_id, sequence, taken_at_ms, kind, payload_hash, payload) "
       "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"},
      {&stored_hash_, "SELECT payload_hash FROM readings WHERE meter_id = ? AND sequence = ?"}};
  for (const auto& [statement, sql] : statements) {
    absl::StatusOr<SqliteStatement> prepared = PrepareSql(db_.get(), sql);
    if (!prepared.ok()) return prepared.status();
    *statement = *std::move(prepared);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<Ack::Status>> ReadingStore::StoreAll(
    const std::vector<const Reading*>& readings) {
  if (absl::Status status = LockExclusively(commit_lock_.get()); !status.ok()) return status;
  absl::Cleanup unlock = [this] { flock(commit_lock_.get(), LOCK_UN); };

  if (!Done(begin_.get())) return SqliteError(db_.get(), "BEGIN");
  absl::StatusOr<std::vector<Ack::Status>> outcomes = InsertAll(readings);
  if (!outcomes.ok()) {
    Done(rollback_.get());
    return outcomes;
  }
  if (!Done(commit_.get())) {
    const absl::Status status = SqliteError(db_.get(), "COMMIT");
    Done(rollback_.get());
    return status;
  }
  return outcomes;
}

absl::StatusOr<std::vector<Ack::Status>> ReadingStore::InsertAll(
    const std::vector<const Reading*>& readings) {
  std::vector<Ack::Status> outcomes;
  outcomes.reserve(readings.size());
  for (const Reading* reading : readings) {
    absl::StatusOr<Ack::Status> outcome = StoreOne(*reading);
    if (!outcome.ok()) return outcome.status();
    outcomes.push_back(*outcome);
  }
  return outcomes;
}

absl::StatusOr<Ack::Status> ReadingStore::StoreOne(const Reading& reading) {
  const std::string& payload = reading.payload();
  const auto hash = static_cast<sqlite3_int64>(PayloadHash(payload));
  const auto meter = static_cast<sqlite3_int64>(reading.meter_id());
  const auto sequence = static_cast<sqlite3_int64>(reading.sequence());

  sqlite3_stmt* insert = insert_.get();
  sqlite3_bind_int64(insert, 1, meter);
  sqlite3_bind_int64(insert, 2, sequence);
  sqlite3_bind_int64(insert, 3, static_cast<sqlite3_int64>(reading.taken_at_ms()));
  sqlite3_bind_int(insert, 4, reading.kind());
  sqlite3_bind_int64(insert, 5, hash);
  // SQLite binds a null pointer as NULL even with length 0; the data of a string is never null.
  sqlite3_bind_blob(insert, 6, payload.data(), static_cast<int>(payload.size()), SQLITE_STATIC);
  const bool inserted = Done(insert);
  sqlite3_clear_bindings(insert);
  if (!inserted) return SqliteError(db_.get(), "INSERT");
  if (sqlite3_changes(db_.get()) == 1) return Ack::STORED;

  sqlite3_stmt* look_up = stored_hash_.get();
  sqlite3_bind_int64(look_up, 1, meter);
  sqlite3_bind_int64(look_up, 2, sequence);
  const bool found = sqlite3_step(look_up) == SQLITE_ROW;
  const bool same = found && sqlite3_column_int64(look_up, 0) == hash;
  sqlite3_reset(look_up);
  if (!found) return SqliteError(db_.get(), "SELECT");
  return same ? Ack::STORED : Ack::CONFLICT;
}

}  // namespace trunkline::metering
