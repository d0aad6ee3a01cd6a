#include "examples/metering/store_check.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <ios>
#include <vector>

#include "absl/status/status.h"
#include "examples/metering/acked_log.h"
#include "examples/metering/metering.pb.h"
#include "examples/metering/payload_hash.h"
#include "examples/metering/reading_store.h"
#include "examples/metering/sqlite_handle.h"
#include "tests/common/base/scratch_folder.h"

namespace trunkline::metering {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class StoreCheckTest : public testing::Test {
 protected:
  StoreCheckTest() {
    for (uint64_t sequence = 1; sequence <= 3; ++sequence) {
      Store(db_, 7, sequence, "payload");
      Acknowledge(7, sequence, "payload");
    }
  }

  static void Store(const std::string& db, uint64_t meter, uint64_t sequence,
                    const std::string& payload) {
    Reading reading;
    reading.set_meter_id(meter);
    reading.set_sequence(sequence);
    reading.set_payload(payload);
    auto store = ReadingStore::Open(db);
    ASSERT_TRUE(store.ok()) << store.status();
    ASSERT_TRUE((*store)->StoreAll({&reading}).ok());
  }
  void Acknowledge(uint64_t meter, uint64_t sequence, const std::string& payload) {
    auto log = AckedLog::Open(acked_);
    ASSERT_TRUE(log.ok());
    log->Add({meter, sequence, PayloadHash(payload)});
    ASSERT_TRUE(log->Flush().ok());
  }
  static void Run(const std::string& path, const char* sql) {
    auto db = OpenSqlite(path, SQLITE_OPEN_READWRITE);
    ASSERT_TRUE(db.ok());
    ASSERT_TRUE(RunSql(db->get(), sql).ok());
  }
  StoreCheckResult Check(const std::vector<std::string>& databases) {
    auto result = CheckStores({acked_}, databases);
    EXPECT_TRUE(result.ok()) << result.status();
    return result.ok() ? *result : StoreCheckResult{};
  }

  test::ScratchFolder dir_;
  const std::string db_ = dir_.File("one.db");
  const std::string other_db_ = dir_.File("other.db");
  const std::string acked_ = dir_.File("acked");
};

TEST_F(StoreCheckTest, IntactStorePasses) {
  const StoreCheckResult result = Check({db_});
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(result.acknowledged, 3u);
  EXPECT_EQ(result.stored, 3u);
  EXPECT_THAT(result.examples, ElementsAre());
}

TEST_F(StoreCheckTest, MissingReadingIsNamed) {
  Run(db_, "DELETE FROM readings WHERE sequence = 2");
  const StoreCheckResult result = Check({db_});
  EXPECT_FALSE(result.ok());
  EXPECT_EQ(result.missing, 1u);
  EXPECT_THAT(result.examples,
              ElementsAre(HasSubstr("meter 7 sequence 2: acknowledged, and in no")));
}

TEST_F(StoreCheckTest, ChangedPayloadIsNamed) {
  Run(db_, "UPDATE readings SET payload = 'pazload' WHERE sequence = 3");
  const StoreCheckResult result = Check({db_});
  EXPECT_FALSE(result.ok());
  EXPECT_EQ(result.corrupted, 1u);
  EXPECT_THAT(result.examples, ElementsAre(HasSubstr("meter 7 sequence 3: payload")));
}

TEST_F(StoreCheckTest, ConsistentRowWithAnotherPayloadThanAcknowledgedIsCorrupted) {
  Store(db_, 8, 1, "stored");
  Acknowledge(8, 1, "acknowledged");
  EXPECT_EQ(Check({db_}).corrupted, 1u);
}

TEST_F(StoreCheckTest, ReadingInTwoDatabasesIsADuplicate) {
  Store(other_db_, 7, 1, "payload");
  const StoreCheckResult result = Check({db_, other_db_});
  EXPECT_FALSE(result.ok());
  EXPECT_EQ(result.duplicated, 1u);
  EXPECT_THAT(result.examples, ElementsAre(HasSubstr(other_db_)));
}

TEST_F(StoreCheckTest, ReadingsMayBeSpreadOverDatabases) {
  Store(other_db_, 9, 1, "payload");
  Acknowledge(9, 1, "payload");
  EXPECT_FALSE(Check({db_}).ok());
  EXPECT_TRUE(Check({db_, other_db_}).ok());
}

TEST_F(StoreCheckTest, ReadingWithALostAckIsCountedButNoViolation) {
  Store(db_, 7, 4, "payload");
  const StoreCheckResult result = Check({db_});
  EXPECT_TRUE(result.ok());
  EXPECT_EQ(result.unacknowledged, 1u);
}

TEST_F(StoreCheckTest, ReadingAcknowledgedTwiceIsOneReading) {
  Acknowledge(7, 1, "payload");
  EXPECT_TRUE(Check({db_}).ok());
  EXPECT_EQ(Check({db_}).acknowledged, 3u);
}

TEST_F(StoreCheckTest, UnfinishedLastLineOfAKilledCollectorIsSkipped) {
  std::ofstream(acked_, std::ios::app) << "7 99 00ab";
  EXPECT_TRUE(Check({db_}).ok());
}

TEST_F(StoreCheckTest, MalformedLineIsAnErrorWithItsNumber) {
  std::ofstream(acked_, std::ios::app) << "seven 99 00ab\n";
  auto result = CheckStores({acked_}, {db_});
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("acked:4: expected METER"));
}

TEST_F(StoreCheckTest, MissingFileIsAnError) {
  EXPECT_FALSE(CheckStores({dir_.File("none")}, {db_}).ok());
  EXPECT_FALSE(CheckStores({acked_}, {dir_.File("none.db")}).ok());
}

}  // namespace
}  // namespace trunkline::metering
