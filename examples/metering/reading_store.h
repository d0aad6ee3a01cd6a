// Readings on disk: one SQLite file, shared by all meterstores of a machine.
//
// A reading is durable when StoreAll returns: WAL with synchronous=FULL, so that each commit waits
// for the disk (NORMAL would lose acknowledged readings in a power failure). (meter_id, sequence)
// is the primary key, so a resend adds no row.
//
// The servers share the file because a collector without an answer resends, and its resend may
// reach another server; only a key common to all servers stores the reading once in the whole tier.
// Writers serialize on a lock of FILE.commit-lock: its waiters sleep in the kernel, where SQLite's
// own lock polls, and the kernel releases a killed writer's lock. The price is that a server
// stopped inside a commit blocks the others. Servers that must not share this fate get a file each;
// a resend may then be stored twice, which storecheck reports.
//
// Confined to one thread. Several stores may be open on one file, in one or more processes of a
// host.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/base/unique_fd.h"
#include "examples/metering/metering.pb.h"
#include "examples/metering/sqlite_handle.h"

namespace trunkline::metering {

class ReadingStore {
 public:
  // Creates the file if it does not exist. Errors name the file.
  static absl::StatusOr<std::unique_ptr<ReadingStore>> Open(const std::string& path);

  // Stores all readings in one transaction. Returns for each, in order, STORED, or CONFLICT if its
  // key has another payload. An error means that no reading was stored.
  absl::StatusOr<std::vector<Ack::Status>> StoreAll(const std::vector<const Reading*>& readings);

 private:
  ReadingStore(SqliteHandle db, UniqueFd commit_lock);
  absl::Status Prepare();
  absl::StatusOr<Ack::Status> StoreOne(const Reading& reading);
  absl::StatusOr<std::vector<Ack::Status>> InsertAll(const std::vector<const Reading*>& readings);

  const SqliteHandle db_;
  const UniqueFd commit_lock_;
  SqliteStatement begin_, insert_, stored_hash_, commit_, rollback_;
};

}  // namespace trunkline::metering
