// An agent's load stream. Input: size of pieces (1 byte), then the agent's bytes.
//
// Invariants for any bytes: the result does not depend on how they are split; a report is within
// its limits and survives serialization; nothing is read after a malformed line.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "common/inband/inband_report.h"
#include "tests/fuzz/fuzz_input.h"

namespace trunkline {
namespace {

struct Heard {
  std::string service;
  ServerLoad load;
  friend bool operator==(const Heard&, const Heard&) = default;
};

std::vector<Heard> Read(const std::string& bytes, size_t piece, bool* broken) {
  InbandReportReader reader;
  std::vector<Heard> heard;
  for (size_t at = 0; at < bytes.size(); at += piece) {
    const std::string part = bytes.substr(at, piece);
    std::span<const uint8_t> left(reinterpret_cast<const uint8_t*>(part.data()), part.size());
    InbandReport word;
    while (reader.Next(left, &word)) {
      EXPECT_FALSE(reader.broken());
      heard.push_back({std::string(word.service), word.load});
    }
    EXPECT_TRUE(left.empty() || reader.broken());
  }
  *broken = reader.broken();
  return heard;
}

void CheckWord(const Heard& heard) {
  EXPECT_LT(heard.service.size(), kMaxLoadLineBytes);
  EXPECT_LE(heard.load.utilization, ServerLoad::kUnknown);
  uint8_t line[kMaxLoadLineBytes];
  const size_t size = WriteInbandReport({heard.service, heard.load}, line);
  ASSERT_GT(size, 0u);
  ASSERT_LE(size, kMaxLoadLineBytes);
  bool broken = false;
  const std::string again(reinterpret_cast<const char*>(line), size);
  EXPECT_EQ(Read(again, size, &broken), std::vector<Heard>{heard});
}

}  // namespace
}  // namespace trunkline

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trunkline;
  test::FuzzInput input(data, size);
  const size_t piece = 1 + input.Byte();
  const std::string bytes = input.TakeRest();
  bool broken = false;
  bool broken_in_pieces = false;
  const std::vector<Heard> whole = Read(bytes, bytes.size() + 1, &broken);
  EXPECT_EQ(Read(bytes, piece, &broken_in_pieces), whole);
  EXPECT_EQ(broken_in_pieces, broken);
  for (const Heard& heard : whole) CheckWord(heard);
  return 0;
}
