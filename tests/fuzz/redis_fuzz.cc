// Input: seed of the pieces (1 byte; odd selects a small limit, above 191 a service with a
// credential), then the bytes to feed, as commands and as replies.
#include "dataplane/codec/redis.h"
#include "tests/fuzz/codec_checks.h"
#include "tests/fuzz/fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trunkline;
  static const std::unique_ptr<Codec> usual = NewRedisCodec({});
  static const std::unique_ptr<Codec> small = NewRedisCodec({.max_request_bytes = 64});
  static const std::unique_ptr<Codec> locked = NewRedisCodec(
      {.max_request_bytes = 64, .credential = RedisCredential{.user = "", .password = "p"}});
  test::FuzzInput input(data, size);
  const uint64_t seed = input.Byte();
  const std::string text = input.TakeRest();
  // Content above the limit is streamed, so the size of a message is unbounded.
  const Codec& open = seed % 2 == 0 ? *usual : *small;
  test::CheckRequests(seed < 192 ? open : *locked, text, seed, SIZE_MAX);
  test::CheckReplies(*usual, text, seed, SIZE_MAX);
  return 0;
}
