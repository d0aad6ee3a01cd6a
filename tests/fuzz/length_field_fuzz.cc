// Input: options, seed of the pieces (1 byte), then the bytes to feed. The first byte selects the
// encoding of the options: below 128 small, mostly valid numbers (offset 1 byte, size 1, adjustment
// 1, limit 2, id 1), otherwise arbitrary numbers of 8 bytes each. Its lowest bit selects little
// endian, the next one an id.
#include "dataplane/codec/length_field.h"
#include "tests/fuzz/codec_checks.h"
#include "tests/fuzz/fuzz_input.h"

namespace trunkline {
namespace {

LengthFieldOptions ReadOptions(test::FuzzInput& input) {
  constexpr uint64_t kSizes[] = {1, 2, 3, 4, 8};
  constexpr size_t kIdSizes[] = {2, 4, 8};
  const uint8_t kind = input.Byte();
  LengthFieldOptions options;
  options.byte_order = (kind & 1) != 0 ? ByteOrder::kLittle : ByteOrder::kBig;
  const bool has_id = (kind & 2) != 0;
  if (kind < 128) {
    options.length_offset = input.Byte() % 32;
    options.length_size = kSizes[input.Byte() % 5];
    const int64_t adjustment = input.Byte();
    options.length_adjustment = adjustment < 128 ? adjustment : adjustment - 256;
    options.max_message_bytes = input.Number(2);
    const uint8_t id = input.Byte();
    if (has_id) options.id = IdField{.offset = id % 32u, .size = kIdSizes[id / 32 % 3]};
    return options;
  }
  options.length_offset = input.Number(8);
  options.length_size = input.Number(8);
  options.length_adjustment = static_cast<int64_t>(input.Number(8));
  options.max_message_bytes = input.Number(8);
  if (has_id) options.id = IdField{.offset = input.Number(8), .size = input.Number(8)};
  return options;
}

// The size that a message claims, computed without overflow.
__int128 ClaimedSize(const LengthFieldOptions& options, const std::string& message) {
  __int128 value = 0;
  for (uint64_t i = 0; i < options.length_size; ++i) {
    const uint64_t at = options.byte_order == ByteOrder::kBig ? i : options.length_size - 1 - i;
    value = value * 256 + static_cast<uint8_t>(message.at(options.length_offset + at));
  }
  return value + options.length_offset + options.length_size + options.length_adjustment;
}

}  // namespace
}  // namespace trunkline

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trunkline;
  test::FuzzInput input(data, size);
  const LengthFieldOptions options = ReadOptions(input);
  const auto codec = NewLengthFieldCodec(options);
  if (!codec.ok()) {
    EXPECT_EQ(codec.status().code(), absl::StatusCode::kInvalidArgument);
    return 0;
  }
  const uint64_t seed = input.Byte();
  const std::string text = input.TakeRest();
  const test::Fed fed = test::CheckRequests(**codec, text, seed, options.max_message_bytes);
  EXPECT_EQ(test::FeedReplies(**codec, {text}), fed);
  for (const std::string& message : fed.messages) {
    EXPECT_TRUE(ClaimedSize(options, message) == static_cast<__int128>(message.size()));
    if (options.id) {
      EXPECT_LE(options.id->offset + options.id->size, message.size());
    }
  }
  return 0;
}
