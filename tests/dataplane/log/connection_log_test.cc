#include "dataplane/log/connection_log.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/observe/metrics_page.h"
#include "dataplane/flow/flow_end.h"
#include "dataplane/flow/flow_record.h"
#include "dataplane/flow/request_record.h"
#include "dataplane/log/connection_log_line.h"
#include "tests/common/base/full_pipe.h"
#include "tests/common/base/scratch_folder.h"

namespace trunkline {
namespace {

using ::testing::HasSubstr;

std::string Contents(const std::string& path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// Returns "lines dropped".
std::string Counts(const ConnectionLog& log) {
  MetricsWriter writer;
  log.Collect(writer);
  std::istringstream page(writer.Text());
  std::string lines, dropped;
  for (std::string line; std::getline(page, line);) {
    if (line.starts_with("trunkline_proxy_connection_log_lines_total ")) {
      lines = line.substr(line.rfind(' ') + 1);
    } else if (line.starts_with("trunkline_proxy_connection_log_lines_dropped_total ")) {
      dropped = line.substr(line.rfind(' ') + 1);
    }
  }
  return lines + " " + dropped;
}

class ConnectionLogTest : public ::testing::Test {
 protected:
  ConnectionLog::Options Fields(std::vector<LogField> fields) {
    return {.proxy_id = "p", .fields = std::move(fields)};
  }
  static void Log(ConnectionLog& log, const std::string& service, FlowEnd end = FlowEnd::kClean,
                  bool sampled = true) {
    FlowRecord record;
    record.sampled = sampled;
    log.Write(record, {.service = service, .end = end});
  }

  test::ScratchFolder folder_;
  const std::string path_ = folder_.File("connections.log");
};

TEST_F(ConnectionLogTest, SampleDropsConnectionsButNoErrorsUnlessTheyAreSampledAsWell) {
  for (const bool errors : {true, false}) {
    const std::string path = folder_.File(errors ? "all" : "sampled");
    ConnectionLog::Options options = Fields({LogField::kService, LogField::kEnd});
    options.errors = errors;
    ConnectionLog log(OpenConnectionLog(path).value(), options);
    Log(log, "a");
    Log(log, "b", FlowEnd::kClean, /*sampled=*/false);
    Log(log, "c", FlowEnd::kServerReset, /*sampled=*/false);
    Log(log, "d", FlowEnd::kServerReset);
    ASSERT_TRUE(log.Flush());
    EXPECT_EQ(Contents(path), errors ? "service=a end=clean\nservice=c end=server_reset\n"
                                       "service=d end=server_reset\n"
                                     : "service=a end=clean\nservice=d end=server_reset\n");
  }
}

// The connection was not sampled, and neither it nor its other requests decide about a request.
TEST_F(ConnectionLogTest, RequestIsLoggedByItsOwnSampleAndItsOwnEnd) {
  for (const bool errors : {true, false}) {
    const std::string path = folder_.File(errors ? "all" : "sampled");
    ConnectionLog::Options options = Fields({LogField::kType, LogField::kRetries, LogField::kEnd});
    options.errors = errors;
    ConnectionLog log(OpenConnectionLog(path).value(), options);
    FlowRecord client;
    client.sampled = false;
    uint32_t retries = 0;
    const auto write = [&](bool sampled, RequestRecord::End end, FlowEnd client_end) {
      RequestRecord request = {.sampled = sampled, .end = end, .retries = ++retries};
      log.Write(request, client, {.service = "a", .end = client_end});
    };
    write(true, RequestRecord::End::kLocal, FlowEnd::kServerReset);
    write(false, RequestRecord::End::kLocal, FlowEnd::kServerReset);
    write(false, RequestRecord::End::kOpen, FlowEnd::kClientReset);
    write(false, RequestRecord::End::kTimeout, FlowEnd::kClean);
    write(true, RequestRecord::End::kTimeout, FlowEnd::kClean);
    ASSERT_TRUE(log.Flush());
    EXPECT_EQ(Contents(path), errors ? "type=request retries=1 end=local\n"
                                       "type=request retries=3 end=client_reset\n"
                                       "type=request retries=4 end=timeout\n"
                                       "type=request retries=5 end=timeout\n"
                                     : "type=request retries=1 end=local\n"
                                       "type=request retries=5 end=timeout\n");
    EXPECT_EQ(Counts(log), errors ? "4 0" : "2 0");
  }
}

TEST_F(ConnectionLogTest, SampleIsAShareOfAllRolls) {
  ConnectionLog::Options options = Fields({});
  options.sample = 0.25;
  const ConnectionLog quarter(STDERR_FILENO, options);
  EXPECT_TRUE(quarter.Samples(0));
  EXPECT_TRUE(quarter.Samples(0.24));
  EXPECT_FALSE(quarter.Samples(0.25));
  options.sample = 0;
  EXPECT_FALSE(ConnectionLog(STDERR_FILENO, options).Samples(0));
  options.sample = 1;
  EXPECT_TRUE(ConnectionLog(STDERR_FILENO, options).Samples(0.999999));
}

TEST_F(ConnectionLogTest, CoversTheConfiguredServicesOrAll) {
  ConnectionLog::Options options = Fields({});
  EXPECT_TRUE(ConnectionLog(STDERR_FILENO, options).Covers("a"));
  options.services = {"a", "b"};
  const ConnectionLog some(STDERR_FILENO, options);
  EXPECT_TRUE(some.Covers("b"));
  EXPECT_FALSE(some.Covers("c"));
}

TEST_F(ConnectionLogTest, FullPipeBlocksNoWriterAndDropsAreCountedAndReported) {
  test::FullPipe pipe;
  ConnectionLog::Options options = Fields({LogField::kService});
  options.max_queued_bytes = 100;
  ConnectionLog log(pipe.write_end(), options);
  constexpr int kLines = 1000;
  std::thread other([&] {
    for (int i = 0; i < kLines; ++i) Log(log, "first");
  });
  for (int i = 0; i < kLines; ++i) Log(log, "second");
  other.join();
  Log(log, "last");
  const std::string text = pipe.DrainUntil("service=last\n");
  int written = 0;
  int reported = 0;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    const size_t notice = line.find(" proxy=p dropped_lines=");
    if (notice == line.npos) {
      ++written;
    } else {
      reported += std::stoi(line.substr(line.rfind('=') + 1));
    }
  }
  EXPECT_GT(reported, kLines);
  EXPECT_EQ(written + reported, 2 * kLines + 1);
  EXPECT_EQ(Counts(log), absl::StrCat("2001 ", reported));
  // Nothing is lost once the reader keeps up.
  Log(log, "after");
  pipe.DrainUntil("service=after\n");
  EXPECT_EQ(Counts(log), absl::StrCat("2002 ", reported));
}

TEST_F(ConnectionLogTest, FileIsAppendedToAndMayBeTruncatedInPlace) {
  folder_.Write("connections.log", "before\n");
  ConnectionLog log(OpenConnectionLog(path_).value(), Fields({LogField::kService}));
  Log(log, "a");
  ASSERT_TRUE(log.Flush());
  EXPECT_EQ(Contents(path_), "before\nservice=a\n");
  ASSERT_EQ(truncate(path_.c_str(), 0), 0);
  Log(log, "b");
  ASSERT_TRUE(log.Flush());
  EXPECT_EQ(Contents(path_), "service=b\n");
}

TEST_F(ConnectionLogTest, LinesOfTwoProcessesInOneFileStayWhole) {
  ConnectionLog first(OpenConnectionLog(path_).value(), Fields({LogField::kService}));
  ConnectionLog second(OpenConnectionLog(path_).value(), Fields({LogField::kService}));
  constexpr int kLines = 200;
  for (int i = 0; i < kLines; ++i) {
    Log(first, "one");
    Log(second, "two");
  }
  ASSERT_TRUE(first.Flush() && second.Flush());
  std::istringstream text(Contents(path_));
  int ones = 0, twos = 0;
  for (std::string line; std::getline(text, line);) {
    ones += line == "service=one";
    twos += line == "service=two";
  }
  EXPECT_EQ(ones, kLines);
  EXPECT_EQ(twos, kLines);
}

TEST_F(ConnectionLogTest, CheckCreatesNothing) {
  EXPECT_TRUE(CheckConnectionLog(path_).ok());
  EXPECT_EQ(folder_.CountFiles(), 0u);
}

TEST_F(ConnectionLogTest, FileInAMissingFolderIsRefusedWithTheRemedy) {
  const std::string path = folder_.File("missing/connections.log");
  for (const absl::Status& refused : {CheckConnectionLog(path), OpenConnectionLog(path).status()}) {
    EXPECT_THAT(std::string(refused.message()),
                HasSubstr("connection_log.file: cannot open " + path +
                          ": No such file or directory; its folder must exist and be writable"));
  }
}

TEST_F(ConnectionLogTest, FifoWithoutAReaderIsRefusedInsteadOfWaitedFor) {
  ASSERT_EQ(mkfifo(path_.c_str(), 0600), 0);
  for (const absl::Status& refused :
       {CheckConnectionLog(path_), OpenConnectionLog(path_).status()}) {
    EXPECT_THAT(std::string(refused.message()),
                HasSubstr("nothing reads it; start the program that reads the FIFO first"));
  }
}

}  // namespace
}  // namespace trunkline
