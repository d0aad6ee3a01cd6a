// Input: seed of the pieces (1 byte; odd selects a small limit), then the bytes to feed, as
// requests and as replies to these requests.
#include "dataplane/codec/memcached.h"
#include "tests/fuzz/codec_checks.h"
#include "tests/fuzz/fuzz_input.h"

namespace {

// The hints of the requests in `text` that share connections.
std::vector<uint32_t> HintsIn(const trunkline::Codec& codec, const std::string& text) {
  const auto parser = codec.NewRequestParser();
  const std::vector<uint8_t> bytes(text.begin(), text.end());
  std::vector<uint32_t> hints;
  for (std::span<const uint8_t> left = bytes; !left.empty();) {
    const trunkline::ParseStep step = parser->Parse(left);
    if (step.state == trunkline::ParseState::kBroken) break;
    left = left.subspan(step.used);
    if (step.state != trunkline::ParseState::kEnd || parser->request().dedicated) continue;
    const trunkline::Request request = parser->request();
    EXPECT_LE(request.blank_offset + request.blank_size, text.size());
    hints.push_back(request.reply_hint);
  }
  return hints;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trunkline;
  static const std::unique_ptr<Codec> usual = NewMemcachedCodec({});
  static const std::unique_ptr<Codec> small = NewMemcachedCodec({.max_request_bytes = 64});
  test::FuzzInput input(data, size);
  const uint64_t seed = input.Byte();
  const std::string text = input.TakeRest();
  // Content above the limit is streamed, so the size of a message is unbounded.
  test::CheckRequests(seed % 2 == 0 ? *usual : *small, text, seed, SIZE_MAX);
  const size_t replies = text.find("\n\n");
  const bool both = replies != std::string::npos;
  test::CheckReplies(*usual, both ? text.substr(replies + 2) : text, seed, SIZE_MAX,
                     HintsIn(*usual, both ? text.substr(0, replies + 1) : text));
  return 0;
}
