#include "examples/metering/reading_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "examples/metering/metering.pb.h"
#include "examples/metering/sqlite_handle.h"
#include "tests/common/base/scratch_folder.h"

namespace trunkline::metering {
namespace {

using testing::ElementsAre;

Reading ReadingOf(uint64_t meter, uint64_t sequence, const std::string& payload) {
  Reading reading;
  reading.set_meter_id(meter);
  reading.set_sequence(sequence);
  reading.set_taken_at_ms(1);
  reading.set_payload(payload);
  return reading;
}

class ReadingStoreTest : public testing::Test {
 protected:
  std::unique_ptr<ReadingStore> Open() {
    auto store = ReadingStore::Open(path_);
    EXPECT_TRUE(store.ok()) << store.status();
    return *std::move(store);
  }
  static std::vector<Ack::Status> Store(ReadingStore& store, const std::vector<Reading>& readings) {
    std::vector<const Reading*> pointers;
    for (const Reading& reading : readings) pointers.push_back(&reading);
    auto outcomes = store.StoreAll(pointers);
    EXPECT_TRUE(outcomes.ok()) << outcomes.status();
    return outcomes.ok() ? *outcomes : std::vector<Ack::Status>{};
  }
  int Rows() {
    auto db = OpenSqlite(path_, SQLITE_OPEN_READONLY);
    EXPECT_TRUE(db.ok());
    auto count = PrepareSql(db->get(), "SELECT count(*) FROM readings");
    EXPECT_EQ(sqlite3_step(count->get()), SQLITE_ROW);
    return sqlite3_column_int(count->get(), 0);
  }

  test::ScratchFolder dir_;
  const std::string path_ = dir_.File("readings.db");
};

TEST_F(ReadingStoreTest, ResendIsAcknowledgedAndAddsNoRow) {
  auto store = Open();
  EXPECT_THAT(Store(*store, {ReadingOf(1, 1, "a")}), ElementsAre(Ack::STORED));
  EXPECT_THAT(Store(*store, {ReadingOf(1, 1, "a")}), ElementsAre(Ack::STORED));
  EXPECT_EQ(Rows(), 1);
}

TEST_F(ReadingStoreTest, ResendInTheSameGroupAddsNoRow) {
  auto store = Open();
  EXPECT_THAT(Store(*store, {ReadingOf(1, 1, "a"), ReadingOf(1, 1, "a"), ReadingOf(1, 2, "b")}),
              ElementsAre(Ack::STORED, Ack::STORED, Ack::STORED));
  EXPECT_EQ(Rows(), 2);
}

TEST_F(ReadingStoreTest, AnotherPayloadUnderTheSameKeyIsAConflictAndTheFirstStays) {
  auto store = Open();
  Store(*store, {ReadingOf(1, 1, "first")});
  EXPECT_THAT(Store(*store, {ReadingOf(1, 1, "second"), ReadingOf(1, 2, "other")}),
              ElementsAre(Ack::CONFLICT, Ack::STORED));
  EXPECT_THAT(Store(*store, {ReadingOf(1, 1, "first")}), ElementsAre(Ack::STORED));
}

TEST_F(ReadingStoreTest, EmptyPayloadIsAReading) {
  auto store = Open();
  EXPECT_THAT(Store(*store, {ReadingOf(1, 1, "")}), ElementsAre(Ack::STORED));
}

TEST_F(ReadingStoreTest, ResendToAnotherServerOfTheFileAddsNoRow) {
  auto one = Open();
  auto other = Open();
  EXPECT_THAT(Store(*one, {ReadingOf(1, 1, "a")}), ElementsAre(Ack::STORED));
  EXPECT_THAT(Store(*other, {ReadingOf(1, 1, "a")}), ElementsAre(Ack::STORED));
  EXPECT_EQ(Rows(), 1);
}

TEST_F(ReadingStoreTest, ConcurrentServersStoreEachReadingOnce) {
  constexpr uint64_t kGroups = 100;
  std::vector<std::thread> servers;
  for (uint64_t server = 0; server < 3; ++server) {
    servers.emplace_back([this, server] {
      auto store = Open();
      for (uint64_t group = 1; group <= kGroups; ++group) {
        // Every server gets the readings of meter 9, and one server those of each other meter.
        Store(*store, {ReadingOf(server + 1, group, "own"), ReadingOf(9, group, "same")});
      }
    });
  }
  for (std::thread& server : servers) server.join();
  EXPECT_EQ(Rows(), static_cast<int>(4 * kGroups));
}

TEST_F(ReadingStoreTest, FailedGroupStoresNoReading) {
  auto store = Open();
  auto db = OpenSqlite(path_, SQLITE_OPEN_READWRITE);
  ASSERT_TRUE(RunSql(db->get(),
                     "CREATE TRIGGER refuse BEFORE INSERT ON readings WHEN NEW.sequence = 3 "
                     "BEGIN SELECT RAISE(ABORT, 'the disk is full'); END")
                  .ok());
  const Reading good = ReadingOf(1, 1, "a"), bad = ReadingOf(1, 3, "b");
  auto outcomes = store->StoreAll({&good, &bad});
  EXPECT_EQ(outcomes.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(outcomes.status().message()), testing::HasSubstr("the disk is full"));
  EXPECT_EQ(Rows(), 0);
  // The store still works.
  EXPECT_THAT(Store(*store, {good}), ElementsAre(Ack::STORED));
}

TEST_F(ReadingStoreTest, FileThatIsNotADatabaseIsAnError) {
  FILE* file = fopen(path_.c_str(), "w");
  fputs("plain text that is long enough to be read as the header of a database page", file);
  fclose(file);
  EXPECT_FALSE(ReadingStore::Open(path_).ok());
  EXPECT_FALSE(ReadingStore::Open(dir_.File("no/such/folder.db")).ok());
}

}  // namespace
}  // namespace trunkline::metering
