// Input: seed of the pieces (1 byte), then the bytes to feed.
#include "dataplane/codec/modbus_tcp.h"
#include "tests/fuzz/codec_checks.h"
#include "tests/fuzz/fuzz_input.h"

namespace {

void CheckHeader(const std::string& message) {
  const auto byte = [&](size_t at) { return static_cast<uint8_t>(message.at(at)); };
  EXPECT_GE(message.size(), 8u);
  EXPECT_EQ(byte(2) << 8 | byte(3), 0) << "protocol identifier";
  EXPECT_EQ(static_cast<size_t>(byte(4) << 8 | byte(5)) + 6, message.size());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trunkline;
  test::FuzzInput input(data, size);
  const uint64_t seed = input.Byte();
  const std::string text = input.TakeRest();
  const auto codec = NewModbusTcpCodec();
  const test::Fed fed = test::CheckRequests(*codec, text, seed, kMaxModbusTcpMessageBytes);
  test::Fed replies = test::FeedReplies(*codec, {text});
  replies.notes = fed.notes;  // which only requests have
  EXPECT_EQ(replies, fed);
  for (const std::string& message : fed.messages) CheckHeader(message);
  return 0;
}
