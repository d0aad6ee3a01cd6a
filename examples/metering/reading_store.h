// Readings on disk: one SQLite file, shared by all the meterstores of a machine.
//
// A reading is durable when StoreAll returns: WAL with synchronous=FULL, so each commit waits for
// the disk (NORMAL would lose acknowledged readings with the power). (meter_id, sequence) is the
// primary key, so a resend adds no row.
//
// Several servers write to the same file on purpose. A collector that heard no answer sends again,
// and its resend may reach another server; only one key for all servers makes the reading stored
// once in the whole tier. Writers take turns by a lock on FILE.commit-lock: waiting in the kernel
// costs nothing, where SQLite's own waiting polls; a killed writer's lock goes with it. The price:
// a server that is stopped inside a commit holds up the others. Servers that must not share that
// fate get a file each, and a resend may then be stored by two of them; storecheck says so.
//
// Confined to one thread. Several stores may be open on a file, in one process or many, on one
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
  // Creates the file when there is none. Errors name the file.
  static absl::StatusOr<std::unique_ptr<ReadingStore>> Open(const std::string& path);

  // All in one transaction. For each reading, in order: STORED, or CONFLICT when another payload is
  // there under its key. An error means that none is stored.
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
