// Hostile bytes as Redis commands and as replies. See codec_cuts.h.
#include "dataplane/codec/redis.h"
#include "tests/fuzz/codec_cuts.h"

using trunkline::Codec;
using trunkline::NewRedisCodec;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  static const std::unique_ptr<Codec> small = NewRedisCodec({.max_request_bytes = 64});
  static const std::unique_ptr<Codec> usual = NewRedisCodec({});
  const uint8_t choice = data[0];
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  trunkline::test::RequireSameRequestsForCuts(choice % 2 == 0 ? *usual : *small, choice, bytes);
  trunkline::test::RequireSameRepliesForCuts(*usual, choice, bytes);
  return 0;
}
