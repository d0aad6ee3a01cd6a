// Input: seed of the pieces (1 byte; odd: with a small limit; by thirds: what the reply is to),
// then what is fed, as requests and as replies. Besides: a request whose "close" was blanked is
// still the same request.
#include "dataplane/codec/http1.h"
#include "tests/dataplane/codec/found.h"
#include "tests/fuzz/codec_checks.h"
#include "tests/fuzz/fuzz_input.h"

namespace {

using trunkline::Codec;
using trunkline::test::FindRequests;
using trunkline::test::FoundRequest;

std::string Blanked(std::string text, const std::vector<FoundRequest>& found) {
  size_t start = 0;
  for (const FoundRequest& each : found) {
    const trunkline::Request& request = each.request;
    EXPECT_LE(request.blank_offset + request.blank_size, each.size);
    text.replace(start + request.blank_offset, request.blank_size, request.blank_size, ' ');
    start += each.size;
  }
  return text;
}

void CheckBlanks(const Codec& codec, const std::string& text) {
  const std::vector<FoundRequest> found = FindRequests(codec, text);
  const std::vector<FoundRequest> again = FindRequests(codec, Blanked(text, found));
  EXPECT_EQ(again.size(), found.size());
  for (size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(again[i].size, found[i].size);
    EXPECT_EQ(again[i].state, found[i].state);
    EXPECT_EQ(again[i].streamed_at, found[i].streamed_at);
    EXPECT_EQ(again[i].request.dedicated, found[i].request.dedicated);
    EXPECT_EQ(again[i].request.reply_hint, found[i].request.reply_hint);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace trunkline;
  static const std::unique_ptr<Codec> usual = NewHttp1Codec({});
  static const std::unique_ptr<Codec> small = NewHttp1Codec({.max_request_bytes = 64});
  test::FuzzInput input(data, size);
  const uint8_t seed = input.Byte();
  const std::string text = input.TakeRest();
  const Codec& codec = seed % 2 == 0 ? *usual : *small;
  // What is above the limit is streamed, so messages have none.
  test::CheckRequests(codec, text, seed, SIZE_MAX);
  CheckBlanks(codec, text);
  const uint32_t hint = seed % 3;
  test::CheckReplies(*usual, text, seed, SIZE_MAX, {hint, hint, hint});
  return 0;
}
