// Compares the process and its control group with the memory budget; the fuller one counts.
#include "dataplane/memory/memory_meter.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>

#include "common/base/system_files.h"
#include "dataplane/memory/memory_group.h"
#include "tests/common/base/scratch_folder.h"

namespace trunkline {
namespace {

constexpr int64_t kMebibyte = 1 << 20;

// A machine made of files, which a test changes as a kernel would.
class MemoryMeterTest : public ::testing::Test {
 protected:
  void Write(const std::string& path, const std::string& text) {
    const std::filesystem::path file = root_.File(path);
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file) << text;
  }
  void WriteResident(int64_t mebibytes) {
    const int64_t pages = mebibytes * kMebibyte / sysconf(_SC_PAGESIZE);
    Write("statm", "900000 " + std::to_string(pages) + " 0 10 0 5000 0\n");
  }
  // Writes the files of version 2. All memory that is not file pages is anonymous.
  void WriteGroup(int64_t used_mebibytes, int64_t file_mebibytes, const std::string& limit) {
    Write("group/memory.current", std::to_string(used_mebibytes * kMebibyte) + "\n");
    Write("group/memory.max", limit + "\n");
    Write("group/memory.stat",
          "anon " + std::to_string((used_mebibytes - file_mebibytes) * kMebibyte) +
              "\nfile 1\ninactive_file " + std::to_string(file_mebibytes * kMebibyte) + "\n");
  }
  MemoryMeter Meter(int64_t budget, int64_t group_limit) {
    MemoryMeter::Options options = {
        .budget_bytes = budget, .ram_bytes = 1000 * kMebibyte, .statm = root_.File("statm")};
    if (group_limit > 0) {
      options.group = MemoryGroup{.usage = root_.File("group/memory.current"),
                                  .limit = root_.File("group/memory.max"),
                                  .stat = root_.File("group/memory.stat"),
                                  .limit_bytes = group_limit};
    }
    return MemoryMeter(options);
  }

  test::ScratchFolder root_;
};

TEST_F(MemoryMeterTest, ResidentMemoryIsComparedWithTheBudget) {
  WriteResident(30);
  const MemoryMeter meter = Meter(100 * kMebibyte, 0);
  EXPECT_EQ(meter.Read(0)->used_bytes, 30 * kMebibyte);
  EXPECT_EQ(meter.Read(0)->budget_bytes, 100 * kMebibyte);
  WriteResident(40);
  EXPECT_EQ(meter.Read(0)->used_bytes, 40 * kMebibyte) << "read anew each time";
  EXPECT_EQ(meter.Read(7)->used_bytes, 40 * kMebibyte + 7) << "resident memory excludes pipes";
  EXPECT_FALSE(meter.OfGroup());
}

TEST_F(MemoryMeterTest, DefaultBudgetIsFourFifthsOfTheRamOrTheGroupsLimit) {
  WriteResident(1);
  WriteGroup(1, 0, std::to_string(500 * kMebibyte));
  EXPECT_EQ(Meter(0, 0).budget_bytes(), 800 * kMebibyte);
  EXPECT_EQ(Meter(0, 500 * kMebibyte).budget_bytes(), 400 * kMebibyte);
  EXPECT_EQ(Meter(0, 5000 * kMebibyte).budget_bytes(), 800 * kMebibyte);
  EXPECT_EQ(Meter(70 * kMebibyte, 500 * kMebibyte).budget_bytes(), 70 * kMebibyte);
}

TEST_F(MemoryMeterTest, FullerGroupIsComparedWithNineTenthsOfItsLimit) {
  WriteResident(50);
  WriteGroup(90, 10, std::to_string(100 * kMebibyte));
  const MemoryMeter meter = Meter(100 * kMebibyte, 100 * kMebibyte);
  EXPECT_EQ(meter.Read(0)->used_bytes, 80 * kMebibyte) << "without file pages";
  EXPECT_EQ(meter.Read(0)->budget_bytes, 90 * kMebibyte);
  WriteResident(95);
  EXPECT_EQ(meter.Read(0)->used_bytes, 95 * kMebibyte) << "the process is fuller";
  EXPECT_EQ(meter.OfGroup()->used_bytes, 80 * kMebibyte);
}

TEST_F(MemoryMeterTest, GroupFilledByOtherProcessesIsIgnored) {
  WriteResident(30);
  WriteGroup(95, 10, std::to_string(100 * kMebibyte));
  const MemoryMeter meter = Meter(100 * kMebibyte, 100 * kMebibyte);
  EXPECT_EQ(meter.Read(0)->used_bytes, 30 * kMebibyte);
  EXPECT_FALSE(meter.OfGroup());
}

TEST_F(MemoryMeterTest, ChangedLimitTakesEffect) {
  WriteResident(80);
  WriteGroup(80, 0, std::to_string(100 * kMebibyte));
  const MemoryMeter meter = Meter(1000 * kMebibyte, 100 * kMebibyte);
  EXPECT_EQ(meter.Read(0)->budget_bytes, 90 * kMebibyte);
  WriteGroup(80, 0, std::to_string(200 * kMebibyte));
  EXPECT_EQ(meter.Read(0)->budget_bytes, 180 * kMebibyte);
  WriteGroup(80, 0, "max");
  EXPECT_EQ(meter.Read(0)->budget_bytes, 1000 * kMebibyte);
}

TEST_F(MemoryMeterTest, SmallGroupHasAReserveOfEightMebibytesOrHalf) {
  WriteResident(1);
  WriteGroup(20, 0, std::to_string(20 * kMebibyte));
  const MemoryMeter meter = Meter(1000 * kMebibyte, 20 * kMebibyte);
  WriteResident(20);
  EXPECT_EQ(meter.OfGroup()->budget_bytes, 12 * kMebibyte);
  WriteGroup(20, 0, std::to_string(10 * kMebibyte));
  EXPECT_EQ(meter.OfGroup()->budget_bytes, 5 * kMebibyte);
}

TEST_F(MemoryMeterTest, UnreadableFilesGiveNoReading) {
  EXPECT_FALSE(Meter(kMebibyte, 0).Read(0));
  Write("statm", "12 x\n");
  EXPECT_FALSE(Meter(kMebibyte, 0).Read(0));
}

TEST_F(MemoryMeterTest, ThisProcessIsMeasured) {
  const MemoryMeter meter = MemoryMeter::OfThisProcess(0);
  ASSERT_TRUE(meter.OfProcess(0));
  EXPECT_GT(meter.OfProcess(0)->used_bytes, kMebibyte);
  EXPECT_GT(meter.budget_bytes(), meter.OfProcess(0)->used_bytes);
}

constexpr char kMountsOfVersion2[] = "30 20 0:26 / /cg rw,nosuid - cgroup2 cgroup2 rw\n";

class MemoryGroupTest : public MemoryMeterTest {
 protected:
  std::optional<MemoryGroup> Find() { return FindMemoryGroup(SystemFiles(root_.File("")), "7"); }
};

TEST_F(MemoryGroupTest, TightestLimitInTheHierarchyCounts) {
  Write("proc/self/mountinfo", kMountsOfVersion2);
  Write("proc/7/cgroup", "0::/batch.slice/app.service\n");
  Write("cg/batch.slice/app.service/memory.max", "300000000\n");
  Write("cg/batch.slice/memory.max", "200000000\n");
  ASSERT_TRUE(Find());
  EXPECT_EQ(Find()->limit, "/cg/batch.slice/memory.max");
  EXPECT_EQ(Find()->usage, "/cg/batch.slice/memory.current");
  EXPECT_EQ(Find()->limit_bytes, 200'000'000);
  Write("cg/batch.slice/app.service/memory.max", "100000000\n");
  EXPECT_EQ(Find()->limit, "/cg/batch.slice/app.service/memory.max");
}

TEST_F(MemoryGroupTest, Version1IsSupported) {
  Write("proc/self/mountinfo", "30 20 0:26 / /cg/memory rw - cgroup cgroup rw,memory\n");
  Write("proc/7/cgroup", "4:memory:/app\n0::/\n");
  Write("cg/memory/app/memory.limit_in_bytes", "100000000\n");
  Write("cg/memory/memory.limit_in_bytes", "9223372036854771712\n");
  ASSERT_TRUE(Find());
  EXPECT_EQ(Find()->usage, "/cg/memory/app/memory.usage_in_bytes");
}

TEST_F(MemoryGroupTest, NoGroupIsFoundWithoutALimit) {
  EXPECT_FALSE(Find()) << "no files";
  Write("proc/self/mountinfo", kMountsOfVersion2);
  Write("proc/7/cgroup", "0::/app.service\n");
  EXPECT_FALSE(Find()) << "no group";
  Write("cg/app.service/memory.max", "max\n");
  EXPECT_FALSE(Find());
}

}  // namespace
}  // namespace trunkline
