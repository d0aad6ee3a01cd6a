// Input: limit above the delimiter's size (2 bytes), size of the delimiter (1), the delimiter, seed
// of the pieces (1), then the bytes to feed.
#include "dataplane/codec/delimiter.h"
#include "tests/dataplane/codec/plain_search.h"
#include "tests/fuzz/codec_checks.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trunkline;
  test::FuzzInput input(data, size);
  const uint64_t above = input.Number(2);
  const std::string delimiter = input.Take(input.Byte() % (kMaxDelimiterBytes + 2));
  const size_t limit = delimiter.size() + above;
  const auto codec = NewDelimiterCodec({.delimiter = delimiter, .max_message_bytes = limit});
  EXPECT_EQ(codec.ok(), delimiter.size() >= 1 && delimiter.size() <= kMaxDelimiterBytes);
  if (!codec.ok()) return 0;
  const uint64_t seed = input.Byte();
  const std::string text = input.TakeRest();
  const test::Fed fed = test::CheckRequests(**codec, text, seed, limit);
  EXPECT_EQ(fed, test::PlainSearch(text, delimiter, limit));
  EXPECT_EQ(test::FeedReplies(**codec, {text}), fed);
  const auto selective = NewDelimiterCodec(
      {.delimiter = delimiter, .max_message_bytes = limit, .shared_prefixes = {"incr ", "a"}});
  EXPECT_EQ(test::CheckRequests(**selective, text, seed, limit).messages, fed.messages);
  return 0;
}
